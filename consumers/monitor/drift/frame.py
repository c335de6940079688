"""Frame of judgement: what a new bucket is compared with, made from the rows of a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumers.monitor.drift.basis import (
    CATEGORIES,
    CORRELATION,
    DISTINCT,
    ERRORS,
    MEAN,
    MISSING,
    QUANTILES,
    RANGE,
    SPREAD,
    TYPES,
    Basis,
    basis_of,
)
from consumers.monitor.drift.measures import effects, measure, tails
from consumers.monitor.drift.rows import Floats, Names, Row, Rows
from consumers.monitor.drift.rules import LEAST_BUCKETS, LEAST_DAYS
from consumers.monitor.drift.usual import Usual, fit
from schemas.profiles import ANSWER, DAY_MS, HOUR_MS

LEAST_SIZES: Final[Mapping[str, float]] = {
    MISSING: 0.02,
    ERRORS: 0.02,
    TYPES: 0.02,
    MEAN: 0.1,
    SPREAD: 0.1,
    QUANTILES: 0.05,
    CATEGORIES: 0.05,
    DISTINCT: 0.69,
    RANGE: 0.5,
    CORRELATION: 0.1,
}
"""Least sizes of what is found, however many events there are; the units are those of `measures.effects`."""

LEAST_SIZES_ALONE: Final[Mapping[str, float]] = {
    MISSING: 0.25,
    ERRORS: 0.25,
    TYPES: 0.25,
    MEAN: 3.0,
    SPREAD: 1.1,
    QUANTILES: 0.5,
    CATEGORIES: 0.5,
    DISTINCT: 2.3,
    RANGE: 5.0,
    CORRELATION: 0.7,
}
"""Least sizes where the reference is too short for thresholds, so that the size alone is judged."""

SEASONAL_MS: Final = 3 * DAY_MS - 6 * HOUR_MS
"""Length of a reference from which on windows are compared with the same hour of the day."""

_NEAR: Final = 0.3
"""Part of its threshold below which no value can be beyond it in the exact tail of a small count."""

_LEAST_ROWS: Final = 3
_LEAST_EVENTS: Final = 500


@dataclass(frozen=True)
class Frame:
    """Reference of one kind and topic over a range of time.

    Attributes
    ----------
    usual
        By number of the scale; `None` where it cannot be judged.
    by_size
        True if the size of an effect is judged alone.
    """

    basis: Basis
    usual: Sequence[Usual | None]
    by_size: bool
    least: Floats
    checks: Sequence[str]
    since_ms: int
    until_ms: int

    @property
    def tests(self) -> int:
        """Number of tests of a bucket."""
        return len(self.basis.tests)


@dataclass(frozen=True)
class Scored:
    """A bucket's values in all tests of a frame.

    Attributes
    ----------
    ratios
        How far each value is from the usual, in units of its threshold; NaN where it is not tested.
    beyond
        True where a value is beyond its threshold and by more than the least size.
    allowed
        The threshold in the units of the measure.
    """

    values: Floats
    usual: Floats
    ratios: Floats
    sizes: Floats
    allowed: Floats
    beyond: np.ndarray[tuple[int], np.dtype[np.bool_]]


def frame_of(rows: Sequence[Sequence[Row]], spans: Sequence[int], names: Names, *, short: bool) -> Frame | None:
    """Return the frame of a reference's rows by scale; `None` if there is too little to compare with.

    With `short`, the reference is shorter than it is meant to be: then size alone is judged, and answers are not. They
    change because the model has begun to learn, which is no drift.
    """
    chosen = next((each for each in (rows[min(1, len(rows) - 1)], rows[0]) if len(each) >= _LEAST_ROWS), None)
    if chosen is None or sum(row.events for row in chosen) < _LEAST_EVENTS:
        return None
    size, pairs = len(names.subjects), len(names.pairs)
    basis = basis_of(Rows(chosen, size, pairs), names)
    covered = chosen[-1].start + chosen[-1].span - chosen[0].start
    usual: list[Usual | None] = []
    for each, span in zip(rows, spans, strict=True):
        needed = _LEAST_ROWS if short else LEAST_DAYS if span >= DAY_MS else LEAST_BUCKETS
        if len(each) < needed:
            usual.append(None)
            continue
        starts = np.array([row.start for row in each], dtype=np.float64)
        seasonal = not short and span < DAY_MS and covered >= SEASONAL_MS
        usual.append(fit(measure(Rows(each, size, pairs), basis), starts, basis, seasonal=seasonal))
    if all(each is None for each in usual):
        return None
    checks = [check for check, _ in basis.tests]
    sizes = LEAST_SIZES_ALONE if short else LEAST_SIZES
    answers = {place for name, place in names.subjects.items() if short and name.startswith(f"{ANSWER}:")}
    least = np.array([np.inf if place in answers else sizes[check] for check, place in basis.tests])
    return Frame(basis, usual, short, least, checks, chosen[0].start, chosen[-1].start + chosen[-1].span)


def score(frame: Frame, place: int, row: Row, level: float) -> Scored | None:
    """Return a bucket's values against the frame, at a two-sided level of each test; `None` if it has no reference."""
    usual = frame.usual[place]
    if usual is None:
        return None
    basis = frame.basis
    measured = measure(Rows([row], basis.subjects, basis.pairs), basis)
    values, variances, centre = measured.values[0], measured.variances[0], usual.at(row.start)
    with np.errstate(all="ignore"):
        allowed = usual.deviation(row.start, variances) * usual.quantile(level)
        ratios = np.abs(values - centre) / (1e-12 if frame.by_size else allowed)
        beyond = ratios > _NEAR
        sizes = np.zeros_like(values)
        if beyond.any():
            ratios = ratios / tails(values, centre, variances, usual.between, basis)
            sizes = effects(values, centre, basis)
            beyond = (ratios > 1) & (sizes >= frame.least)
    return Scored(values, centre, ratios, sizes, allowed, beyond)
