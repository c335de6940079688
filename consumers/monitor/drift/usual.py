"""Thresholds from a reference: how far its own windows are from each other, by test.

The reference's windows are compared with the mean of the same hour of their day, so a daily cycle is no drift. What
is left is scaled by the root of two variances: that of sampling, which every window has, and that between the windows.
The threshold is a quantile of Student's t at the test's part of the budget. Its degrees of freedom are those of the
number of windows, fewer where they follow each other (autocorrelation) and where the reference has outliers (kurtosis).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from consumers.monitor.drift.basis import QUANTILES, RANGE, Basis
from consumers.monitor.drift.measures import Measured
from consumers.monitor.drift.rows import Floats
from schemas.profiles import DAY_MS, HOUR_MS

HOURS: Final = 24
LEAST_DAYS: Final = 3
"""Days of the same hour without which a window is compared with the mean of all hours."""

_LEAST_FREEDOM: Final = 3.0
LEAST_EXTREMES: Final = 20
"""Buckets without which nothing is known of the tail of their extremes."""

_RANGE_FREEDOM: Final = 6.0
"""Most degrees of freedom of the range: its tail is exponential, whatever the numbers are."""

_ROUNDING: Final = 1e-9

_STEADY: Final = 15.0
"""With fewer degrees of freedom, two buckets in a row must be beyond the threshold."""


@dataclass(frozen=True)
class Usual:
    """Usual value of each test at one length of buckets, by hour of the day (24, tests), and how it varies.

    Attributes
    ----------
    centre
        NaN where the reference has too few buckets.
    between
        Variance between buckets, beyond sampling.
    freedom
        Degrees of freedom of Student's t.
    counted
        Number of the reference's days, or buckets, behind each centre.
    heavy
        True where two buckets in a row are needed.
    quantiles
        Quantiles that were asked for, by level.
    """

    centre: Floats
    between: Floats
    freedom: Floats
    counted: Floats
    heavy: NDArray[np.bool_]
    quantiles: dict[float, Floats] = field(default_factory=dict)

    def at(self, start: int) -> Floats:
        """Return the usual values at the hour of a time (ms)."""
        found: Floats = self.centre[hour_of(start)]
        return found

    def deviation(self, start: int, variances: Floats) -> Floats:
        """Return the standard deviation of new values from the usual ones, given their variance by sampling."""
        counted = self.counted[hour_of(start)]
        found: Floats = np.sqrt((self.between + variances) * (1 + 1 / np.maximum(counted, 1)))
        return found

    def quantile(self, level: float) -> Floats:
        """Return how many standard deviations a value may be off, at a two-sided level."""
        if level not in self.quantiles:
            self.quantiles.clear()
            self.quantiles[level] = -special.stdtrit(self.freedom, level / 2)
        return self.quantiles[level]


def hour_of(start: int) -> int:
    """Return the hour of the day (UTC) of a time (ms)."""
    return start % DAY_MS // HOUR_MS


def fit(measured: Measured, starts: Floats, basis: Basis, *, seasonal: bool) -> Usual:
    """Return the usual values of a reference's buckets, in the order of time; `starts` are theirs (ms)."""
    values, variances = measured.values, measured.variances
    hours = (starts.astype(np.int64) % DAY_MS // HOUR_MS) if seasonal else np.zeros(len(starts), dtype=np.int64)
    days = starts.astype(np.int64) // DAY_MS
    valid = ~np.isnan(values)
    centre = np.full((HOURS, values.shape[1]), np.nan)
    counted = np.zeros_like(centre)
    with np.errstate(all="ignore"):
        overall = np.where(valid, values, 0).sum(axis=0) / valid.sum(axis=0)
        centre[:], counted[:] = overall, valid.sum(axis=0)
        expected = np.broadcast_to(overall, values.shape).copy()
        used = np.ones(values.shape[1])
        if seasonal:
            used = np.zeros(values.shape[1])
            for hour in range(HOURS):
                here = np.flatnonzero(hours == hour)
                if len(np.unique(days[here])) < LEAST_DAYS:
                    used += 1 / HOURS
                    continue
                number = valid[here].sum(axis=0)
                mean = np.where(valid[here], values[here], 0).sum(axis=0) / number
                enough = number >= LEAST_DAYS
                centre[hour] = np.where(enough, mean, overall)
                counted[hour] = np.where(enough, len(np.unique(days[here])), counted[hour])
                expected[here] = centre[hour]
                used += enough
        freedom = np.maximum(valid.sum(axis=0) - np.maximum(used, 1), 0)
        left = np.where(valid, values - expected, 0.0)
        sampling = np.where(valid, variances, 0.0).sum(axis=0) / valid.sum(axis=0)
        between = np.maximum((left**2).sum(axis=0) / freedom - sampling, 0.0)
        scaled = np.where(valid, left / np.sqrt(between + variances), 0.0)
        freedom, heavy = _freedom(scaled, valid, freedom)
    ranges = np.array([check == RANGE for check, _ in basis.tests])
    freedom = np.where(ranges, np.minimum(freedom, _RANGE_FREEDOM), freedom)
    # A shape in units of its own quartiles is skewed, but has no memory of the bucket before.
    heavy = heavy | np.array([check == QUANTILES for check, _ in basis.tests])
    if basis.pairs:
        heavy[-basis.pairs :] |= basis.heavy_pairs
    centre[:, valid.sum(axis=0) < 2] = np.nan
    if len(starts) < LEAST_EXTREMES:
        centre[:, ranges] = np.nan
    return Usual(centre, np.nan_to_num(between), freedom, counted, heavy)


def _freedom(scaled: Floats, valid: NDArray[np.bool_], freedom: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the degrees of freedom after autocorrelation and kurtosis, and where they are few because of the tail."""
    count = np.maximum(valid.sum(axis=0), 1)
    # Values that are all the same differ by rounding alone.
    scaled = np.where((scaled**2).sum(axis=0) > _ROUNDING, scaled, 0.0)
    square = (scaled**2).sum(axis=0) / count
    following = (scaled[1:] * scaled[:-1]).sum(axis=0) / count
    correlation = np.clip(np.nan_to_num(following / square), 0.0, 0.99)
    # An estimate from a short series is too low by about this much.
    correlation = np.where(
        correlation > 2 / np.sqrt(count), np.minimum(correlation + (1 + 3 * correlation) / count, 0.99), 0
    )
    effective = freedom * (1 - correlation**2) / (1 + correlation**2)
    kurtosis = (scaled**4).sum(axis=0) / count / np.maximum(square, 1e-12) ** 2 - 3
    kurtosis = kurtosis - np.sqrt(24 / np.maximum(effective, 1))
    tail = np.where(kurtosis > 0, 4 + 6 / np.maximum(kurtosis, 1e-6), 1e6)
    return np.maximum(np.minimum(effective, tail), _LEAST_FREEDOM), (tail < _STEADY)
