"""Instrumentation of the loop: calls to a meter for each batch, never for each event.

The additional calls of a single role are in its own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition


class Meter:
    """Receives the calls of any role's loop and ignores them; a subclass overrides the ones that it measures.

    The working thread makes the calls and waits for them: no method may block or raise. Seconds are monotonic.
    """

    def needs(self, lacks: Callable[[], str | None]) -> None:
        """Besides its partitions the role needs what `lacks` names, until it returns `None`. Any thread may call it."""

    def turned(self) -> None:
        """The loop has completed a turn: several times a second, also during a takeover of partitions."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Exactly these partitions are ready to be processed."""

    def revoked(self) -> None:
        """The assignment has ended; work that was not committed is discarded."""

    def processed(self, batch: Batch, seconds: float) -> None:
        """The processor took `seconds` for these records."""

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        """Outputs and offsets are committed, with everything processed since the last call."""

    def overlapped(self) -> None:
        """The turn before was committed while records were read and processed; its `committed` came just before."""

    def aborted(self) -> None:
        """A transaction failed, or its outcome is unknown: the role is about to end."""

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """Numbers of unread offsets by partition, without the partitions whose end is not known."""
