"""Past versions, ready to answer: loaded from the store, or learned again if they were deleted.

A version is a function of the log: the newest earlier version of its epoch that still exists, and the following
examples, until it has learned as many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumers.model.checkpoints import LearnerCheckpoints
from consumers.model.log_edits import Editor
from consumers.model.model_state import LearnerState, Poison
from consumers.model.river_model import ModelError, RiverModel
from consumers.model.verify import replay
from consumers.model.version_loader import load_face, model_bytes
from consumers.model.version_runtime import try_out
from consumers.predictor.predictor import ServedVersion
from millstream.reading import topic_readers
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.version_code.choice import Policy, VersionCode
from millstream.versions.operations import edited
from model_store import Manifest, ModelStore, NotFound, VersionId, VersionRefused, dumps, loads
from model_store.offset_runs import Offsets
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.records import Partition, Record

if TYPE_CHECKING:
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

_KEPT_BYTES: Final = 256 << 20  # of models, by their size in the store


class CannotRemake(Exception):  # noqa: N818
    """A version is gone and cannot be learned again; the message gives reason and solution."""


@dataclass
class _ModelWalk:
    """A model that is being learned again from the log, and its position."""

    epoch: int
    base: Manifest
    learning: LearnerState
    records: Iterator[Record]
    edited: Editor | None
    skipped: Offsets


class PastVersions:
    """Provides versions of one stream. Use it in a `with` block.

    Request deleted versions in ascending order: a version before the last rebuilt one must be learned again from
    further back.

    Parameters
    ----------
    say
        Prints one line for the operator.
    code
        The code that runs versions of another definition.
    """

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
        self._cluster = cluster
        self._store = store
        self._code = VersionCode(loaded, store, code, say)
        self._topic = names.topic("examples")
        self._consumer: Consumer | None = None
        self._walk: _ModelWalk | None = None
        self._kept: OrderedDict[VersionId, tuple[ServedVersion, int]] = OrderedDict()

    def __enter__(self) -> PastVersions:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def get(self, version: VersionId) -> ServedVersion:
        """Return a version, ready to answer.

        Raises
        ------
        StoreError
            If it exists but is not trusted, or needs other libraries.
        CannotRemake
            If it is gone, and the log does not hold the examples that it learned.
        """
        if version in self._kept:
            self._kept.move_to_end(version)
            return self._kept[version][0]
        try:
            made = self._load(self._store.manifest(version))
        except NotFound:
            made = self._remade(version)
        self._kept[version] = made
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return made[0]

    def gone(self, versions: Iterable[VersionId]) -> list[VersionId]:
        """Return the versions that are not in the store; raise CannotRemake if one cannot be learned again."""
        there: dict[str, set[VersionId]] = {}
        missing: list[VersionId] = []
        for version in versions:
            if version not in there.setdefault(version.model, set(self._store.versions(version.model))):
                missing.append(version)
        for base in {each.version: each for each in map(self._base, missing)}.values():
            self._require_log(base)
        return missing

    def _load(self, manifest: Manifest) -> tuple[ServedVersion, int]:
        run_with = self._code.to_answer(manifest)
        served = _served(load_face(self._store, manifest, run_with, self._loaded.stream.task), manifest.version)
        if manifest.examples:
            self._insist_on_answers(served, manifest)
        return served, model_bytes(manifest)

    def _insist_on_answers(self, served: ServedVersion, manifest: Manifest) -> None:
        """Raise VersionRefused unless a version answers as it did when it was written."""
        try:
            try_out(served.model, manifest)
        except ModelError as error:
            raise VersionRefused(f"version {manifest.version}: {error}") from error

    # --- deleted versions --------------------------------------------------------------------------

    def _remade(self, version: VersionId) -> tuple[ServedVersion, int]:
        walk = self._walk_to(version)
        skipped, edits = walk.skipped, walk.edited
        try:
            replay(walk.learning, walk.records, skipped, lambda offset: None, edits, most=version.examples)
        except Poison as error:
            raise CannotRemake(f"version {version} is gone, and learning it again fails: {error}") from error
        if walk.learning.learned != version.examples:
            raise CannotRemake(
                f"version {version} is gone, and {self._topic} ends at {walk.learning.learned} examples of its epoch"
            )
        frozen = dumps(walk.learning.model.model)
        run_with = self._code.to_answer(walk.base)
        model = loads(frozen, extra=run_with.allowed, find=run_with.find)
        return _served(run_with.face(model, self._loaded.stream.task), version), len(frozen)

    def _walk_to(self, version: VersionId) -> _ModelWalk:
        """Return a model at or before a version: the current walk, unless a stored version is nearer."""
        base, walk = self._base(version), self._walk
        same = walk is not None and (walk.base.version.model, walk.epoch) == (version.model, version.epoch)
        at = walk.learning.learned if walk is not None and same else -1
        if walk is not None and base.examples <= at <= version.examples:
            return walk
        end = self._require_log(base)
        consumer, place = self._reader(), Partition(self._topic, 0)
        history = edited(self._store, base.version, lambda until: self._read(base.offset, until))
        newest = self._store.manifest(self._store.versions(version.model, version.epoch)[-1])
        records = topic_readers.between(consumer, place, base.offset, end)
        then = self._code.as_then(base)
        rules, retention = learning_rules(then.stream), then.stream.kept_versions
        learning = LearnerCheckpoints(self._store, definition_of(then), rules, retention).load(base)
        self._walk = _ModelWalk(version.epoch, base, learning, records, history, Offsets(newest.skipped))
        return self._walk

    def _read(self, begin: int, end: int) -> Iterator[Record]:
        with closing(self._cluster.consumer()) as consumer:
            yield from topic_readers.between(consumer, Partition(self._topic, 0), begin, end)

    def _base(self, version: VersionId) -> Manifest:
        before = [
            each for each in self._store.versions(version.model, version.epoch) if each.examples <= version.examples
        ]
        if not before or version.model not in {each.model_id for each in self._loaded.each_model}:
            raise CannotRemake(
                f"version {version} is gone, and so is all of its epoch before it: name one version with --model, "
                "or a later --from"
            )
        base = self._store.manifest(before[-1])
        try:
            self._code.as_then(base)
            self._code.to_answer(base)
        except VersionRefused as error:
            raise CannotRemake(f"version {version} is gone, and cannot be learned again: {error}") from error
        return base

    def _require_log(self, base: Manifest) -> int:
        """Return the end of the log; raise CannotRemake if it lacks examples after a version."""
        found = self._cluster.topic_info(self._topic).get(self._topic)
        if found is None or not self._store.is_log(base, found.id):
            raise CannotRemake(
                f"versions of epoch {base.version.epoch} are gone, and {self._topic} is not the log that they learned: "
                "name one version with --model"
            )
        consumer = self._reader()
        begin, end = topic_readers.begin(consumer, self._topic), topic_readers.end(consumer, self._topic)
        if begin > base.offset:
            raise CannotRemake(
                f"versions after {base.version} are gone, and {self._topic} begins at offset {begin}, after its "
                f"{base.offset}: name one version with --model, or a later --from"
            )
        return end

    def _reader(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._cluster.consumer()
        return self._consumer


def _served(face: RiverModel, version: VersionId) -> ServedVersion:
    return ServedVersion(face, version.model, version.epoch, version.examples, 0, None)
