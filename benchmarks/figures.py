"""From times to figures: rates between the first and the last record, percentiles, medians with their spread."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


def rate(times: Sequence[int], warm_up: int) -> float:
    """Return records a second by the broker's times (ms, sorted), without the first `warm_up`.

    Records of one batch have one time: what is counted comes after the whole batch that ends the warm-up.

    >>> rate([0, 0, 1000, 1000, 2000, 2000], warm_up=1)
    2.0
    """
    if len(times) <= warm_up:
        raise ValueError(f"{len(times)} records are too few for a warm-up of {warm_up}")
    began, ended = times[warm_up], times[-1]
    counted = len(times) - bisect.bisect_right(times, began)
    if counted == 0:
        raise ValueError("all records after the warm-up have one time")
    return counted * 1000 / (ended - began)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


@dataclass(frozen=True)
class Spread:
    """What several rounds measured."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def most(self) -> float:
        return max(self.values)


def ratios(ours: Sequence[float], bare: Sequence[float]) -> Spread:
    """Return ours by the bare loop's, round by round."""
    return Spread(tuple(mine / other for mine, other in zip(ours, bare, strict=True)))


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    name
        What the command line knows it by.
    measured
        What is judged, by round.
    unit
        Of `measured`; empty for a ratio.
    bound
        What `measured` must be `sense`; its median decides.
    absolute
        The figures behind it, in words, each with its unit.
    note
        What limits it, or what else must be known to read it.
    failed
        Something beside `measured` is not as it must be; `note` says what.
    """

    name: str
    what: str
    measured: Spread
    unit: str
    sense: Literal["at least", "at most"]
    bound: float
    absolute: dict[str, Spread]
    note: str = ""
    failed: bool = False

    @property
    def met(self) -> bool:
        """Whether it is as it must be."""
        if self.failed:
            return False
        if self.sense == "at least":
            return self.measured.median >= self.bound
        return self.measured.median <= self.bound
