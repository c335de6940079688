"""Basis of a reference: the units, bins and categories in which its windows and new ones are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from consumers.monitor.drift.rows import Floats, Names, Rows
from consumers.monitor.profiles.categories import most_frequent

MISSING: Final = "missing"
ERRORS: Final = "errors"
TYPES: Final = "types"
MEAN: Final = "mean"
SPREAD: Final = "spread"
QUANTILES: Final = "quantiles"
CATEGORIES: Final = "categories"
DISTINCT: Final = "distinct"
RANGE: Final = "range"
CORRELATION: Final = "correlation"

EDGES: Final = (0.1, 0.3, 0.7, 0.9)
BINS: Final = len(EDGES) + 1
COLUMNS: Final = 20
"""Categories of a value that are tested one by one: the most frequent of the reference."""

_HEAVY: Final = 12.0
"""A number whose range is more than so many standard deviations has heavy tails: its moments come from quantiles."""

_TIED: Final = 0.05
"""A number has few values if one of them is so large a share of the reference's quantiles."""

_TINY: Final = 1e-9


@dataclass(frozen=True)
class Basis:
    """Units of measure of a reference; entry i of each array belongs to the subject with place i.

    Attributes
    ----------
    low, high
        Values are cut to these (about the 1 % and 99 % quantiles) where tails are heavy.
    centre, scale
        Mean and standard deviation of the reference, of the cut values where tails are heavy.
    middle, width
        Median and distance of the quartiles, the units of the range.
    edges
        Edges of five bins with 10, 20, 40, 20 and 10 % of the reference, (subjects, 4), of `shapes_of` the values.
    tied
        Numbers with so few values that many of the reference's quantiles are the same.
    known, known_types, bursts
        Keys that the reference has, by place, and places where frequent new categories are usual.
    slope
        How the logarithm of distinct values grows with that of values: 0 for few categories, 1 for unique numbers.
    constants
        Share of the reference's buckets in which all values were the same.
    commonest
        Share of the most frequent value, as far as it is known.
    tests
        Check and subject of each column of what `measures.measure` returns; a pair has place -1 - its own.
    heavy_pairs
        Pairs of which one has heavy tails: a single event may make their correlation.
    """

    subjects: int
    pairs: int
    features: Floats
    low: Floats
    high: Floats
    centre: Floats
    scale: Floats
    heavy: Floats
    middle: Floats
    width: Floats
    least: Floats
    most: Floats
    edges: Floats
    tied: NDArray[np.bool_]
    categories: Sequence[tuple[int, str]]
    types: Sequence[tuple[int, str]]
    known: Mapping[int, frozenset[str]]
    known_types: Mapping[int, frozenset[str]]
    bursts: frozenset[int]
    slope: Floats
    constants: Floats
    commonest: Floats
    events: int
    tests: Sequence[tuple[str, int]]
    heavy_pairs: NDArray[np.bool_]


