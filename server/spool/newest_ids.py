"""Newest ids of one worker: in its memory, until they are indexed together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from server.spool.entries import Entry, Remembered
from server.spool.remembered import Place, Turn

_MOST: Final = 256
_SHARED_S: Final = 60.0


class NewestIds:
    """Ids of the newest entries of a worker's own lane, which are not in the shared index yet.

    A commit of the index for each turn costs more than all the rest of the turn. So a worker keeps the newest ids here
    and indexes a few hundred at once. That changes no answer, because the lane is the truth: another worker that takes
    the lock indexes what is in this lane beyond the indexed place, and so does the next process after a kill.

    A worker that finds its entries indexed by another one knows that both are at work. For a minute it then indexes
    in each turn, which costs less than having its entries read from its lane.
    """

    def __init__(self, lane: int, indexed: Place) -> None:
        self._lane = lane
        self._indexed = indexed
        self._ids: dict[bytes, tuple[int, int, Remembered]] = {}  # sequence number, time, what is remembered
        self._shared_until, self._shared = 0.0, False

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, first: int, entries: Sequence[Entry]) -> None:
        """Add entries that were written, the first of them with the sequence number `first`."""
        for sequence, entry in enumerate(entries, first):
            if entry.remembered is not None:
                self._ids[entry.remembered.key] = sequence, entry.at_ms, entry.remembered

    def look_up(self, key: bytes, oldest_ms: int) -> Remembered | None:
        """Return what is remembered of a key since `oldest_ms`."""
        found = self._ids.get(key)
        return None if found is None or found[1] < oldest_ms else found[2]

    def look(self, turn: Turn) -> None:
        """Notice that another worker has indexed entries of this lane."""
        now = time.monotonic()
        if turn.place(self._lane) != self._indexed:
            self._shared_until = now + _SHARED_S
        self._shared = now < self._shared_until

    def are_shared(self) -> bool:
        """Return whether another worker is at work too, as of the last look: then index in each turn."""
        return self._shared

    def are_due(self) -> bool:
        """Return whether there are enough to index."""
        return len(self._ids) >= _MOST

    def index(self, turn: Turn, end: Place) -> None:
        """Index the ids, unless another worker has; `end` is the end of the lane. Call `indexed` after the commit."""
        place = turn.place(self._lane)
        indexed = 0 if place is None else place.next
        by_time: dict[int, list[Remembered]] = {}
        for sequence, at_ms, said in self._ids.values():
            if sequence >= indexed:
                by_time.setdefault(at_ms, []).append(said)
        if by_time:
            turn.put(by_time)
        turn.set_place(self._lane, end)

    def indexed(self, end: Place) -> None:
        """Drop the ids, because the index has them up to `end`."""
        self._ids.clear()
        self._indexed = end
