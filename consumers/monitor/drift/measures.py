"""Measures of rows in the units of a reference: one column a test, near to normally distributed.

Shares are measured as arcsine of their root and correlations as Fisher's z, whose variances do not depend on their
values. Means are in standard deviations of the reference, spreads are logarithms. Where tails are heavy, moments come
from quantiles cut at 1 % and 99 % of the reference: a mean of Pareto numbers is no more steady than its largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from consumers.monitor.drift.basis import (
    BINS,
    CATEGORIES,
    CORRELATION,
    ERRORS,
    MISSING,
    QUANTILES,
    RANGE,
    TYPES,
    Basis,
    shapes_of,
)
from consumers.monitor.drift.rows import RANKS, Floats, Rows

LEAST_EVENTS: Final = 30
"""Buckets with fewer values of a subject are not tested: their measures are far from normal."""

SHARES: Final = (MISSING, ERRORS, TYPES, QUANTILES, CATEGORIES)
"""Checks whose measure is the arcsine of a share's root."""

_UNSEEN: Final = 0.1
"""Events that are expected of what the reference has none of."""

_TIED: Final = (0.5 / len(RANKS)) ** 2
"""Variance of a bin's share that comes from rounding it to whole quantiles, for numbers with few values."""

_FLOOR: Final = 0.01
"""Least variance of logarithms of distinct counts and of ranges: of windows that are all alike it would be 0."""


@dataclass(frozen=True)
class Measured:
    """Values of each row in each test, NaN where there are too few events, and their variance between equal windows."""

    values: Floats
    variances: Floats


def measure(rows: Rows, basis: Basis) -> Measured:
    """Return rows measured in the units of a basis; the columns are its `tests`."""
    events = np.array([[float(row.events)] for row in rows.rows])
    errors = np.array([[float(row.errors)] for row in rows.rows])
    counts, numbers = rows.of("counts"), rows.of("numbers")
    with np.errstate(all="ignore"):
        absent = np.where(basis.features > 0, events, np.nan)
        missing = np.where(np.isnan(counts), absent, rows.of("missing"))
        asked = np.where(np.isnan(counts), absent, counts + missing)
        mean, spread = _moments(rows, basis)
        blocks = [
            _share(missing, asked),
            _share(errors, events),
            _share(*rows.shares("types", basis.types)),
            # Of skewed numbers a window with a small mean has a small spread, too, by chance alone.
            (mean, np.maximum(np.exp(2 * spread), np.where(basis.heavy > 0, 1.0, 0.01)) / _enough(numbers)),
            (spread, 1 / (2 * _enough(numbers))),
            _bins(rows, basis, numbers),
            _share(*rows.shares("categories", basis.categories)),
            _distinct(rows, basis, counts),
            *_ranges(rows, basis, numbers),
            _pairs(rows),
        ]
    return Measured(
        np.concatenate([values for values, _ in blocks], axis=1),
        np.concatenate([variances for _, variances in blocks], axis=1),
    )


def _enough(counts: Floats, least: int = LEAST_EVENTS) -> Floats:
    return np.where(counts >= least, counts, np.nan)


def _share(counts: Floats, totals: Floats) -> tuple[Floats, Floats]:
    """Return shares after the arcsine transform of Anscombe."""
    enough = _enough(totals)
    return np.arcsin(np.sqrt((counts + 0.375) / (enough + 0.75))), 1 / (4 * enough + 2)


def _moments(rows: Rows, basis: Basis) -> tuple[Floats, Floats]:
    """Return means and logarithms of standard deviations, in units of the reference."""
    cut = np.clip(rows.of("quantiles"), basis.low[:, None], basis.high[:, None])
    reach = (basis.most - basis.least) / 2
    far = (rows.of("least") < basis.least - reach) | (rows.of("most") > basis.most + reach)
    robust = far | (basis.heavy > 0)
    mean = np.where(robust, cut.mean(axis=-1), rows.of("mean"))
    deviation = np.where(robust, cut.std(axis=-1), rows.of("deviation"))
    return (mean - basis.centre) / basis.scale, np.log(np.maximum(deviation / basis.scale, 1e-6))


def _bins(rows: Rows, basis: Basis, numbers: Floats) -> tuple[Floats, Floats]:
    """Return the shares of the reference's bins, each a column: (rows, subjects × 5)."""
    shapes = shapes_of(rows.of("quantiles"), basis.tied)
    below = np.empty((*shapes.shape[:2], BINS + 1))
    below[..., 0], below[..., -1] = 0.0, 1.0
    low, high = np.empty_like(shapes), np.empty_like(shapes)
    low[..., 0], high[..., -1] = shapes[..., 0], shapes[..., -1]
    low[..., 1:] = high[..., :-1] = (shapes[..., 1:] + shapes[..., :-1]) / 2
    wide = high > low
    width = np.where(wide, high - low, 1.0)
    for number in range(BINS - 1):
        edge = basis.edges[:, number, None]
        # Each quantile stands for a cell in which the numbers are spread evenly.
        below[..., number + 1] = np.where(wide, (edge - low) / width, edge >= high).clip(0, 1).mean(axis=-1)
    shares = (below[..., 1:] - below[..., :-1]).clip(0, 1)
    enough = _enough(numbers)[..., None]
    variance = 1 / (4 * enough + 2) + np.where(basis.tied[:, None], _TIED / 0.36, 0.0)
    values = np.arcsin(np.sqrt((shares * enough + 0.375) / (enough + 0.75)))
    shape = (len(rows.rows), -1)
    return values.reshape(shape), np.broadcast_to(variance, values.shape).reshape(shape)


