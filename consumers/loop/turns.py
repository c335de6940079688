"""Sizes of turns: the number of records to read at once, and whether the role is behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.kafka_client.records import Batch, Output

MOST_RECORDS: Final = 2000
"""Most records of a turn while the role keeps up."""
LEAST_RECORDS: Final = 20
_MOST_BYTES: Final = 16 << 20
# While the role is behind, a turn may last so many times as long as its commit: then the commit costs little.
_TIMES_COMMIT: Final = 4
_STRIDE: Final = 16  # one record of so many is measured


class TurnSizes:
    """Chooses the number of records of the next turn by the measured times of earlier ones.

    While the role keeps up, a turn has what can be processed in `turn_ms`, so that heartbeats and checkpoints do not
    wait long. While it is behind, nobody waits for one record, and a larger turn costs less for each: it grows to
    `most_behind` records, 16 MB, or a few times the time of a commit, and neither processing nor commit may take more
    than half of `deadline_ms`.

    Parameters
    ----------
    turn_ms
        Target time for processing one turn.
    most_behind
        Most records of a turn while the role is behind.
    deadline_ms
        Time limit of a commit.
    """

    def __init__(self, turn_ms: int, most_behind: int, deadline_ms: int) -> None:
        self._turn_seconds = turn_ms / 1000
        self._most_behind = most_behind
        self._longest_seconds = deadline_ms / 2000
        self._seconds_a_record = 0.0
        self._bytes_a_record = 0.0
        self._commit_seconds = 0.0
        self._commit_seconds_a_record = 0.0
        self.behind = False

    def size(self) -> int:
        """Return the number of records to read for the next turn."""
        usual = self._usual()
        if not self.behind or not self._seconds_a_record:
            return usual
        seconds = min(max(self._turn_seconds, _TIMES_COMMIT * self._commit_seconds), self._longest_seconds)
        fits = min(self._most_behind, seconds / self._seconds_a_record)
        if self._bytes_a_record:
            fits = min(fits, _MOST_BYTES / self._bytes_a_record)
        if self._commit_seconds_a_record:
            fits = min(fits, self._longest_seconds / self._commit_seconds_a_record)
        return max(usual, int(fits))

    def _usual(self) -> int:
        if not self._seconds_a_record:
            return LEAST_RECORDS  # the time for one record is not known yet
        return max(LEAST_RECORDS, min(MOST_RECORDS, int(self._turn_seconds / self._seconds_a_record)))

    def polled(self, asked: int, got: int, waiting: int) -> None:
        """Note that a poll for `asked` records returned `got`, and that `waiting` more are known to be in the log.

        The role is behind if the poll was full, or if a whole turn is known to wait. A few waiting records do not
        count: a role that keeps up has them, too.
        """
        self.behind = got >= asked or waiting >= self._usual()

    def processed(self, batch: Batch, outputs: Sequence[Output], seconds: float) -> None:
        """Note the time for these records, and their size: that of the records or of the outputs, the larger."""
        count = sum(map(len, batch.values()))
        pace = seconds / count
        self._seconds_a_record = 0.7 * self._seconds_a_record + 0.3 * pace if self._seconds_a_record else pace
        read = sum(_size(records[::_STRIDE]) * len(records) for records in batch.values())
        size = max(read, _size(outputs[::_STRIDE]) * len(outputs)) / count
        # Larger records count at once, smaller ones only after some turns.
        self._bytes_a_record = max(size, 0.7 * self._bytes_a_record + 0.3 * size)

    def committed(self, records: int, seconds: float) -> None:
        """Note the time of the commit of a turn with so many records."""
        if records:
            self._commit_seconds = 0.7 * self._commit_seconds + 0.3 * seconds if self._commit_seconds else seconds
            self._commit_seconds_a_record = seconds / records


def _size(records: Sequence[Output] | Sequence[object]) -> float:
    """Return the mean size of these records' values in bytes, 0 without records."""
    sizes = [len(getattr(record, "value", None) or b"") for record in records]
    return sum(sizes) / len(sizes) if sizes else 0.0
