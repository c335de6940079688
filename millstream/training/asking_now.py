"""Answers of what serves to examples without a served answer, such as uploaded ones: it is asked now.

A version that has learned an example is not asked about it. A model that learns from each event is asked as it stood
before the first of them, because it has learned them since: its newest version from before is loaded, and learns the
log up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from consumers.model.checkpoints import LearnerCheckpoints
from consumers.model.model_state import Poison
from consumers.model.river_model import ModelError, RiverModel
from consumers.model.verify import replay
from consumers.model.version_loader import VersionLoader
from millstream.estimators.fitting import CannotTrain
from millstream.estimators.trial import Served, answers_of
from millstream.evaluation.versions.learned import Learned
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.version_code.choice import VersionCode
from millstream.versions.operations import CannotVerify, edited
from model_store import Manifest, ModelStore, StoreError, StoreUnavailable, VersionId
from model_store.offset_runs import Offsets
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError
from schemas.contract import ContractError
from schemas.events import Features
from schemas.model_names import model_id

if TYPE_CHECKING:
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.records import Record

_FAILED: Final[Served] = (None, None)
_SPEAKING: Final = (StoreError, ModelError, CannotVerify, CannotTrain, Poison)
"""Exceptions whose message says what is wrong by itself."""
ReadLog = Callable[[int, int], Iterator[Sequence["Record"]]]


class Unserved(NamedTuple):
    """An example without a served answer: offset, the broker's times of prediction and label (ms), all its features."""

    offset: int
    asked_ms: int
    came_ms: int
    features: Features


class AskedNow(NamedTuple):
    """What was asked, as people write it, and its answers; `None` for what it has learned, or cannot be asked."""

    name: str
    answers: Sequence[Served | None]


class CannotAsk(Exception):  # noqa: N818
    """What serves cannot be asked now; the message says why."""


AskNow = Callable[[Sequence[Unserved]], AskedNow]


class AskingNow:
    """Asks what serves.

    Parameters
    ----------
    loaded
        The stream, with its own model.
    topic_id
        The examples log.
    read
        Returns the records of a range of it.
    serving
        A version, or the name of a model that learns from each event.
    """

    def __init__(
        self,
        loaded: LoadedStream,
        store: ModelStore,
        topic_id: str,
        read: ReadLog,
        serving: str,
        say: Callable[[str], None],
    ) -> None:
        self._loaded = loaded
        self._store = store
        self._topic_id = topic_id
        self._read = read
        self._serving = serving
        self._code = VersionCode(loaded, store, "version", say)

    def __call__(self, several: Sequence[Unserved]) -> AskedNow:
        """Return the answers to examples, in their order.

        Raises
        ------
        CannotAsk
            If it is not there, or does not load.
        StoreUnavailable, KafkaError, NoBroker
            If store or broker do not answer.
        """
        try:
            if "/" in self._serving:
                return self._version(VersionId.parse(self._serving, self._loaded.stream.name), several)
            return self._learning(self._serving, several)
        except (CannotAsk, StoreUnavailable, KafkaError, NoBroker, MemoryError):
            raise
        except Exception as error:
            # Whatever a model or its code raises, the new version is as good as it is.
            what = str(error) if isinstance(error, _SPEAKING) else f"{type(error).__name__}: {error}"
            raise CannotAsk(f"{self._serving}, which serves, cannot be asked now: {what}") from error

    def _version(self, version: VersionId, several: Sequence[Unserved]) -> AskedNow:
        face = self._face(self._store.manifest(version))
        learned = Learned(self._store, version, self._topic_id)
        new = [not learned.holds(each.offset, each.asked_ms, each.came_ms) for each in several]
        return AskedNow(str(version), self._answers(face, several, new))

    def _learning(self, name: str, several: Sequence[Unserved]) -> AskedNow:
        offset = min(each.offset for each in several)
        base = self._before(model_id(self._loaded.stream.name, name), offset)
        face, count = self._as_it_stood(base, offset)
        if not count:
            raise CannotAsk(f"{name}, which serves, had learned nothing before offset {offset}, and has no answer")
        said = str(replace(base.version, examples=count))
        return AskedNow(said, self._answers(face, several, [True] * len(several)))

    def _before(self, model: str, offset: int) -> Manifest:
        """Return the newest version of a model that has learned nothing from an offset on."""
        for version in reversed(self._store.versions(model)):
            manifest = self._store.manifest(version)
            if manifest.offset <= offset and self._store.is_log(manifest, self._topic_id):
                return manifest
        raise CannotAsk(f"no version of {self._serving}, which serves, is left from before offset {offset}")

    def _as_it_stood(self, base: Manifest, offset: int) -> tuple[RiverModel, int]:
        """Return a model as it stood before an offset, and how many examples it had learned."""
        then, run_with = self._code.as_then(base), self._code.to_answer(base)
        checkpoints = LearnerCheckpoints(
            self._store, definition_of(then), learning_rules(then.stream), then.stream.kept_versions
        )
        learning = checkpoints.load(base)
        newest = self._store.manifest(self._store.versions(base.version.model, base.version.epoch)[-1])
        history = edited(self._store, base.version, lambda until: self._records(base.offset, until))
        skipped = Offsets(newest.skipped)
        replay(learning, self._records(base.offset, offset), skipped, lambda offset: None, history)
        return run_with.face(learning.model.model, self._loaded.stream.task), learning.learned

    def _records(self, begin: int, end: int) -> Iterator[Record]:
        return (record for several in self._read(begin, end) for record in several)

    def _face(self, manifest: Manifest) -> RiverModel:
        return VersionLoader(self._store, self._loaded.stream.task, self._code.to_answer).load(manifest, None).face

    def _answers(self, face: RiverModel, several: Sequence[Unserved], new: Sequence[bool]) -> Sequence[Served | None]:
        contract = self._loaded.stream.contract
        asked: dict[int, Features] = {}
        for at, (each, wanted) in enumerate(zip(several, new, strict=True)):
            if wanted:
                try:
                    asked[at] = contract.apply(each.features)
                except ContractError:
                    continue  # it would have been answered with an error, whichever model serves
        found = answers_of(face, [*asked.values()])
        said = dict(zip(asked, (answer or _FAILED for answer in found), strict=True))
        return [said.get(at) for at in range(len(several))]