def _distinct(rows: Rows, basis: Basis, counts: Floats) -> tuple[Floats, Floats]:
    enough = _enough(counts)
    return np.log(_enough(rows.of("distinct"), 1)) - basis.slope * np.log(enough), np.where(enough > 0, _FLOOR, np.nan)


def _ranges(rows: Rows, basis: Basis, numbers: Floats) -> list[tuple[Floats, Floats]]:
    variance = np.where(_enough(numbers) > 0, _FLOOR, np.nan)
    below = np.arcsinh((basis.middle - rows.of("least")) / basis.width)
    above = np.arcsinh((rows.of("most") - basis.middle) / basis.width)
    return [(below, variance), (above, variance)]


def _pairs(rows: Rows) -> tuple[Floats, Floats]:
    return rows.of_pairs("correlations"), 1 / (_enough(rows.of_pairs("pair_counts")) - 3)


def tails(values: Floats, usual: Floats, variances: Floats, between: Floats, basis: Basis) -> Floats:
    """Return by what to divide the distance of each value from the usual; 1 for all but shares of few events.

    The arcsine makes the lower tail of small counts too short, and the upper one too long: of 12 expected events none
    come once in 160,000 windows, which the arcsine takes for a distance of 5.8. The root of the deviance of Poisson's
    distribution, with a half for continuity, is 4.4, which is right. The upper tail counts as Poisson's only where the
    reference's windows do not vary more than that.
    """
    shares = np.isin(np.array([check for check, _ in basis.tests]), SHARES)
    with np.errstate(all="ignore"):
        events = 1 / (4 * variances) - 0.5
        expected = np.maximum(np.sin(usual) ** 2 * (events + 0.75) - 0.375, 0.0) + _UNSEEN
        counted = np.maximum(np.sin(values) ** 2 * (events + 0.75) - 0.375, 0.0)
        low = values < usual
        counted = np.where(low, counted + 0.5, np.maximum(counted - 0.5, 0.0))
        deviance = 2 * (expected - counted + np.where(counted > 0, counted * np.log(counted / expected), 0.0))
        factor = np.abs(usual - values) / np.sqrt(variances) / np.sqrt(np.maximum(deviance, 1e-12))
        wrong = shares & np.where(low, (counted < expected) & (factor > 1), (counted > expected) & (between <= 0))
    found: Floats = np.where(wrong, factor, 1.0)
    return found


def effects(values: Floats, usual: Floats, basis: Basis) -> Floats:
    """Return how far a row's values are from the usual, in the unit of each check.

    That is: shares for missing, errors and types; total variation for quantiles and categories; standard deviations of
    the reference for the mean, logarithms for spread and distinct values; parts of the reference's range for what is
    beyond it; correlations for pairs.
    """
    checks = np.array([check for check, _ in basis.tests])
    found = np.abs(values - usual)
    shares = np.isin(checks, SHARES)
    found[shares] = np.abs(np.sin(values[shares]) ** 2 - np.sin(usual[shares]) ** 2)
    for check in (QUANTILES, CATEGORIES):
        columns = np.flatnonzero(checks == check)
        if len(columns):
            places = np.array([basis.tests[each][1] for each in columns.tolist()])
            moved = np.nan_to_num(np.sin(values[columns]) ** 2 - np.sin(usual[columns]) ** 2)
            sums = np.bincount(places, np.abs(moved), basis.subjects)
            # What is not in a column of its own has moved by as much as all columns together.
            rest = np.abs(np.bincount(places, moved, basis.subjects))
            found[columns] = ((sums + rest) / 2)[places]
    ranges = np.flatnonzero(checks == RANGE)
    half = len(ranges) // 2
    with np.errstate(all="ignore"):
        reach = np.maximum(basis.most - basis.least, basis.width)
        below = basis.least - (basis.middle - np.sinh(values[ranges[:half]]) * basis.width)
        above = basis.middle + np.sinh(values[ranges[half:]]) * basis.width - basis.most
        found[ranges] = np.concatenate([below / reach, above / reach])
    pairs = checks == CORRELATION
    found[pairs] = np.abs(np.tanh(values[pairs]) - np.tanh(usual[pairs]))
    return np.nan_to_num(found)