def basis_of(rows: Rows, names: Names) -> Basis:
    """Return the basis of the rows of a reference, of which there must be one."""
    size = rows.subjects
    numbers = np.nan_to_num(rows.of("numbers"))
    pooled, share = _pooled(rows.of("quantiles"), numbers)
    low, middle, high = (_at(pooled, share, rank) for rank in (0.01, 0.5, 0.99))
    least, most = _extreme(rows.of("least"), np.fmin), _extreme(rows.of("most"), np.fmax)
    centre, scale = _moments(rows, numbers)
    with np.errstate(invalid="ignore"):
        heavy = (most - least) > _HEAVY * scale
    cut = np.clip(pooled, low, high)
    cut_centre = np.nansum(cut * share, axis=0)
    cut_scale = np.sqrt(np.nansum((cut - cut_centre) ** 2 * share, axis=0))
    centre, scale = np.where(heavy, cut_centre, centre), np.where(heavy, cut_scale, scale)
    width = _at(pooled, share, 0.75) - _at(pooled, share, 0.25)
    ties = _ties(pooled, share)
    tied = (ties > _TIED) | (width <= 0)
    shapes, shape_share = _pooled(shapes_of(rows.of("quantiles"), tied), numbers)
    edges = np.stack([_at(shapes, shape_share, rank) for rank in EDGES], axis=-1)
    floor = _TINY * (np.abs(np.nan_to_num(middle)) + _TINY)
    categories, known, bursts = _frequent(rows, "categories", COLUMNS)
    types, known_types, _ = _frequent(rows, "types", COLUMNS)
    several = [each for each in types if len(known_types[each[0]]) > 1]
    features = np.zeros(size)
    features[[place for name, place in names.subjects.items() if name.startswith("feature:") and place < size]] = 1
    return Basis(
        subjects=size,
        pairs=rows.pairs,
        features=features,
        low=low,
        high=high,
        centre=centre,
        scale=np.maximum(scale, floor),
        heavy=heavy.astype(np.float64),
        middle=middle,
        width=np.maximum(np.maximum(width, scale / 10), floor),
        least=least,
        most=most,
        edges=edges,
        tied=tied,
        categories=categories,
        types=several,
        known=known,
        known_types=known_types,
        bursts=bursts,
        slope=_slope(rows),
        constants=_constants(rows),
        commonest=_commonest(rows, ties),
        events=sum(row.events for row in rows.rows),
        tests=_tests(size, rows.pairs, categories, several),
        heavy_pairs=_heavy_pairs(rows.pairs, heavy, names),
    )


def _heavy_pairs(pairs: int, heavy: NDArray[np.bool_], names: Names) -> NDArray[np.bool_]:
    found = np.zeros(pairs, dtype=np.bool_)
    for pair, place in names.pairs.items():
        places = [names.subjects.get(f"feature:{name}", -1) for name in pair]
        if place < pairs:
            found[place] = any(0 <= each < len(heavy) and heavy[each] for each in places)
    return found


def _tests(
    size: int, pairs: int, categories: Sequence[tuple[int, str]], types: Sequence[tuple[int, str]]
) -> list[tuple[str, int]]:
    return [
        *((MISSING, place) for place in range(size)),
        (ERRORS, size),
        *((TYPES, place) for place, _ in types),
        *((MEAN, place) for place in range(size)),
        *((SPREAD, place) for place in range(size)),
        *((QUANTILES, place) for place in range(size) for _ in range(BINS)),
        *((CATEGORIES, place) for place, _ in categories),
        *((DISTINCT, place) for place in range(size)),
        *((RANGE, place) for _ in range(2) for place in range(size)),
        *((CORRELATION, -1 - place) for place in range(pairs)),
    ]


def _pooled(quantiles: Floats, numbers: Floats) -> tuple[Floats, Floats]:
    """Return all rows' quantiles in order, (rows × ranks, subjects), and the share of the reference of each."""
    rows, subjects, ranks = quantiles.shape
    values = quantiles.transpose(0, 2, 1).reshape(rows * ranks, subjects)
    weights = np.repeat(numbers / ranks, ranks, axis=0).reshape(rows, ranks, subjects).reshape(rows * ranks, subjects)
    order = np.argsort(values, axis=0)
    values, weights = np.take_along_axis(values, order, 0), np.take_along_axis(weights, order, 0)
    return values, weights / np.maximum(weights.sum(axis=0), 1.0)


def _at(pooled: Floats, share: Floats, rank: float) -> Floats:
    """Return the quantile at a rank of each subject."""
    below = np.minimum((np.cumsum(share, axis=0) < rank).sum(axis=0), len(pooled) - 1)
    found: Floats = pooled[below, np.arange(pooled.shape[1])]
    return found


def _extreme(values: Floats, of: np.ufunc) -> Floats:
    found: Floats = of.reduce(values, axis=0)
    return found


