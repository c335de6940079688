"""What the poison shield takes of a learner's time: a learner as it is, over examples in memory, by CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import material
from benchmarks.figures import Figure, Spread
from benchmarks.rig import Rig
from benchmarks.throughput import Size
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.learner.poison_rollback import Shield
from consumers.loop.processor import Assignment
from consumers.model import outlier_influence
from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.outlier_bounds import Guard
from consumers.predictor.model_feed import PauseSwitch
from model_store import MemoryBackend, ModelStore, Retention, Signer, Trust
from runtime.kafka_client.records import Partition
from schemas.contract import Contract
from schemas.fast_examples import EntryReader
from schemas.target import Target
from schemas.topics import Names

_BATCH = 1000
_EVERY_SECONDS = 0.5  # as by default


@dataclass(frozen=True)
class _Record:
    offset: int
    value: bytes
    topic: str = "elec.examples"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class _Stopwatch:
    """Adds up what methods take, its own time included."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, kind: Any, name: str) -> Callable[[], None]:
        """Time a function of a class or module; return what ends that."""
        method = getattr(kind, name)

        def timed(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return method(*given, **named)
            finally:
                self.seconds += time.process_time() - began

        setattr(kind, name, timed)
        return lambda: setattr(kind, name, method)


def shield(rig: Rig, size: Size) -> list[Figure]:
    """Share of the learner's time that the checks after learning take, and beside it that of those before."""
    records = [_Record(number, value) for number, value in enumerate(material.examples(size.examples))]
    found = [shares(records) for _ in range(size.rounds)]
    after, before = [each[0] for each in found], [each[1] for each in found]
    what = "poison checks after learning: share of the learner's time (logistic regression)"
    note = "checks before learning (contract, types, bounds) are not included"
    return [Figure("shield", what, Spread(tuple(after)), "", "at most", 0.03, {"before": Spread(tuple(before))}, note)]


def shares(records: Sequence[_Record]) -> tuple[float, float]:
    """Return the shares of a learner's time that the checks after learning take, and those before.

    What is done for each example takes less than a clock does: those are timed by themselves, over all examples.
    """
    learner, place = _learner(), Partition("elec.examples", 0)
    learner.assigned(Assignment({place: None}, {place: 0}, {place: len(records)}, {place.topic: "id"}))
    learner.committed({})  # it writes no version before it has a place
    watch = _Stopwatch()
    ends = [watch.on(LearnerState, "fingerprint"), watch.on(outlier_influence, "stand")]
    try:
        began = time.process_time()
        for at in range(0, len(records), _BATCH):
            learner.process({place: records[at : at + _BATCH]})
            learner.tick(at)
        total = time.process_time() - began
    finally:
        for end in ends:
            end()
    return (watch.seconds + _keeping(records)) / total, _looking(records) / total


def _keeping(records: Sequence[_Record]) -> float:
    shield = Shield(lambda learning: learning)
    began = time.process_time()
    for at in range(0, len(records), _BATCH):
        shield.keep(records[at : at + _BATCH])
    return time.process_time() - began


def _looking(records: Sequence[_Record]) -> float:
    reader, contract, guard = EntryReader(), Contract(), Guard(Contract())
    seen = [reader.read(record.value).features for record in records]
    began = time.process_time()
    for features in seen:
        known = guard.knows(features)
        guard.admits(features if known else contract.apply(features), None, known)
    return time.process_time() - began


def _learner() -> Learner:
    signer = Signer(Ed25519PrivateKey.generate())
    store = ModelStore(MemoryBackend(), Trust.of(signer.public), signer)
    rules = LearningRules(Target(task="binary"), Contract(), material.MODELS["lr"], None, window=1000)
    checkpoints = LearnerCheckpoints(store, Definition("elec", "d", "c"), rules, Retention())
    settings = LearnerSettings(Names("elec"), CheckpointPace(_EVERY_SECONDS, 50_000))
    return Learner(settings, checkpoints, PauseSwitch("elec"), lambda line: None)
