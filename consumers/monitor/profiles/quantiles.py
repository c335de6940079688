"""Quantiles of numbers: the cumulative distribution as a few knots, and straight lines between them.

A window has 65 knots at equal distances of rank, and up to 64 more where a straight line between them would be wrong by
more than a fifth of a percent: in tails, around gaps, and at values that occur often, which need two points for a jump.
Up to 96 distinct values are kept exactly. Distributions are merged by adding up the lines, not the knots, so that
merging itself adds no error; the knots of the sum, twice or four times as many, are then chosen like those of a window.
Nothing is random: the same numbers have the same knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from consumers.monitor.profiles.moments import Floats
from schemas.profiles import DAY_MS, Numbers

_Places: TypeAlias = NDArray[np.intp]

CELLS: Final = 64
"""Equal shares of the numbers of an open window, between its knots."""
_MERGED_CELLS: Final = 128
_DAY_CELLS: Final = 256
_FINER: Final = 4  # candidates for a knot in each cell
_TOLERATED: Final = 1 / 8  # of a cell
_TAILS: Final = 2.0 ** -np.arange(1, 5)  # further candidates, as shares of the outermost finer cell
_LARGE: Final = 1e307
_AT_ONCE: Final = 16  # distributions added up before the sum is thinned


class Knots(NamedTuple):
    """A cumulative distribution: straight from `up_to` of each value to `below` of the next.

    Attributes
    ----------
    values
        Ascending, each once; the first is the least and the last the most of the numbers.
    below, up_to
        How many numbers are below each value, and how many below or equal.
    """

    values: Floats
    below: Floats
    up_to: Floats

    @property
    def total(self) -> float:
        """Number of numbers."""
        return float(self.up_to[-1])


def cells_of(span: int) -> int:
    """Return the number of cells of a merged window of `span` ms."""
    return _MERGED_CELLS if span < DAY_MS else _DAY_CELLS


def knots_of(numbers: Floats) -> Knots:
    """Return all knots of finite numbers; at least one number."""
    ordered = np.sort(numbers)
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    up_to = (last + 1).astype(np.float64)
    return Knots(ordered[last], np.concatenate(([0.0], up_to[:-1])), up_to)


def knots_from(points: Sequence[float], weights: Sequence[int]) -> Knots:
    """Return the knots that are written as points and weights."""
    values = np.array(points, np.float64)
    sums = np.cumsum(np.array(weights, np.float64))
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    first = np.concatenate(([0], last[:-1] + 1))
    below = sums[first]
    below[0] = 0.0
    return Knots(values[last], below, sums[last])


def written(knots: Knots) -> tuple[list[float], list[int]]:
    """Return points and weights; weights are whole numbers and sum to the count."""
    below, up_to = np.rint(knots.below), np.rint(knots.up_to)
    jumps = below < up_to
    jumps[0] = False  # all of the first point's weight is a jump
    # A jump's point comes twice, the first time with the numbers below it.
    points = np.repeat(knots.values, 1 + jumps)
    sums = np.repeat(up_to, 1 + jumps)
    places = np.arange(len(jumps)) + np.cumsum(jumps) - jumps
    sums[places[jumps]] = below[jumps]
    return points.tolist(), np.diff(sums, prepend=0.0).astype(np.int64).tolist()


def added(parts: Sequence[Knots], cells: int) -> Knots:
    """Return the thinned distribution of all numbers of several; at least one."""
    while len(parts) > _AT_ONCE:
        groups = (parts[at : at + _AT_ONCE] for at in range(0, len(parts), _AT_ONCE))
        parts = [thinned(_sum(group), _FINER * cells) for group in groups]
    return thinned(_sum(parts), cells)


def _sum(parts: Sequence[Knots]) -> Knots:
    if len(parts) == 1:
        return parts[0]
    values = np.unique(np.concatenate([part.values for part in parts]))
    below, up_to = np.zeros(len(values)), np.zeros(len(values))
    for part in parts:
        left, right = _at(part, values)
        below += left
        up_to += right
    return Knots(values, below, up_to)


def _at(knots: Knots, values: Floats) -> tuple[Floats, Floats]:
    """Return how many numbers are below each of some values, and how many up to it."""
    place = np.searchsorted(knots.values, values, side="right") - 1
    before, after = np.maximum(place, 0), np.minimum(place + 1, len(knots.values) - 1)
    start, end = knots.values[before], knots.values[after]
    # The difference of two large numbers may be infinite, and half of the smallest double is 0.
    scale = 0.5 if max(-knots.values[0], knots.values[-1]) > _LARGE else 1.0
    width = end * scale - start * scale
    inside = np.clip(values, knots.values[0], knots.values[-1])
    share = np.divide(inside * scale - start * scale, width, out=np.zeros(len(values)), where=width > 0)
    between = knots.up_to[before] + share * (knots.below[after] - knots.up_to[before])
    outside, on_one = place < 0, start == values
    between[outside] = 0.0
    return np.where(on_one & ~outside, knots.below[before], between), between


def thinned(knots: Knots, cells: int) -> Knots:
    """Return the same distribution with fewer knots, written as at most 3 × `cells` + 3 points.

    Distributions of at most 1.5 × `cells` values are returned as they are.
    """
    values, below, up_to = knots
    if len(values) <= cells + cells // 2:
        return knots
    equal = np.arange(0, cells * _FINER + 1) / (cells * _FINER)
    tails = _TAILS / (cells * _FINER)
    basis = _places(knots, equal[::_FINER])
    finer = _places(knots, np.concatenate((equal, tails, 1 - tails)))
    # Errors of the straight lines between the knots of the basis, at the candidates. Where a value's jump is not kept,
    # the line passes its middle: passing its top would put all errors on one side, and merges would add them up.
    middle = (below + up_to) / 2
    middle[0], middle[-1] = up_to[0], up_to[-1]
    _, line = _at(Knots(values[basis], middle[basis], middle[basis]), values[finer])
    off = np.maximum(np.abs(line - up_to[finer]), np.abs(line - below[finer]))
    wanted = np.flatnonzero(off > knots.total / cells * _TOLERATED)
    if len(wanted) > cells:
        wanted = wanted[np.argsort(-off[wanted], kind="stable")[:cells]]
    chosen = np.union1d(basis, finer[wanted])
    jumps = np.isin(chosen, finer[wanted])
    jumps[0] = jumps[-1] = True
    smooth = middle[chosen]
    return Knots(values[chosen], np.where(jumps, below[chosen], smooth), np.where(jumps, up_to[chosen], smooth))


def _places(knots: Knots, shares: Floats) -> _Places:
    """Return the places of the first values up to which each share of the numbers lies, and of the first and last."""
    found = np.searchsorted(knots.up_to, shares * knots.total, side="left")
    last = len(knots.values) - 1
    return np.unique(np.concatenate(([0], np.minimum(found, last), [last])))


def share_up_to(numbers: Numbers, values: Sequence[float] | Floats) -> Floats:
    """Return the share (0 to 1) of the numbers that are at most each of the values."""
    _, up_to = _at(knots_from(numbers.points, numbers.weights), np.asarray(values, np.float64))
    return np.asarray(up_to / numbers.count)


def quantiles(numbers: Numbers, shares: Sequence[float] | Floats) -> Floats:
    """Return the least value up to which each share (0 to 1) of the numbers lies."""
    points, sums = np.array(numbers.points), np.cumsum(numbers.weights)
    at = np.clip(np.asarray(shares, np.float64) * numbers.count, sums[0], sums[-1])
    after = np.searchsorted(sums, at, side="left")
    before = np.maximum(after - 1, 0)
    width = sums[after] - sums[before]
    share = np.divide(at - sums[before], width, out=np.zeros(len(at)), where=width > 0)
    # Not a start and a part of the difference, which may be infinite.
    return np.asarray(points[before] * (1 - share) + points[after] * share)
