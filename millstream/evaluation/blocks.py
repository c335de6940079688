"""Blocks of consecutive rows, from whose totals intervals and learning curves are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

_FIRST_BLOCK: Final = 8
_MOST_BLOCKS: Final = 128
State = TypeVar("State")


class Blocks(Generic[State]):
    """Takes a state after each block of rows; blocks grow with the number of rows, so that there are at most 128.

    Parameters
    ----------
    totals
        Returns the totals of all rows so far.

    Attributes
    ----------
    ends
        Numbers of rows at the blocks' ends.
    states
        Totals at the blocks' ends.
    """

    def __init__(self, totals: Callable[[], State]) -> None:
        self._totals = totals
        self._size = _FIRST_BLOCK
        self.ends: list[int] = []
        self.states: list[State] = []

    def room(self, count: int) -> int:
        """Return how many rows after the first `count` complete the block."""
        return self._size - count % self._size

    def note(self, count: int) -> None:
        """Take the totals if `count` rows complete a block."""
        if count % self._size == 0:
            self._end(count)

    def finish(self, count: int) -> None:
        """Take the totals after the last row, if that is not the end of a block."""
        if not self.ends or self.ends[-1] != count:
            self._end(count)

    def _end(self, count: int) -> None:
        self.ends.append(count)
        self.states.append(self._totals())
        if len(self.ends) == _MOST_BLOCKS:
            # Sums of two neighbouring blocks need no adding: the states are totals since the beginning.
            self.ends, self.states = self.ends[1::2], self.states[1::2]
            self._size *= 2
