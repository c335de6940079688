"""Findings in the units of the values: what is said of a test that is beyond its threshold."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Final

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
)
from consumers.monitor.drift.frame import Frame, Scored
from consumers.monitor.drift.rows import Names, Row
from schemas.profiles import DAY_MS, HOUR_MS

_SHARES: Final = (MISSING, ERRORS, TYPES)
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True)
class Said:
    """A test's result in the units of the values."""

    value: float
    usual: float
    threshold: float
    text: str


def describe(frame: Frame, scored: Scored, column: int, row: Row, names: Names) -> Said:
    """Return what is said of one column of a bucket."""
    check, place = frame.basis.tests[column]
    value, usual, threshold = _numbers(frame, scored, column, row)
    shown, expected = f"{value:.4g}", f"{usual:.4g}"
    if check in _SHARES:
        shown, expected, within = f"{value:.1%}", f"{usual:.1%}", f"{threshold:.1%}"
    else:
        within = f"{threshold:.4g}"
    name = subject_of(names, check, place)
    what = {
        MISSING: "missing in",
        ERRORS: "events without an answer:",
        TYPES: f"values of type {_key(frame, column)}:",
        MEAN: "mean",
        SPREAD: "standard deviation",
        DISTINCT: "distinct values:",
        RANGE: "most extreme value:",
        CORRELATION: "correlation",
    }.get(check, "")
    if check == QUANTILES:
        text = f"{value:.0%} of the values are in other parts of the distribution; at most {within} is usual"
    elif check == CATEGORIES:
        now, before = (math.sin(each[column]) ** 2 for each in (scored.values, scored.usual))
        moved = f"{_key(frame, column)!r} {now:.1%}, usually {before:.1%}"
        text = f"{value:.0%} of the values are in other categories: {moved}"
    else:
        text = f"{what} {shown}, usually {expected} ± {within}"
    alone = " (by size alone: the reference is short)" if frame.by_size else ""
    return Said(value, usual, threshold, f"{name}: {text}, in the {period(row)}{alone}")


def period(row: Row) -> str:
    """Return a bucket's time as people say it.

    >>> from types import SimpleNamespace
    >>> period(SimpleNamespace(start=1_767_225_600_000, span=3_600_000))
    'hour from 2026-01-01 00:00 UTC'
    """
    kind = {HOUR_MS: "hour", DAY_MS: "day"}.get(row.span, "window")
    seconds = ":%S" if row.span < _MINUTE_MS else ""
    begin = dt.datetime.fromtimestamp(row.start / 1000, dt.UTC).strftime(f"%Y-%m-%d %H:%M{seconds}")
    return f"{kind} from {begin} UTC"


def subject_of(names: Names, check: str, place: int) -> str:
    """Return the name of a subject or of a pair by its place."""
    if check == ERRORS:
        return ERRORS
    if check == CORRELATION:
        first, second = list(names.pairs)[-1 - place]
        return f"{first} ~ {second}"
    return list(names.subjects)[place]


def _key(frame: Frame, column: int) -> str:
    """Return the category or type of a column."""
    check = frame.checks[column]
    kept = {TYPES: frame.basis.types, CATEGORIES: frame.basis.categories}.get(check)
    return kept[column - frame.checks.index(check)][1] if kept is not None else ""


def _share(value: float, events: int) -> float:
    """Return the share of events behind Anscombe's transform of it."""
    return max((math.sin(value) ** 2 * (events + 0.75) - 0.375) / max(events, 1), 0.0)


def _numbers(frame: Frame, scored: Scored, column: int, row: Row) -> tuple[float, float, float]:
    """Return value, usual value, and how far the one may be from the other."""
    check, place = frame.basis.tests[column]
    basis = frame.basis
    value, usual, allowed = (float(each[column]) for each in (scored.values, scored.usual, scored.allowed))
    least, size = float(frame.least[column]), float(scored.sizes[column])
    allowed = 0.0 if frame.by_size else allowed
    more = max(allowed, least)
    if check in _SHARES:
        now, before = (_share(each, row.events) for each in (value, usual))
        found = (
            now,
            before,
            max(abs(now - before) / max(float(scored.ratios[column]), 1.0) * (not frame.by_size), least),
        )
    elif check == MEAN:
        centre, scale = float(basis.centre[place]), float(basis.scale[place])
        found = value * scale + centre, usual * scale + centre, more * scale
    elif check == SPREAD:
        before = float(basis.scale[place]) * math.exp(usual)
        found = float(basis.scale[place]) * math.exp(value), before, before * math.expm1(more)
    elif check in {QUANTILES, CATEGORIES}:
        within = least if frame.by_size else max(least, size / max(float(scored.ratios[column]), 1.0))
        found = size, 0.0, within
    elif check == DISTINCT:
        grown = float(basis.slope[place]) * math.log(row.counts[place])
        before = math.exp(usual + grown)
        found = math.exp(value + grown), before, before * math.expm1(more)
    elif check == RANGE:
        low = column - frame.checks.index(RANGE) < basis.subjects
        most, known = (row.least, basis.least) if low else (row.most, basis.most)
        found = float(most[place]), float(known[place]), least * float(basis.most[place] - basis.least[place])
    else:
        now, before = math.tanh(value), math.tanh(usual)
        found = now, before, max(least, math.tanh(abs(usual) + allowed) - abs(before))
    return found
