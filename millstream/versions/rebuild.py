"""Rebuild of a version: choice of its base, comparison with the serving version, and adoption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consumers.learner.rebuild import Plan, Rebuilder, Rebuilt
from consumers.model.checkpoints import (
    EDITS_FILE,
    LANES,
    REBUILD,
    REBUILD_START,
    Definition,
    LearnerCheckpoints,
    Log,
)
from consumers.model.lanes import Lanes
from consumers.model.log_edits import NO_EDITS, Edits
from consumers.model.river_model import Answer
from consumers.model.upgrade_report import gap
from consumers.model.version_files import shown
from consumers.model.version_loader import load_face
from millstream.reading import topic_readers
from millstream.reading.offset_ranges import Edge, span
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.version_code.choice import Policy, VersionCode
from millstream.versions.decisions import decide
from model_store import Manifest, ModelStore, NotFound, StoreError, VersionId, WrongLibraries
from model_store.libraries import check_libraries
from model_store.offset_runs import Offsets
from runtime.kafka_client.cluster import MissingTopic
from runtime.kafka_client.records import Partition, Record
from schemas.codec import CodecError
from schemas.events import Features, read_example
from schemas.fast_examples import EntryReader
from schemas.model_updates import Adopted, ModelUpdate

if TYPE_CHECKING:
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

_COMPARED: Final = 500


class CannotRebuild(Exception):  # noqa: N818
    """A version cannot be rebuilt; the message says what is missing, and the solution."""


class CannotAdopt(Exception):  # noqa: N818
    """The learner cannot continue from this version; nothing was decided."""


@dataclass(frozen=True)
class RebuildRequest:
    """A user's request; its `edits` have no end yet, which will be the log's."""

    edits: Edits
    base: VersionId | None = None
    most: int | None = None


@dataclass(frozen=True)
class Difference:
    """Differences between a rebuilt version and the serving one.

    Attributes
    ----------
    metrics
        Values by metric, over all examples that each version learned: (serving, rebuilt); `None` if undefined.
    compared, equal, largest
        Number of newest events that both answered, share of equal answers, and largest difference of a probability or
        value; `None` if the serving version cannot answer, with the reason in `why`.
    """

    serving: VersionId
    metrics: dict[str, tuple[float | None, float | None]]
    compared: int = 0
    equal: float | None = None
    largest: float | None = None
    why: str = ""


class Workshop:
    """Rebuilds versions of one model, that of `loaded`. Holds a reader of the log; use it in a `with` block."""

    def __init__(
        self,
        loaded: LoadedStream,
        cluster: Cluster,
        names: Names,
        store: ModelStore,
        say: Callable[[str], None] = print,
        code: Policy = "version",
    ) -> None:
        self._loaded = loaded
        self._code = VersionCode(loaded, store, code, say)
        self._store = store
        self._names = names
        self._say = say
        self._definition: Definition = definition_of(loaded)
        self._topic = names.topic("examples")
        found = cluster.topic_info(self._topic).get(self._topic)
        if found is None:
            raise MissingTopic(
                f"there is no topic {self._topic}: create the stream's with `millstream topics create STREAM`"
            )
        self._consumer = cluster.consumer()
        begin, end = topic_readers.begin(self._consumer, self._topic), topic_readers.end(self._consumer, self._topic)
        self._log = Log(found.id, begin, end)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *raised: object) -> None:
        self._consumer.close()

    # --- rebuilding --------------------------------------------------------------------------------

    def rebuild(self, wish: RebuildRequest, progress: Callable[[int, int], None]) -> Rebuilt:
        """Rebuild a version.

        Raises
        ------
        CannotRebuild
            If the log no longer holds the offset at which the rebuild would begin.
        NotFound
            If the version to begin from does not exist.
        RoleRefused, VersionRefused, StoreUnavailable
        """
        live = self._live()
        base = self._untrained() if wish.base is None else self._of_this_log(self._store.manifest(wish.base))
        begin = self._log.beginning if base is None else base.offset
        if base is not None and base.offset < self._log.beginning:
            raise CannotRebuild(
                f"{self._topic} begins at offset {self._log.beginning}, after the {base.offset} of version "
                f"{base.version}: retention has taken what lies between; name a later version with --from"
            )
        if base is None:
            self._say("no untrained version of this model definition is in the store: a new model begins")
        edits = msgspec.structs.replace(wish.edits, until=self._log.end)
        same_log = live is not None and self._store.is_log(live, self._log.topic_id)
        skipped = Offsets(live.skipped if live is not None and same_log else ())
        parent = None if live is None else live.version
        then = self._loaded if base is None else self._code.as_then(base)
        return self._make(Plan(edits, self._log, base, parent, skipped, wish.most), begin, progress, then)

    def learn(self, begin: Edge, end: Edge, progress: Callable[[int, int], None]) -> Rebuilt:
        """Train a new model from the stream file on a range of the log, in the log's order.

        Poison is detected again, because examples that broke another definition need not break this one.

        Raises
        ------
        NoSpan
            If the range names a partition that the log does not have.
        RoleRefused
            If there is nothing to learn, or a lane of the log is out of order.
        StoreUnavailable
        """
        there = span(self._consumer, self._topic, 1, begin, end)
        log = replace(self._log, beginning=there.begin[0], end=there.end[0])
        live = self._live()
        parent = None if live is None else live.version
        edits = msgspec.structs.replace(NO_EDITS, until=log.end)
        lanes = self._lanes(log.beginning)
        return self._make(Plan(edits, log, None, parent, lanes=lanes), log.beginning, progress, self._loaded)

    def _make(self, plan: Plan, begin: int, progress: Callable[[int, int], None], then: LoadedStream) -> Rebuilt:
        stream = then.stream
        checkpoints = LearnerCheckpoints(self._store, definition_of(then), learning_rules(stream), stream.kept_versions)
        size = plan.log.end - begin
        return Rebuilder(checkpoints, plan, self._read, self._say, lambda offset: progress(offset - begin, size)).run()

    def _lanes(self, offset: int) -> Lanes:
        """Return the lanes' positions at an offset, from an earlier version and the examples after it."""
        before = [
            each
            for each in self._manifests()
            if each.offset <= offset and LANES in each.extra and self._store.is_log(each, self._log.topic_id)
        ]
        nearest = max(before, key=lambda each: each.offset, default=None)
        lanes = Lanes() if nearest is None else Lanes.going_on(nearest.extra[LANES])
        reader = EntryReader()
        for record in self._read(self._log.beginning if nearest is None else nearest.offset, offset):
            try:
                entry = reader.read(record.value or b"")
            except CodecError:
                continue
            lanes.admit(entry.lane, entry.event_id)
        return lanes

    def _read(self, begin: int, end: int) -> Iterator[Record]:
        return topic_readers.between(self._consumer, Partition(self._topic, 0), begin, end)

    def _manifests(self) -> Iterator[Manifest]:
        for version in self._store.versions(self._definition.model):
            try:
                yield self._store.manifest(version)
            except StoreError:
                continue

    def _live(self) -> Manifest | None:
        """Return the newest version that was learned live, or adopted since."""
        learned = [each for each in self._manifests() if each.reason not in (REBUILD, REBUILD_START)]
        return learned[-1] if learned else None

    def _untrained(self) -> Manifest | None:
        """Return the version 0 with the lowest offset, which leaves most of the log to learn.

        Its untrained model may differ from a newly built one.
        """
        found = [each for each in self._manifests() if each.examples == 0 and not self._misfit(each)]
        found = [each for each in found if each.offset >= self._log.beginning]
        return min(found, key=lambda each: each.offset, default=None)

    def _of_this_log(self, base: Manifest) -> Manifest:
        """Raise CannotRebuild unless learning can continue from a version with the code that made it."""
        misfit = self._other_log(base)
        if misfit:
            raise CannotRebuild(f"version {base.version} cannot be continued: {misfit}")
        return base

    def _misfit(self, manifest: Manifest) -> str:
        """Return why a version does not fit the stream file, log or libraries; empty if it does."""
        if (manifest.definition, manifest.contract) != (self._definition.hash, self._definition.contract):
            return (
                f"it was made from another model definition or contract than {self._loaded.path} has now"
                f"{shown(self._code.changes(manifest))}"
            )
        return self._other_log(manifest)

    def _other_log(self, manifest: Manifest) -> str:
        """Return why a version does not fit the log or libraries; empty if it does."""
        if not self._store.is_log(manifest, self._log.topic_id):
            return f"{self._topic} is not the log that it was made from"
        try:
            check_libraries(manifest.libraries, str(manifest.version))
        except WrongLibraries as error:
            return str(error)
        return ""

    def _edits(self, version: VersionId) -> Edits | None:
        """Return the edits of an epoch's history, from its first version."""
        first = self._store.manifest(self._store.versions(version.model, version.epoch)[0])
        return Edits.decode(self._store.read(first, EDITS_FILE)) if EDITS_FILE in first.files else None

    # --- comparing ---------------------------------------------------------------------------------

    def compare(self, made: Manifest, serving: VersionId) -> Difference:
        """Compare a version with another one, by their metrics and on the newest events."""
        there = self._store.manifest(serving)
        before, after = (_progressive(each) for each in (there, made))
        metrics = {name: (before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after))}
        try:
            old, new = self._asked(there), self._asked(made)
        except StoreError as error:
            return Difference(serving, metrics, why=str(error))
        events = self._newest_events()
        pairs = [(old(features), new(features)) for features in events]
        equal = sum(_same(a.value, b.value) for a, b in pairs)
        return Difference(
            serving,
            metrics,
            len(pairs),
            equal / len(pairs) if pairs else None,
            max((_apart(a, b) for a, b in pairs), default=None),
        )

    def _asked(self, manifest: Manifest) -> Callable[[Features], Answer]:
        run_with = self._code.to_answer(manifest)
        face = load_face(self._store, manifest, run_with, self._loaded.stream.task)

        def ask(features: Features) -> Answer:
            try:
                return face.predict(dict(features))
            except Exception:  # noqa: BLE001 - a model that raises gives no answer, as in a predictor
                return Answer(None, None)

        return ask

    def _newest_events(self) -> list[Features]:
        from collections import deque

        newest: deque[Features] = deque(maxlen=_COMPARED)
        contract = self._loaded.stream.contract
        for record in self._read(max(self._log.beginning, self._log.end - 2 * _COMPARED), self._log.end):
            try:
                newest.append(contract.apply(read_example(record.value or b"").event.features))
            except (CodecError, ValueError):
                continue
        return list(newest)

    # --- adopting ----------------------------------------------------------------------------------

    def insist_on_adoptable(self, version: VersionId) -> None:
        """Raise CannotAdopt, NotFound or VersionRefused unless the learner can continue from a version."""
        manifest = self._store.manifest(version)
        if manifest.reason != REBUILD:
            raise CannotAdopt(
                f"version {version} is not a rebuilt version: `millstream models rebuild STREAM --from {version} "
                "--adopt` makes the learner continue from it, in a new epoch"
            )
        later = [each for each in self._manifests() if each.reason not in (REBUILD, REBUILD_START)]
        if later and later[-1].version.epoch > version.epoch:
            raise CannotAdopt(
                f"epoch {later[-1].version.epoch} has begun since version {version} was made: rebuild it again"
            )
        if misfit := self._misfit(manifest):
            raise CannotAdopt(f"version {version} cannot be adopted: {misfit}")
        edits = self._edits(version)
        if edits is not None and not edits.change_nothing and edits.until > manifest.offset:
            raise CannotAdopt(
                f"version {version} ends at offset {manifest.offset}, but the examples to leave out continue until "
                f"{edits.until}, so the learner would learn them: rebuild it without --to"
            )
        if not self._log.beginning <= manifest.offset <= self._log.end:
            raise CannotAdopt(
                f"version {version} stands at offset {manifest.offset} of {self._topic}, which has "
                f"{self._log.beginning} to {self._log.end} now: rebuild it again"
            )
        for file in manifest.files:
            self._store.read(manifest, file)


def adopt(cluster: Cluster, names: Names, version: VersionId, *, by: str, why: str) -> ModelUpdate:
    """Write the decision that the learner continues from a rebuilt version. Raises NotDecided if that fails."""
    return decide(cluster, names, Adopted(version.model, 0, version.epoch, version.examples, by, why))


def _progressive(manifest: Manifest) -> dict[str, float | None]:
    found: dict[str, float | None] = manifest.metrics.get("progressive", {}).get("all", {})
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _apart(one: Answer, other: Answer) -> float:
    """Return the distance of two answers; 1 if they differ and are not of one kind."""
    found = gap((one.value, one.wire_probabilities()), (other.value, other.wire_probabilities()))
    return found if found is not None else float(not _same(one.value, other.value))


__all__ = ["CannotAdopt", "CannotRebuild", "Difference", "NotFound", "RebuildRequest", "Workshop", "adopt"]
