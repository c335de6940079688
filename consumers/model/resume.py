"""Choice of the version that a learner continues from, or of the epoch that it begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.loop.log_faults import LogFault, LogRefused, fault_of
from consumers.model.lanes import Lanes
from consumers.model.model_size import Growth, Size
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.version_files import (
    CODE_FILE,
    LANES,
    MODEL_BYTES,
    MODEL_FILE,
    OVERTAKES,
    REBUILD,
    REBUILD_START,
    STATE_FILE,
    Definition,
    Log,
    NewEpoch,
    Resumed,
    shown,
)
from consumers.roles import learner_of
from model_store import Damaged, Manifest, ModelStore, NotFound, StoreError, VersionId, VersionRefused, WrongLibraries
from model_store.libraries import check_libraries
from runtime.exits import RoleRefused
from schemas.model_names import is_named, stream_of


class Resumption:
    """Searches the stored versions for the one to continue from.

    Parameters
    ----------
    load
        Returns the learner that a version holds; raises RoleRefused.
    """

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        rules: LearningRules,
        growth: Growth,
        load: Callable[[Manifest], LearnerState],
    ) -> None:
        self._store = store
        self._definition = definition
        self._rules = rules
        self._growth = growth
        self._load = load

    def resume(
        self,
        log: Log,
        new_epoch: NewEpoch | None,
        say: Callable[[str], None],
        adopted: VersionId | None = None,
    ) -> Resumed:
        """Return the point to continue from: the newest good version, or the beginning of an epoch.

        Parameters
        ----------
        adopted
            The rebuilt version that the operator has adopted; other rebuilt versions are passed over.

        Raises
        ------
        RoleRefused
            If definition, contract or log have changed and no `new_epoch` says how to continue.
        """
        self._growth.begin()
        newest = self._newest_good(say, log, adopted)
        if newest is None and (there := self._store.versions(self._definition.model)):
            # A new epoch 1 would reuse names of versions that become valid when their key is put back.
            if new_epoch != "replay":
                raise RoleRefused(
                    f"none of the {len(there)} versions of {self._definition.model} can be used: put back the key "
                    "that signed them, or start the learner once with --new-epoch replay"
                )
            epoch = self.next_epoch()
            note = f"epoch {epoch} begins: a new model learns the log from {log.beginning}"
            return Resumed(LearnerState(self._rules), epoch, log.beginning, None, None, note)
        if newest is None:
            behind = self._learned_by_others(log)
            note = "no version yet: epoch 1 begins"
            if behind > log.beginning:
                note += f"; it competes once it has learned as much as the other models, at offset {behind}"
            return Resumed(LearnerState(self._rules), 1, log.beginning, None, None, note, behind)
        changed = self._changes(newest, log)
        if changed and new_epoch is None:
            raise _refusal(changed, self._fault(newest, log), _wrong_libraries(newest))
        if changed and new_epoch is not None:
            return self._begin_epoch(newest, log, new_epoch)
        if newest.topic_id != log.topic_id:
            # The log is a restored copy with the same records at the same offsets: the model continues in a new epoch.
            return self._begin_epoch(newest, log, new_epoch or "keep")
        try:
            learning = self._load(newest)
        except RoleRefused:
            if new_epoch is None or new_epoch == "keep":
                raise
            return self._begin_epoch(newest, log, new_epoch)
        self._growth.begin(Size(newest.examples, newest.created_at_ms, newest.extra.get(MODEL_BYTES, 0)))
        note = "--new-epoch is not needed: nothing has changed" if new_epoch else ""
        parent = newest.parent
        return Resumed(
            learning, newest.version.epoch, newest.offset, newest, parent, note, self._overtakes(newest, log)
        )

    def overtaken(self, resumed: Resumed) -> Manifest | None:
        """Return the version that a replay has yet to overtake, `None` if it already has or there is none."""
        if resumed.parent is None or resumed.offset >= resumed.overtakes:
            return None
        try:
            return self._store.manifest(resumed.parent)
        except StoreError:
            return None  # deleted meanwhile; the replay continues without it

    def next_epoch(self) -> int:
        """Return the number of the next epoch, of which no version exists, good or bad, adopted or not."""
        there = self._store.versions(self._definition.model)
        return there[-1].epoch + 1 if there else 1

    def _learned_by_others(self, log: Log) -> int:
        """Return the offset up to which the other models of the stream have learned this log; 0 for the stream's own.

        Earlier versions of a new model are not announced: as challengers they would be compared with models that know
        much more, and a promotion would serve them.
        """
        mine, offsets = self._definition.model, [0]
        if not is_named(mine):
            return 0
        for other in self._store.models(stream_of(mine)):
            try:
                newest = self._store.manifest(self._store.versions(other)[-1])
            except (IndexError, StoreError):
                continue  # it has no version, or its newest is damaged
            if other != mine and newest.offset <= log.end and self._same_log(newest, log):
                offsets.append(newest.offset)
        return max(offsets)

    def _overtakes(self, version: Manifest, log: Log) -> int:
        """Return the offset from which a version is newer than the one that its epoch continues from.

        A rebuilt version serves at once, at any offset, because the version that it replaces is known to be worse.
        """
        if OVERTAKES in version.extra and self._same_log(version, log):
            found: int = version.extra[OVERTAKES]
            return found
        if version.parent is None:
            return 0
        try:
            first = self._store.manifest(self._store.versions(version.version.model, version.version.epoch)[0])
            if first.reason == REBUILD_START:
                return 0
            before = self._store.manifest(version.parent)
        except StoreError:
            return 0  # it is gone, so it cannot be serving
        return before.offset if self._same_log(before, log) else 0

    def _same_log(self, manifest: Manifest, log: Log) -> bool:
        """Return whether a version learned from this log, or from a log that this one is a copy of."""
        try:
            return self._store.is_log(manifest, log.topic_id)
        except VersionRefused as error:
            raise RoleRefused(
                f"the record of what the examples topic is a copy of cannot be trusted: {error}"
            ) from error

    def _newest_good(self, say: Callable[[str], None], log: Log, adopted: VersionId | None) -> Manifest | None:
        """Return the newest version, learned live or adopted, whose files match its signature."""
        for version in reversed(self._store.versions(self._definition.model)):
            try:
                manifest = self._store.manifest(version)
                if manifest.reason in (REBUILD, REBUILD_START) and version != adopted:
                    continue
                self._store.check(manifest, STATE_FILE)
                self._store.check(manifest, MODEL_FILE)
            except WrongLibraries as error:
                raise RoleRefused(str(error)) from error
            except (VersionRefused, NotFound, Damaged) as error:
                say(f"version {version} cannot be used and is passed over: {error}")
                continue
            if version == adopted and (changed := self._changes(manifest, log)):
                say(f"version {version} was adopted and does not fit: {'; '.join(changed)}. It is passed over")
                continue
            return manifest
        return None

    def _changes(self, newest: Manifest, log: Log) -> list[str]:
        version = newest.version
        wrong = _wrong_libraries(newest)
        changed = [] if wrong is None else [wrong]
        if newest.definition != self._definition.hash:
            parts = shown(self._differing(newest))
            changed.append(f"the model's definition is not the one that version {version} was made from{parts}")
        if newest.contract != self._definition.contract:
            changed.append(f"the feature contract or the target is not the one of version {version}")
        if fault := self._fault(newest, log):
            changed.append(f"{fault} (version {version})")
        return changed

    def _differing(self, newest: Manifest) -> list[str]:
        """Return the differences to the definition of a version; empty if they are unknown."""
        if CODE_FILE not in newest.files or self._definition.differs is None:
            return []
        try:
            return self._definition.differs(self._store.read(newest, CODE_FILE))
        except StoreError:
            return []

    def _fault(self, newest: Manifest, log: Log) -> LogFault | None:
        at, role = (log.topic, newest.shard), learner_of(self._definition.model)
        if not self._same_log(newest, log):
            return LogFault(role, "recreated", *at, newest.offset, log.beginning, log.end)
        return fault_of(role, at, newest.offset, log.beginning, log.end)

    def _begin_epoch(self, newest: Manifest, log: Log, how: NewEpoch) -> Resumed:
        epoch, parent = self.next_epoch(), newest.version
        fault = self._fault(newest, log)
        same_log, cut = fault is None, fault is not None and fault.state != "overtaken"
        if how == "replay" or (how == "fresh" and not same_log):
            behind = newest.offset if same_log else 0
            note = f"epoch {epoch} begins: a new model learns the log from {log.beginning}"
            if behind > log.beginning:
                note += f"; version {parent} serves until the replay has learned as much, at offset {behind}"
            return Resumed(LearnerState(self._rules), epoch, log.beginning, None, parent, note, behind, cut)
        offset = newest.offset if same_log else log.beginning
        if how == "fresh":
            learning = LearnerState(self._rules)
            # The lanes continue; the old model does not, and is not even loaded.
            learning.lanes = Lanes.going_on(newest.extra.get(LANES, {}))
            return Resumed(learning, epoch, offset, None, parent, f"epoch {epoch} begins untrained at offset {offset}")
        before = self._load(newest)
        if fault is not None and fault.state == "truncated":
            # Examples still on the log were learned, those written after the cut were not. The lanes distinguish them.
            before.lanes.read_again()
        note = f"epoch {epoch} begins: version {parent} goes on at offset {offset}"
        return Resumed(before, epoch, offset, None, parent, note, cut=cut)


def _refusal(changed: list[str], fault: LogFault | None, wrong: str | None) -> RoleRefused:
    text, ways = "; ".join(changed), f"Start the learner (or `millstream run`) once with {_WAYS}"
    if changed == [wrong]:
        return RoleRefused(text)  # a version made with other libraries cannot be kept; its message names the solution
    return RoleRefused(f"{text}. {ways}") if fault is None else LogRefused([fault], ways, text)


def _wrong_libraries(manifest: Manifest) -> str | None:
    try:
        check_libraries(manifest.libraries, str(manifest.version))
    except WrongLibraries as error:
        return str(error)
    return None


_WAYS: Final = (
    "--new-epoch fresh (a new model, from here on), replay (a new model that learns the whole log) "
    "or keep (the same model goes on)"
)
