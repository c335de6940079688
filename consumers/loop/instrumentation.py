"""What the loop tells of its work to whoever measures it: by the batch, never by the event.

What one role alone has to tell is in its own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition


class Meter:
    """Hears what any role's loop does, and does nothing with it; who measures overrides what it wants to know.

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
