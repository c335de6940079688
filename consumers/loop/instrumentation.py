"""What a role's parts tell of their work to whoever measures it: by the batch, never by the event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted
    from consumers.predictor.predictor import ServedVersion
    from model_store import Manifest


class Meter:
    """Hears what is done, and does nothing with it; who measures overrides what it wants to know.

    Called by the thread that does the work, which waits: no method may block or raise. Seconds are monotonic.
    """

    def needs(self, lacks: Callable[[], str | None]) -> None:
        """Beside its partitions the role needs what `lacks` names, until it returns `None`; asked by any thread."""

    def turned(self) -> None:
        """The loop has come round; several times a second, also while partitions are being taken over."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These partitions, and no others, are ready to be worked on."""

    def revoked(self) -> None:
        """There is no assignment; what was processed and not committed is forgotten."""

    def processed(self, batch: Batch, seconds: float) -> None:
        """The processor took so long for these records."""

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        """Outputs and places are in the log, with all that was processed since the last time."""

    def aborted(self) -> None:
        """A transaction failed, or nobody knows whether it did: the role is about to end."""

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """So many offsets of each partition are not read; a partition whose end is not known is left out."""

    def joined(self, emitted: Sequence[Emitted]) -> None:
        """The joiner made these examples; live, not while it recovers."""

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        """The learner wrote this version in so many seconds; `None` where it was there and learning goes on from it."""

    def swapped(self, version: ServedVersion) -> None:
        """The predictor has another version to answer with."""


class Meters(Meter):
    """Tells several."""

    def __init__(self, *meters: Meter) -> None:
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
