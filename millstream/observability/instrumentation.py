"""Interface of logs, metrics and traces: the instrumentation of every loop and of each role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from consumers.joiner.instrumentation import JoinerMeter
from consumers.learner.instrumentation import LearnerMeter
from consumers.predictor.instrumentation import PredictorMeter
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition
from server.instrumentation import ImporterMeter, ServerMeter

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted
    from consumers.predictor.predictor import ServedVersion
    from model_store import Manifest


class RoleInstrumentation(ImporterMeter, PredictorMeter, JoinerMeter, LearnerMeter, ServerMeter):
    """Receives the calls of every role and ignores them."""


class FanOut(RoleInstrumentation):
    """Forwards each call to several meters."""

    def __init__(self, *meters: RoleInstrumentation) -> None:
        self._meters = meters

    def needs(self, lacks: Callable[[], str | None]) -> None:
        for each in self._meters:
            each.needs(lacks)

    def turned(self) -> None:
        for each in self._meters:
            each.turned()

    def assigned(self, partitions: Sequence[Partition]) -> None:
        for each in self._meters:
            each.assigned(partitions)

    def revoked(self) -> None:
        for each in self._meters:
            each.revoked()

    def processed(self, batch: Batch, seconds: float) -> None:
        for each in self._meters:
            each.processed(batch, seconds)

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        for each in self._meters:
            each.committed(outputs, places, seconds)

    def overlapped(self) -> None:
        for each in self._meters:
            each.overlapped()

    def aborted(self) -> None:
        for each in self._meters:
            each.aborted()

    def lag(self, lags: Mapping[Partition, int]) -> None:
        for each in self._meters:
            each.lag(lags)

    def joined(self, emitted: Sequence[Emitted]) -> None:
        for each in self._meters:
            each.joined(emitted)

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        for each in self._meters:
            each.checkpoint(version, seconds)

    def swapped(self, version: ServedVersion) -> None:
        for each in self._meters:
            each.swapped(version)

    def serves(
        self,
        requests: Callable[[], Mapping[tuple[str, int], int]],
        spool_bytes: Callable[[], int],
        unlogged: Callable[[], int] = lambda: 0,
    ) -> None:
        for each in self._meters:
            each.serves(requests, spool_bytes, unlogged)

    def uploads_waiting(self, count: int) -> None:
        for each in self._meters:
            each.uploads_waiting(count)

    def uploaded(self, state: str, taken: int, refused: int) -> None:
        for each in self._meters:
            each.uploaded(state, taken, refused)
