"""Interval of checkpoints: when a version is due, by the clock and by the cost of the last one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

_LARGEST_SHARE: Final = 0.05  # of the learner's time that checkpoints may take


@dataclass(frozen=True)
class CheckpointPace:
    """The rule when checkpoints are due.

    Attributes
    ----------
    every
        Seconds.
    examples
        Number of examples learned since the last checkpoint.
    """

    every: float
    examples: int

    def due(self, since_last: float, last_cost: float, learned: int) -> bool:
        """Return whether a checkpoint is due.

        Given are the seconds since the last checkpoint began, the seconds it took, and the examples learned since.

        >>> CheckpointPace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.01, learned=1)
        True
        >>> CheckpointPace(every=0.5, examples=1000).due(since_last=0.6, last_cost=0.10, learned=1)
        False
        """
        if learned == 0 or not self.affords(since_last, last_cost):
            return False
        return learned >= self.examples or since_last >= self.every

    def affords(self, since_last: float, last_cost: float) -> bool:
        """Return whether a checkpoint now keeps checkpoints within their share of the learner's time."""
        return since_last >= last_cost / _LARGEST_SHARE


class CheckpointTimer:
    """Decides when versions are due. It lives as long as the process, so that a takeover makes none due.

    Attributes
    ----------
    last_cost
        Seconds that the newest version took to write.
    now_ms
        Time of the last tick; 0 before the first.
    written
        Number of versions that this process has written, without the first ones of epochs.
    """

    def __init__(self, pace: CheckpointPace) -> None:
        self._pace = pace
        self._asked = self._last_began = 0.0
        self.last_cost = 0.0
        self.now_ms = 0
        self.written = 0

    def due(self, learned: int, *, filling: bool) -> bool:
        """Return whether a version is due; `filling` means that the records for a rollback take much memory."""
        self._asked = time.monotonic()
        since_last = self._asked - self._last_began
        # A store that does not answer must not take all the learning time.
        return self._pace.due(since_last, self.last_cost, learned) or (
            filling and learned > 0 and self._pace.affords(since_last, self.last_cost)
        )

    def wrote(self) -> None:
        """Record that the version that was due was written, or failed to be."""
        self._last_began, self.last_cost = self._asked, time.monotonic() - self._asked


def wall_ms() -> int:
    """Return the machine's clock in ms since 1970, UTC."""
    return time.time_ns() // 1_000_000