def _moments(rows: Rows, numbers: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of all numbers of the rows."""
    mean, deviation = np.nan_to_num(rows.of("mean")), np.nan_to_num(rows.of("deviation"))
    count = np.maximum(numbers.sum(axis=0), 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = (mean * numbers).sum(axis=0) / count
        squares = ((deviation**2 + (mean - centre) ** 2) * numbers).sum(axis=0)
    return centre, np.sqrt(squares / count)


def _slope(rows: Rows) -> Floats:
    """Return the growth of distinct values with the number of values, 0 to 1, by least squares over the rows."""
    with np.errstate(all="ignore"):
        counts, distinct = np.log(rows.of("counts")), np.log(rows.of("distinct"))
        valid = np.isfinite(counts) & np.isfinite(distinct)
        number = valid.sum(axis=0)
        across = np.where(valid, counts - np.where(valid, counts, 0).sum(axis=0) / number, 0)
        up = np.where(valid, distinct - np.where(valid, distinct, 0).sum(axis=0) / number, 0)
        slope = (across * up).sum(axis=0) / (across**2).sum(axis=0)
        unique = np.where(valid, distinct - counts, 0).sum(axis=0) / number > np.log(0.5)
        steady = (across**2).sum(axis=0) / number < 0.01
        found: Floats = np.where(steady | ~np.isfinite(slope), unique * 1.0, np.clip(slope, 0.0, 1.0))
    return found


def _constants(rows: Rows) -> Floats:
    distinct = rows.of("distinct")
    with np.errstate(all="ignore"):
        found: Floats = (distinct == 1).sum(axis=0) / np.maximum((distinct > 0).sum(axis=0), 1)
    # Where the number of distinct values is not known, nothing was seen to vary either.
    return np.where(np.isnan(distinct).all(axis=0), np.nan, found)


def shapes_of(quantiles: Floats, tied: NDArray[np.bool_]) -> Floats:
    """Return quantiles (rows, subjects, ranks) less their median, in units of their quartiles' distance.

    So location and spread, which have tests of their own, do not matter. Numbers with few values are left as they are.
    """
    last = quantiles.shape[-1] - 1
    middle = quantiles[..., last // 2, None]
    width = (quantiles[..., 3 * last // 4] - quantiles[..., last // 4])[..., None]
    with np.errstate(all="ignore"):
        found: Floats = np.where(tied[:, None], quantiles, (quantiles - middle) / np.where(width > 0, width, np.nan))
    return found


def _ties(pooled: Floats, share: Floats) -> Floats:
    """Return the largest share of a subject's quantiles that are the same number."""
    found = np.zeros(pooled.shape[1])
    for place in range(pooled.shape[1]):
        there = share[:, place] > 0
        if there.any():
            _, which = np.unique(pooled[there, place], return_inverse=True)
            found[place] = np.bincount(which, share[there, place]).max()
    return found


def _commonest(rows: Rows, ties: Floats) -> Floats:
    """Return the share of each subject's most frequent value: of its categories, or of equal quantiles."""
    ties = ties.copy()
    totals: dict[tuple[int, str], int] = {}
    for row in rows.rows:
        for place, counts in row.categories.items():
            for key, count in counts.items():
                totals[place, key] = totals.get((place, key), 0) + count
    values = np.maximum(np.nansum(rows.of("counts"), axis=0), 1.0)
    for (place, _), count in totals.items():
        if place < rows.subjects:
            ties[place] = max(ties[place], count / values[place])
    return np.clip(ties, 0.1, 1.0)


def _frequent(
    rows: Rows, name: str, most: int
) -> tuple[list[tuple[int, str]], dict[int, frozenset[str]], frozenset[int]]:
    """Return the most frequent keys of each subject, all known ones, and subjects in which new ones are usual."""
    totals: dict[int, dict[str, int]] = {}
    first: dict[int, dict[str, int]] = {}
    late: set[int] = set()
    for number, row in enumerate(rows.rows):
        kept: dict[int, dict[str, int]] = getattr(row, name)
        for place, counts in kept.items():
            if place >= rows.subjects:
                continue
            sums, when = totals.setdefault(place, {}), first.setdefault(place, {})
            for key, count in counts.items():
                if key not in when:
                    when[key] = number
                    if number > len(rows.rows) // 2 and count > 0.01 * row.events:
                        late.add(place)
                sums[key] = sums.get(key, 0) + count
    chosen = [(place, key) for place in sorted(totals) for key in most_frequent(totals[place], most)]
    return chosen, {place: frozenset(sums) for place, sums in totals.items()}, frozenset(late)
