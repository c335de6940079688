"""Kind of a join: predictions to examples by the joiner, shadows to comparisons by the judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol

from consumers.roles import JOINER
from schemas import codec
from schemas.events import Features
from schemas.fast_examples import PredictionReader
from schemas.topics import Names


class RecordReader(Protocol):
    """Reads the records that are joined with labels."""

    def joinable(self, data: bytes) -> bool:
        """Return whether a record is joined with a label, by its last bytes."""

    def features(self, data: bytes) -> Features:
        """Return the features of a record. Raises CodecError if it cannot be read."""

    def check(self, data: bytes) -> None:
        """Raise CodecError if a record cannot be read."""


def no_tick(value: bytes) -> int | None:
    """Return `None`: no record of predictions carries the time alone."""
    return None


@dataclass(frozen=True)
class Joins:
    """What is joined with labels, and by which role.

    Attributes
    ----------
    role
        Name in `consumers.roles`.
    first
        Returns the topic of the records that are joined with labels.
    output
        Kind of the topic that is written.
    header, output_header
        First bytes of these records, and of those written. A record written is the bytes of the first, then label, lane
        and offsets.
    noun
        A record, in messages.
    reader
        Makes a reader of the records.
    time_of
        Returns the broker's time of a record's prediction (ms); `None` if that is the time of the record itself. Raises
        CodecError.
    tick
        Returns the time in a record that carries nothing else, `None` for any other.
    keeps_labels
        The role writes to the topic of labels: it forwards labels from the wrong partition and writes ticks. It also
        writes the dead letters of labels that cannot be read. Another role waits for what that one writes.
    """

    role: str
    first: Callable[[Names], str]
    output: str
    header: bytes
    output_header: bytes
    noun: str
    reader: Callable[[], RecordReader]
    time_of: Callable[[bytes], int] | None = None
    tick: Callable[[bytes], int | None] = no_tick
    keeps_labels: bool = True


EXAMPLES: Final = Joins(
    JOINER,
    first=attrgetter("whole"),
    output="examples",
    header=codec.PREDICTION.header,
    output_header=codec.EXAMPLE.header,
    noun="prediction",
    reader=PredictionReader,
)
"""The joiner's own."""
