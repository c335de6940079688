"""When a checkpoint is due, how a version is written, and from which one a learner goes on."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from consumers.failures import Doubt, Refused
from consumers.growth import Growth, Size
from consumers.lanes import Lanes
from consumers.learning import READABLE, Learning, LearningRules
from consumers.log_faults import LogFault, LogRefused, fault_of
from model_store import (
    AlreadyExists,
    Blob,
    Damaged,
    Draft,
    Manifest,
    ModelStore,
    NotFound,
    Retention,
    StoreError,
    VersionId,
    WrongLibraries,
    dump,
    dumps,
    loads,
)
from model_store import (
    Refused as StoreRefused,
)
from model_store.libraries import check_libraries

NewEpoch = Literal["fresh", "replay", "keep"]
_LARGEST_SHARE: Final = 0.05  # of the learner's time that checkpoints may take
MODEL_FILE: Final = "model"
STATE_FILE: Final = "state"
EDITS_FILE: Final = "edits"
REBUILD: Final = "rebuild"  # the reason of a version made anew
REBUILD_START: Final = "rebuild-start"  # of the first one of its epoch
PROBE: Final = "probe"
LANES: Final = "lanes"
MODEL_BYTES: Final = "model_bytes"
_PROBE_EVENTS: Final = 8
_PROBE_BYTES: Final = 16_384


@dataclass(frozen=True)
class Pace:
    """When checkpoints are due.

    Attributes
    ----------
    every
        Seconds.
    examples
        Newly learned.
    """

    every: float
    examples: int

    def due(self, since_last: float, last_cost: float, learned: int) -> bool:
        """Decide, given seconds since the last checkpoint began, its seconds, and what was learned since.

        >>> Pace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.01, learned=1)
        True
        >>> Pace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.10, learned=1)
        False
        """
        if learned == 0 or not self.affords(since_last, last_cost):
            return False
        return learned >= self.examples or since_last >= self.every

    def affords(self, since_last: float, last_cost: float) -> bool:
        """Tell whether another one now leaves the learner its time."""
        return since_last >= last_cost / _LARGEST_SHARE


@dataclass(frozen=True)
class Definition:
    """What a version must have been made from, for a learner to go on with it.

    Attributes
    ----------
    model
        The model id; the stream's name.
    hash
        Of the model's definition; `contract`, of the contract and target.
    allowed
        What a pickle may name beside River: the user's own classes.
    """

    model: str
    hash: str
    contract: str
    allowed: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Log:
    """The examples log as it is now."""

    topic_id: str
    beginning: int
    end: int
    topic: str = "examples"


@dataclass(frozen=True)
class Standing:
    """Where a version stands: its epoch and what that goes on from, the log, and the next offset to read."""

    epoch: int
    offset: int
    log: Log
    parent: VersionId | None = None


@dataclass(frozen=True)
class Resumed:
    """Where a learner goes on.

    Attributes
    ----------
    offset
        The next one to read.
    manifest
        Of the version it is, `None` where there is none yet.
    parent
        Of a new epoch.
    note
        A line for people, or empty.
    overtakes
        From this offset on its versions are newer than the one the epoch goes on from; before, that one serves.
    cut
        The log is another, or ends before where it was read: places in it are taken anew.
    """

    learning: Learning
    epoch: int
    offset: int
    manifest: Manifest | None
    parent: VersionId | None
    note: str = ""
    overtakes: int = 0
    cut: bool = False


@cache
def cpu_name() -> str:
    """Return what this machine computes with: full-precision answers are equal only on the same."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class Checkpoints:
    """A learner's side of the model store."""

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        rules: LearningRules,
        retention: Retention,
        shard: int = 0,
        max_model_bytes: int | None = None,
    ) -> None:
        self._store = store
        self._definition = definition
        self._rules = rules
        self._retention = retention
        self._shard = shard
        self.growth = Growth(max_model_bytes)

    # --- writing -----------------------------------------------------------------------------------

    def write(
        self,
        learning: Learning,
        stands: Standing,
        reason: str,
        now_ms: int,
        edits: bytes | None = None,
        *,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> Manifest:
        """Publish the model as it is now, or adopt the version if exactly this one is there.

        Parameters
        ----------
        edits
            Only with the first version of an epoch that was made anew: see `consumers.edits`.
        extra
            Goes into the manifest beside what is always there.

        Raises
        ------
        Refused
            Where another version has this name.
        StoreUnavailable
            Where the store cannot take it; nothing half-written is visible.
        """
        model, state = dump(learning.model.model), dump(learning.dump())
        self.growth.note(Size(learning.learned, now_ms, model.size))
        sizes = {MODEL_BYTES: model.size, "state_bytes": state.size, "growth": self.growth.report()}
        more = {**sizes, **extra}
        files: dict[str, bytes | Blob] = {MODEL_FILE: model, STATE_FILE: state}
        if edits is not None:
            files[EDITS_FILE] = edits
        draft = self._draft(learning, stands, reason, now_ms, more)
        try:
            written = self._store.publish(draft, files)
        except AlreadyExists as error:
            there = error.manifest
            same = there is not None and (there.chain, there.fingerprint) == (draft.chain, draft.fingerprint)
            if (
                there is not None
                and not same
                and (there.topic_id, there.definition) == (stands.log.topic_id, draft.definition)
            ):
                # As many examples learned, but more or fewer passed over: the other's place is as good as ours.
                raise Doubt(f"version {draft.version} was written by another learner of this log meanwhile") from error
            if there is None or not same:
                raise Refused(
                    f"version {draft.version} is in the store already and is another one: a learner with "
                    "another log or another model writes here too. Nothing was overwritten"
                ) from error
            written = there
        learning.settled()
        return written

    def _draft(
        self,
        learning: Learning,
        stands: Standing,
        reason: str,
        now_ms: int,
        more: dict[str, Any],
    ) -> Draft:
        return Draft(
            version=VersionId(self._definition.model, stands.epoch, learning.learned),
            parent=stands.parent,
            shard=self._shard,
            topic_id=stands.log.topic_id,
            offset=stands.offset,
            examples=learning.learned,
            chain=learning.chain.hex(),
            fingerprint=learning.fingerprint(),
            definition=self._definition.hash,
            contract=self._definition.contract,
            created_at_ms=now_ms,
            metrics=learning.board.report(),
            skipped=learning.skipped.runs(),
            labels_from_ms=learning.labels_from,
            labels_to_ms=learning.labels_to,
            reason=reason,
            cpu=cpu_name(),
            extra={
                "counts": dict(learning.counts),
                **more,
                LANES: learning.lanes.places(),
                # What a predictor tries before it serves the version.
                PROBE: learning.probes.newest(_PROBE_EVENTS, _PROBE_BYTES),
            },
        )

    def prune(self, keep: set[VersionId]) -> None:
        """Delete old versions as the retention says; never what is pinned or in `keep`."""
        self._store.prune(self._definition.model, self._retention, keep)

    def sha256(self, manifest: Manifest) -> str:
        """Return the hash an announcement carries."""
        return self._store.manifest_sha256(manifest.version)

    # --- going on ----------------------------------------------------------------------------------

    def resume(
        self,
        log: Log,
        new_epoch: NewEpoch | None,
        say: Callable[[str], None],
        adopted: VersionId | None = None,
    ) -> Resumed:
        """Return where to go on: the newest good version, or the beginning of an epoch.

        Parameters
        ----------
        adopted
            The version made anew that somebody has decided to go on from; any other of those is passed over.

        Raises
        ------
        Refused
            Where definition, contract or log have changed and no `new_epoch` says what to do about it.
        """
        self.growth.begin()
        newest = self._newest_good(say, log, adopted)
        if newest is None and (there := self._store.versions(self._definition.model)):
            # A new epoch 1 would take names that are taken, by versions that a key put back would make good.
            if new_epoch != "replay":
                raise Refused(
                    f"none of the {len(there)} versions of {self._definition.model} can be used: put back the key "
                    "that signed them, or start the learner once with --new-epoch replay"
                )
            epoch = self.next_epoch()
            note = f"epoch {epoch} begins: a new model learns the log from {log.beginning}"
            return Resumed(Learning(self._rules), epoch, log.beginning, None, None, note)
        if newest is None:
            return Resumed(Learning(self._rules), 1, log.beginning, None, None, "no version yet: epoch 1 begins")
        changed = self._changes(newest, log)
        if changed and new_epoch is None:
            raise _refusal(changed, self._fault(newest, log), _wrong_libraries(newest))
        if changed and new_epoch is not None:
            return self._begin_epoch(newest, log, new_epoch)
        if newest.topic_id != log.topic_id:
            # A restored copy, the same records at the same offsets: the model goes on, in an epoch that says so.
            return self._begin_epoch(newest, log, new_epoch or "keep")
        try:
            learning = self.load(newest)
        except Refused:
            if new_epoch is None or new_epoch == "keep":
                raise
            return self._begin_epoch(newest, log, new_epoch)
        self.growth.begin(Size(newest.examples, newest.created_at_ms, newest.extra.get(MODEL_BYTES, 0)))
        note = "--new-epoch is not needed: nothing has changed" if new_epoch else ""
        parent = newest.parent
        return Resumed(
            learning, newest.version.epoch, newest.offset, newest, parent, note, self._overtakes(newest, log)
        )

    def overtaken(self, resumed: Resumed) -> Manifest | None:
        """Return the version that a replay is to overtake, `None` where it has, or there is none."""
        if resumed.parent is None or resumed.offset >= resumed.overtakes:
            return None
        try:
            return self._store.manifest(resumed.parent)
        except StoreError:
            return None  # it has gone meanwhile; the replay goes on without

    def next_epoch(self) -> int:
        """Return the number of the next epoch: no version of it is there, good or bad, adopted or not."""
        there = self._store.versions(self._definition.model)
        return there[-1].epoch + 1 if there else 1

    def _overtakes(self, version: Manifest, log: Log) -> int:
        """Return the offset from which a version is newer than the one its epoch goes on from.

        One made anew is to serve at once, however far it is: what it was made from is known to be worse.
        """
        if version.parent is None:
            return 0
        try:
            first = self._store.manifest(self._store.versions(version.version.model, version.version.epoch)[0])
            if first.reason == REBUILD_START:
                return 0
            before = self._store.manifest(version.parent)
        except StoreError:
            return 0  # it is gone, and so cannot be what serves
        return before.offset if self._same_log(before, log) else 0

    def _same_log(self, manifest: Manifest, log: Log) -> bool:
        """Tell whether a version learned from this log, or from one that this is a copy of."""
        try:
            return self._store.is_log(manifest, log.topic_id)
        except StoreRefused as error:
            raise Refused(f"what is said of the examples topic cannot be believed: {error}") from error

    def _newest_good(self, say: Callable[[str], None], log: Log, adopted: VersionId | None) -> Manifest | None:
        """Return the newest version whose files are what its signature says, of those that were learned live."""
        for version in reversed(self._store.versions(self._definition.model)):
            try:
                manifest = self._store.manifest(version)
                if manifest.reason in (REBUILD, REBUILD_START) and version != adopted:
                    continue
                self._store.check(manifest, STATE_FILE)
                self._store.check(manifest, MODEL_FILE)
            except WrongLibraries as error:
                raise Refused(str(error)) from error
            except (StoreRefused, NotFound, Damaged) as error:
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
            changed.append(f"the model's definition is not the one that version {version} was made from")
        if newest.contract != self._definition.contract:
            changed.append(f"the feature contract or the target is not the one of version {version}")
        if fault := self._fault(newest, log):
            changed.append(f"{fault} (version {version})")
        return changed

    def _fault(self, newest: Manifest, log: Log) -> LogFault | None:
        at = log.topic, newest.shard
        if not self._same_log(newest, log):
            return LogFault("learner", "recreated", *at, newest.offset, log.beginning, log.end)
        return fault_of("learner", at, newest.offset, log.beginning, log.end)

    def fresh(self) -> Learning:
        """Return a learner that has learned nothing, with a model from the stream file."""
        return Learning(self._rules)

    def freeze(self, learning: Learning) -> tuple[bytes, bytes]:
        """Return model and state as the store keeps them."""
        return dumps(learning.model.model), dumps(learning.dump())

    def thaw(self, frozen: tuple[bytes, bytes]) -> Learning:
        """Return what `freeze` was given, in this process only: nothing is checked but what may be named."""
        model, state = (loads(each, extra=self._definition.allowed) for each in frozen)
        learning = Learning(self._rules, model)
        learning.restore(state)
        return learning

    def load(self, manifest: Manifest) -> Learning:
        """Return a version as the learner that it was, after all checks."""
        allowed = self._definition.allowed
        try:
            model = self._store.load(manifest, MODEL_FILE, extra_allowed=allowed)
            state: Any = self._store.load(manifest, STATE_FILE, extra_allowed=allowed)
        except StoreRefused as error:
            raise Refused(str(error)) from error
        if not isinstance(state, dict) or state.get("format") not in READABLE:
            raise Refused(f"version {manifest.version} has a learner's state of another format. {_REPLAY}")
        learning = Learning(self._rules, model)
        learning.restore(state)
        if learning.fingerprint() != manifest.fingerprint and manifest.cpu == cpu_name():
            # Another CPU may differ in the last bit; the same one may not.
            raise Refused(f"version {manifest.version} does not answer as it did when it was written. {_REPLAY}")
        return learning

    def copy(self, learning: Learning) -> Learning:
        """Return a learner's whole state as an object of its own, as it would be saved and loaded."""
        copied = self.thaw(self.freeze(learning))
        copied.labels_from, copied.labels_to = learning.labels_from, learning.labels_to
        return copied

    def _begin_epoch(self, newest: Manifest, log: Log, how: NewEpoch) -> Resumed:
        epoch, parent = self.next_epoch(), newest.version
        fault = self._fault(newest, log)
        same_log, cut = fault is None, fault is not None and fault.state != "overtaken"
        if how == "replay" or (how == "fresh" and not same_log):
            note = f"epoch {epoch} begins: a new model learns the log from {log.beginning}"
            behind = newest.offset if same_log else 0
            return Resumed(Learning(self._rules), epoch, log.beginning, None, parent, note, behind, cut)
        offset = newest.offset if same_log else log.beginning
        if how == "fresh":
            learning = Learning(self._rules)
            # The lanes go on where they were; the model does not, and is not even looked at.
            learning.lanes = Lanes.going_on(newest.extra.get(LANES, {}))
            return Resumed(learning, epoch, offset, None, parent, f"epoch {epoch} begins untrained at offset {offset}")
        before = self.load(newest)
        if fault is not None and fault.state == "truncated":
            # What it still has was learned; what came since it was cut short was not. The lanes tell them apart.
            before.lanes.read_again()
        note = f"epoch {epoch} begins: version {parent} goes on at offset {offset}"
        return Resumed(before, epoch, offset, None, parent, note, cut=cut)


def _refusal(changed: list[str], fault: LogFault | None, wrong: str | None) -> Refused:
    text, ways = "; ".join(changed), f"Start the learner (or `millstream run`) once with {_WAYS}"
    if changed == [wrong]:
        return Refused(text)  # what other libraries made names its way on, and cannot be kept
    return Refused(f"{text}. {ways}") if fault is None else LogRefused([fault], ways, text)


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
_REPLAY: Final = "Start the learner once with --new-epoch replay to rebuild it from the log"
