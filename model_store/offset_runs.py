"""Offsets of a log stored as runs: a thousand consecutive ones take no more space than two."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import TypeAlias

Runs: TypeAlias = list[int | tuple[int, int]]


class Offsets:
    """Offsets in ascending order; consecutive ones are stored as runs, by first and last offset.

    A run covers every offset from its first to its last; between its members are only transaction markers or unreadable
    records.

    >>> found = Offsets()
    >>> for offset, goes_on in ((4, False), (9, False), (11, True), (12, True)):
    ...     found.add(offset, goes_on)
    >>> found.runs(), 10 in found, 5 in found
    ([4, (9, 12)], True, False)
    >>> Offsets([4, (9, 12)]).runs()
    [4, (9, 12)]
    """

    def __init__(self, runs: Iterable[int | tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for each in runs:
            first, last = (each, each) if isinstance(each, int) else each
            if self._last and first == self._last[-1] + 1:
                self._last[-1] = last
            else:
                self._first.append(first)
                self._last.append(last)

    def __contains__(self, offset: object) -> bool:
        if not isinstance(offset, int):
            return False
        at = bisect.bisect_right(self._first, offset) - 1
        return at >= 0 and offset <= self._last[at]

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self._first)

    def add(self, offset: int, goes_on: bool, most: int | None = None) -> None:
        """Add the next offset.

        Parameters
        ----------
        goes_on
            True if no record with another result lies between the last offset and this one.
        most
            Number of newest runs to keep.
        """
        if goes_on and self._last:
            self._last[-1] = offset
            return
        self._first.append(offset)
        self._last.append(offset)
        if most is not None and len(self._first) > most:
            del self._first[0], self._last[0]

    def runs(self) -> Runs:
        """Return plain values: an offset, or first and last offset of a run of more than two."""
        found: Runs = []
        for first, last in zip(self._first, self._last, strict=True):
            if last - first > 1:
                found.append((first, last))
            else:
                found += [first] if first == last else [first, last]
        return found
