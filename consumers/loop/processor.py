"""Processor: the interface between a role and the loop that drives it.

A processor uses neither Kafka nor the clock. It receives records and ticks, and returns the outputs to send. The
same processor runs on a broker and, in simulations, on a log in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions


class Anew(Exception):  # noqa: N818
    """Raised by a processor that must take its partitions over again; the loop sends nothing of this turn."""


def no_breath() -> None:
    """Do nothing: the default of `breathe`, without a membership to keep."""


@dataclass(frozen=True)
class Assignment:
    """State of the assigned partitions when the loop gives them to a processor.

    Attributes
    ----------
    committed
        The group's committed offsets, `None` if it never committed.
    beginnings, ends
        First offset in the log, and the offset after the last committed record.
    others
        The same as `committed`, for all other partitions of the topics in which an assigned partition has no committed
        offset: a partition that is new to this member need not be new to its group.
    topic_ids
        By topic name. A different id means a different topic, even under the same name.
    breathe
        Keeps the membership. A processor whose `assigned` takes long must call it several times a second.
        Its exceptions end the takeover.
    """

    committed: Mapping[Partition, CommittedOffset | None]
    beginnings: Positions
    ends: Positions
    topic_ids: Mapping[str, str]
    others: Mapping[Partition, CommittedOffset | None] = field(default_factory=dict)
    breathe: Callable[[], None] = field(default=no_breath, compare=False)


@dataclass(frozen=True)
class Start:
    """Offsets at which to start reading one partition.

    Attributes
    ----------
    live
        First offset whose records go through `process`.
    recover_from
        If given and below `live`: records from this offset up to `live` go through `recover` first.
    recover_since
        The same, as a broker time in ms.
    least
        No record before this offset is recovered.
    back
        The committed offset may be beyond `live`, because an operator has decided to continue with another log.
    """

    live: int
    recover_from: int | None = None
    recover_since: int | None = None
    least: int = 0
    back: bool = False


class Processor(Protocol):
    """The work of one role. The loop calls it from one thread."""

    @property
    def topics(self) -> Sequence[str]:
        """Topics that it reads."""

    @property
    def overlaps(self) -> bool:
        """True if `process` may be called with the next records before `committed` was called for the last ones.

        Then nothing of a turn may have an effect outside the process before its commit, and `committed` may use only
        its argument: the state can be that of the next turn, which may yet be dropped.
        """

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        """Take over exactly these partitions and return where to start reading each."""

    def recover(self, batch: Batch) -> None:
        """Apply records whose effects are already in the log: state changes, nothing is sent."""

    def recovered(self) -> None:
        """Note that the recovery is complete."""

    def process(self, batch: Batch) -> list[Output]:
        """Apply records and return the outputs to send, in order."""

    def tick(self, now_ms: int) -> list[Output]:
        """Return the outputs that are due by time; called between batches."""

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        """Return the offsets to commit, given the next offsets to read."""

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        """Note that outputs and offsets are committed: from now on local state may be made durable."""

    def paused(self) -> frozenset[Partition]:
        """Return the partitions that must not be read for now."""

    def stopping(self) -> list[Output]:
        """Return the last outputs before the end; one more commit follows."""

    def close(self) -> None:
        """Close files. Work that was not committed is discarded."""
