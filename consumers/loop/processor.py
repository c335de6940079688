"""What a stage is to the loop that drives it.

A processor knows neither Kafka nor the clock. It gets records and ticks, and returns what to send. The
same processor runs against a broker and, in simulation, against a log in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions


class Anew(Exception):  # noqa: N818
    """Raised by a processor that must take its partitions over anew; nothing of the turn goes out."""


def no_breath() -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Assignment:
    """What the loop knows when partitions are handed to a processor.

    Attributes
    ----------
    committed
        Where the group stands, `None` where it never committed.
    beginnings, ends
        First offset still there, and the offset after the last committed record.
    others
        The same as `committed`, of all other partitions of those topics in which a partition has no place: what is new
        to this member need not be new to its group.
    topic_ids
        By topic name: another id is another topic, whatever its name.
    breathe
        To be called several times a second by a processor that takes long over `assigned`: keeps the membership.
        What it raises ends the taking over.
    """

    committed: Mapping[Partition, CommittedOffset | None]
    beginnings: Positions
    ends: Positions
    topic_ids: Mapping[str, str]
    others: Mapping[Partition, CommittedOffset | None] = field(default_factory=dict)
    breathe: Callable[[], None] = field(default=no_breath, compare=False)


@dataclass(frozen=True)
class Start:
    """Where to read from, for one partition.

    Attributes
    ----------
    live
        From here on records go through `process`.
    recover_from
        If given and below `live`: records from here up to `live` go through `recover` first.
    recover_since
        The same, named by broker time in ms.
    least
        Nothing before it is recovered.
    back
        The committed place may be beyond `live`: somebody has decided to go on although the log is another.
    """

    live: int
    recover_from: int | None = None
    recover_since: int | None = None
    least: int = 0
    back: bool = False


class Processor(Protocol):
    """A stage. The loop calls it from one thread."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics it reads."""

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        """Take these partitions (and no others) and say where to read each from."""

    def recover(self, batch: Batch) -> None:
        """Apply records whose effects are in the log already: state changes, nothing goes out."""

    def recovered(self) -> None:
        """Hear that all of it has been recovered."""

    def process(self, batch: Batch) -> list[Output]:
        """Apply records and return what to send, in order."""

    def tick(self, now_ms: int) -> list[Output]:
        """Return what is to be sent because time has passed; called between batches."""

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        """Return what to commit, given how far has been read."""

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        """Hear that outputs and places are in the log: now local state may be made durable."""

    def paused(self) -> frozenset[Partition]:
        """Return the partitions that must not be read for now."""

    def stopping(self) -> list[Output]:
        """Return what is to be sent before the end; one more commit follows."""

    def close(self) -> None:
        """Let go of files. What was not committed is forgotten."""
