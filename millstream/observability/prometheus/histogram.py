"""Histogram with batch updates: counts every event, at a cost that depends only on the distinct times."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

# The bounds reach from a quick answer to a night's outage.
LATENCY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
DURATION: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The bounds fit labels such as a click, within minutes, and a chargeback, within weeks.
WAIT: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0, 604_800.0, 2_592_000.0)


class Histogram:
    """Counts values by size; one thread writes, others read.

    >>> histogram = Histogram((1.0, 10.0))
    >>> histogram.add([(0.5, 2), (30.0, 1)])
    >>> histogram.buckets(), histogram.sum
    ([('1.0', 2.0), ('10.0', 2.0), ('+Inf', 3.0)], 31.0)
    """

    def __init__(self, bounds: Sequence[float] = LATENCY) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._lock = threading.Lock()
        self.sum = 0.0

    def add(self, values: Iterable[tuple[float, int]]) -> None:
        """Add values, each with its count; a value below 0, due to differing clocks, counts as 0."""
        with self._lock:
            for value, times in values:
                seen = max(value, 0.0)
                self._counts[bisect_left(self._bounds, seen)] += times
                self.sum += seen * times

    def buckets(self) -> list[tuple[str, float]]:
        """Return the number of values up to each bound."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """Return buckets and sum as of one moment."""
        with self._lock:
            return self.buckets(), self.sum
