"""Moments of pairs of numbers, over the events that have both, and their correlations.

All pairs of 50 features are 1,225. Which features these are, and which pairs a merged window keeps, follows from names
alone (the first by name), so that neither order nor grouping of windows changes it.

Numbers beyond ±1e150 are taken as ±1e150 here, so that products stay finite; sums that outgrow the largest double are
held at it, and have no correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from consumers.monitor.profiles.moments import LARGEST, Floats, two_sum
from schemas.profiles import Pairs

Pair: TypeAlias = tuple[str, str]

MOST_FEATURES: Final = 50
MOST_PAIRS: Final = MOST_FEATURES * (MOST_FEATURES - 1) // 2
_MOST_NAMED: Final = 100
_BOUND: Final = 1e150
_ROUNDING: Final = 1e-14


class Sums(NamedTuple):
    """Moments of pairs; element i of each array (of one or two dimensions) belongs to one pair.

    Attributes
    ----------
    first, first_low, second, second_low
        Means of both, and what rounding left out of them.
    squares_first, squares_second, products
        Sums of the squared differences from the means, and of their products.
    """

    counts: Floats
    first: Floats
    first_low: Floats
    second: Floats
    second_low: Floats
    squares_first: Floats
    squares_second: Floats
    products: Floats

    def each(self, function: Callable[[Floats], Floats]) -> Sums:
        """Return what a function makes of each array."""
        return Sums(*map(function, self))


def merged_sums(one: Sums, other: Sums) -> Sums:
    """Return the moments of both together (Chan, Golub, LeVeque 1979); of no events in one, exactly the other."""
    counts = one.counts + other.counts
    share = np.divide(other.counts, counts, out=np.zeros_like(counts), where=counts > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        first_apart = (other.first - one.first) + (other.first_low - one.first_low)
        second_apart = (other.second - one.second) + (other.second_low - one.second_low)
        weight = one.counts * share
        squares_first = one.squares_first + other.squares_first + first_apart * first_apart * weight
        squares_second = one.squares_second + other.squares_second + second_apart * second_apart * weight
        products = one.products + other.products + first_apart * second_apart * weight
    first, first_low = _moved(one.first, one.first_low, first_apart * share)
    second, second_low = _moved(one.second, one.second_low, second_apart * share)
    held = map(_held, (squares_first, squares_second, products))
    merged = Sums(counts, first, first_low, second, second_low, *held)
    return Sums(*(np.where(one.counts > 0, mine, its) for mine, its in zip(merged, other, strict=True)))


def _moved(mean: Floats, low: Floats, by: Floats) -> tuple[Floats, Floats]:
    mean, rest = two_sum(mean, by)
    return two_sum(mean, rest + low)


def _held(sums: Floats) -> Floats:
    return np.asarray(np.nan_to_num(sums, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST))


def _sums_of(numbers: Floats) -> Sums:
    """Return the moments of all pairs of rows; NaN is a missing number. Element (i, j) has row i as the first."""
    present = np.isfinite(numbers)
    counts = present.sum(axis=1, dtype=np.float64)
    complete = bool(present.all())
    numbers = np.clip(numbers, -_BOUND, _BOUND) if complete else np.where(present, np.clip(numbers, -_BOUND, _BOUND), 0)
    # Differences from a value near the mean: the mean of all numbers of the row, also of those that the pair lacks.
    # A constant row has differences of exactly 0.
    near = numbers.sum(axis=1) / np.maximum(counts, 1)
    some = numbers[np.arange(len(numbers)), present.argmax(axis=1)]
    near = np.where(((numbers == some[:, None]) | ~present).all(axis=1), some, near)
    apart = numbers - near[:, None]
    apart[~present] = 0.0
    products = _products(apart, apart)
    if complete:
        both = np.full_like(products, numbers.shape[1])
        totals = np.broadcast_to(apart.sum(axis=1)[:, None], products.shape)
        squares = np.broadcast_to(products.diagonal()[:, None], products.shape)
    else:
        there = present.astype(np.float64)
        both, totals, squares = (_products(each, there) for each in (there, apart, np.square(apart)))
    means = np.divide(totals, both, out=np.zeros_like(both), where=both > 0)
    # What rounding alone leaves of the squares of a constant would make a correlation of noise.
    squares = np.where(squares - totals * means > squares * _ROUNDING, squares - totals * means, 0.0)
    products = products - totals * means.T
    first, low = two_sum(np.broadcast_to(near[:, None], means.shape), means)
    return Sums(both, first, low, first.T, low.T, squares, squares.T, products)


def _products(one: Floats, other: Floats) -> Floats:
    # Not `@`: the library behind it may divide sums among threads, and the last digits would depend on their number.
    return np.asarray(np.einsum("ik,jk->ij", one, other))


class PairMoments:
    """Moments of the pairs of an open window.

    Parameters
    ----------
    named
        Pairs to keep, at most 1,225 of at most 100 features, and further ones are ignored; `None`: all pairs of the
        first 50 features that have numbers.
    rank
        Gives the order of features; by default that of their names.
    """

    def __init__(self, named: Sequence[Pair] | None = None, rank: Callable[[str], Any] = str) -> None:
        self._named = None if named is None else _bounded(named)
        self._wanted = frozenset(name for pair in self._named or () for name in pair)
        self._rank = rank
        self._names: list[str] = []
        self._sums = _nothing(0)

    def add(self, columns: dict[str, Floats]) -> None:
        """Take the numbers of further events, by feature; NaN where an event has none."""
        names = columns.keys() if self._named is None else columns.keys() & self._wanted
        chosen = self._names
        if not names <= set(chosen):
            most = MOST_FEATURES if self._named is None else _MOST_NAMED
            chosen = sorted(names | set(chosen), key=self._rank)[:most]
        if chosen != self._names:
            self._choose(chosen)
        if len(chosen) < 2 or not columns:
            return
        length = len(next(iter(columns.values())))
        missing = np.full(length, np.nan)
        self._sums = merged_sums(self._sums, _sums_of(np.stack([columns.get(name, missing) for name in chosen])))

    def leave_out(self, name: str) -> None:
        """Forget a feature."""
        if name in self._names:
            self._choose([each for each in self._names if each != name])

    def _choose(self, names: list[str]) -> None:
        """Keep the moments of these features; new ones had no numbers so far."""
        kept = [(to, self._names.index(name)) for to, name in enumerate(names) if name in self._names]
        new, old = _nothing(len(names)), self._sums
        if kept:
            to, place = (np.array(each) for each in zip(*kept, strict=True))
            for before, after in zip(old, new, strict=True):
                after[np.ix_(to, to)] = before[np.ix_(place, place)]
        self._names, self._sums = names, new

    def written(self) -> Pairs | None:
        """Return the moments of all pairs that some event has; `None` if there are none."""
        place = {name: at for at, name in enumerate(self._names)}
        pairs = list(combinations(sorted(self._names), 2)) if self._named is None else self._named
        pairs = [pair for pair in pairs if pair[0] in place and pair[1] in place]
        at = np.array([(place[first], place[second]) for first, second in pairs], np.intp).reshape(-1, 2)
        return _written(pairs, self._sums.each(lambda sums: sums[at[:, 0], at[:, 1]]))


def _bounded(named: Sequence[Pair]) -> list[Pair]:
    names: set[str] = set()
    kept: dict[Pair, None] = {}
    for first, second in named:
        if len(names | {first, second}) <= _MOST_NAMED and first != second and (second, first) not in kept:
            names |= {first, second}
            kept[first, second] = None
    return list(kept)[:MOST_PAIRS]


def _nothing(names: int) -> Sums:
    return Sums(*(np.zeros((names, names)) for _ in Sums._fields))


def _written(pairs: Sequence[Pair], sums: Sums) -> Pairs | None:
    there = np.flatnonzero(sums.counts > 0).tolist()
    if not there:
        return None
    lists: list[Any] = [each[there].tolist() for each in sums]
    counts, first, first_low, second, second_low, squares_first, squares_second, products = lists
    return Pairs(
        first=[pairs[at][0] for at in there],
        second=[pairs[at][1] for at in there],
        counts=list(map(int, counts)),
        means_first=first,
        means_second=second,
        squares_first=squares_first,
        squares_second=squares_second,
        products=products,
        lows_first=first_low,
        lows_second=second_low,
    )


def _read(pairs: Pairs) -> Sums:
    nothing = [0.0] * len(pairs.counts)
    lists = (
        pairs.counts,
        pairs.means_first,
        pairs.lows_first or nothing,
        pairs.means_second,
        pairs.lows_second or nothing,
        pairs.squares_first,
        pairs.squares_second,
        pairs.products,
    )
    return Sums(*(np.array(each, np.float64) for each in lists))


def merged_pairs(parts: Iterable[Pairs], most: int = MOST_PAIRS) -> Pairs | None:
    """Return the moments of the pairs of several windows together, at most `most` pairs."""
    parts = list(parts)
    # In the order of `_order` all pairs of the first 50 features come before any pair with a further one.
    known = {pair for part in parts for pair in zip(part.first, part.second, strict=True)}
    pairs = sorted(sorted(known, key=_order)[:most])
    place = {pair: at for at, pair in enumerate(pairs)}
    total = Sums(*(np.zeros(len(pairs)) for _ in Sums._fields))
    for part in parts:
        found = [
            (place[pair], at) for at, pair in enumerate(zip(part.first, part.second, strict=True)) if pair in place
        ]
        to, at = np.array(found, np.intp).reshape(-1, 2).T
        read = _read(part)
        one = Sums(*(np.zeros(len(pairs)) for _ in Sums._fields))
        for before, after in zip(read, one, strict=True):
            after[to] = before[at]
        total = merged_sums(total, one)
    return _written(pairs, total)


def _order(pair: Pair) -> tuple[str, str, Pair]:
    return max(pair), min(pair), pair


def correlations(pairs: Pairs | None) -> dict[Pair, tuple[float, int]]:
    """Return each pair's correlation (-1 to 1) and the number of events that have both.

    Pairs without a correlation are left out: fewer than 2 events, one of the two is constant, or its sum of squares is
    beyond the largest double.
    """
    if pairs is None:
        return {}
    found: dict[Pair, tuple[float, int]] = {}
    rows = zip(
        zip(pairs.first, pairs.second, strict=True),
        pairs.counts,
        pairs.squares_first,
        pairs.squares_second,
        pairs.products,
        strict=True,
    )
    for names, count, first, second, product in rows:
        scale = math.sqrt(first) * math.sqrt(second)
        if count > 1 and scale > 0 and max(first, second, abs(product)) < LARGEST:
            found[names] = (max(-1.0, min(1.0, product / scale)), count)
    return found
