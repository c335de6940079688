"""Metrics by slice of the rows, computed beside those over all rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from consumers.model.evaluation import Row as MeasuredRow
from consumers.model.evaluation import said_by
from consumers.model.tallies import Tallies
from millstream.evaluation.findings import Slice


class Sliced:
    """Tallies of every source of a `Board`, by slice.

    Parameters
    ----------
    metrics
        Creates the metrics.
    sources
        Number of the board's sources.
    takes_scores
        True if answers are anomaly scores.
    """

    def __init__(self, metrics: Callable[[], Iterable[Any]], sources: int, *, takes_scores: bool) -> None:
        self._metrics = metrics
        self._sources = sources
        self._takes_scores = takes_scores
        self._keys: deque[str | None] = deque()
        self.tallies: dict[str, list[Tallies]] = {}

    def expect(self, *keys: str | None) -> None:
        """Add the slices of the next rows, before the board is given them; `None` where a row is in no slice."""
        self._keys.extend(keys)

    def forget(self) -> None:
        """Drop the newest slice: its row was not measured."""
        self._keys.pop()

    def count(self, rows: Sequence[MeasuredRow]) -> None:
        """Add measured rows; the board's `watch`."""
        by_key: dict[str, list[MeasuredRow]] = {}
        for row in rows:
            key = self._keys.popleft()
            if key is not None:
                by_key.setdefault(key, []).append(row)
        for key, some in by_key.items():
            if key not in self.tallies:
                self.tallies[key] = [Tallies(self._metrics(), self._takes_scores) for _ in range(self._sources)]
            for index, tallies in enumerate(self.tallies[key]):
                tallies.add_all(said_by(some, index))


class Reading(NamedTuple):
    """The slices of one line of a report: its name, its tallies, and its source's place in the board."""

    line: str
    sliced: Sliced
    source: int


def slices_of(readings: Sequence[Reading]) -> list[Slice]:
    """Return the metrics of all lines by slice, the largest slice first; its size is that of the first line's."""
    if not readings:
        return []
    first = readings[0].sliced.tallies
    made: dict[tuple[int, str], list[dict[str, float | None]]] = {}
    for sliced in {id(each.sliced): each.sliced for each in readings}.values():
        for key, several in sliced.tallies.items():
            made[id(sliced), key] = [tallies.values() for tallies in several]
    counts = {key: max(each.decided or each.shared for each in several) for key, several in first.items()}

    def values(reading: Reading, key: str) -> dict[str, float | None]:
        found = made.get((id(reading.sliced), key))
        return {} if found is None else found[reading.source]

    return [
        Slice(key, counts[key], {reading.line: values(reading, key) for reading in readings})
        for key in sorted(first, key=lambda key: -counts[key])
    ]
