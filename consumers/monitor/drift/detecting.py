"""Detectors of River, fed with the means of windows.

A detector has its own level (ADWIN's `delta`), which is no part of the budget of false alarms. What it finds is
reported for a day as a finding of check ``detector``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from consumers.monitor.drift.describing import period
from consumers.monitor.drift.findings import Finding
from consumers.monitor.drift.rows import Row
from consumers.monitor.drift.rules import ERROR, Detector
from consumers.monitor.served import values
from schemas.profiles import DAY_MS, Profile, Window
from schemas.target import Task

DETECTOR: Final = "detector"


@dataclass
class _Fed:
    """A detector, the mean of what it was fed with since its last drift, and the category whose share that is."""

    detector: Detector
    category: str | None = None
    count: int = 0
    mean: float = 0.0


class Detecting:
    """Detectors by subject, and the findings of those that have detected a drift."""

    def __init__(
        self, makers: Mapping[str, Callable[[], Detector]], error_of: Callable[[Window], float | None] | None
    ) -> None:
        self._makers, self._error_of = makers, error_of
        self._fed: dict[str, _Fed] = {}
        self._open: dict[str, Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """Open findings."""
        return list(self._open.values())

    def take(self, window: Window, row: Row) -> list[Finding]:
        """Take a merged window of the shortest length; return the findings that it ends."""
        for subject, fed, value in self._values(window):
            fed.detector.update(value)
            if fed.detector.drift_detected:
                text = f"{subject}: {type(fed.detector).__name__} detected a drift, in the {period(row)}"
                since = self._open[subject].since_ms if subject in self._open else row.start
                self._open[subject] = Finding(
                    DETECTOR, subject, value, fed.mean, 0.0, since, text, until_ms=row.start + row.span, span=row.span
                )
                fed.count = 0
            fed.count += 1
            fed.mean += (value - fed.mean) / fed.count
        over = [subject for subject, each in self._open.items() if row.start >= (each.until_ms or 0) + DAY_MS]
        return [self._open.pop(subject) for subject in over]

    def _values(self, window: Window) -> Iterable[tuple[str, _Fed, float]]:
        for subject, make in self._makers.items():
            fed = self._fed.get(subject)
            if fed is None:
                fed = self._fed[subject] = _Fed(make())
            value = None
            if subject == ERROR:
                value = None if self._error_of is None or window.kind != "examples" else self._error_of(window)
            elif subject in window.profiles:
                value = _mean(window.profiles[subject], fed)
            if value is not None and math.isfinite(value):
                yield subject, fed, value


def _mean(profile: Profile, fed: _Fed) -> float | None:
    """Return the mean of the numbers, else the share of one category; `None` without either.

    The category is the first by name in the first window that has some. In windows without it its share is 0.
    """
    if profile.numbers is not None and profile.numbers.count:
        return profile.numbers.mean
    if not profile.categories:
        return None
    if fed.category is None:
        fed.category = min(profile.categories)
    return profile.categories.get(fed.category, 0) / sum(profile.types.values())


def served_error(task: Task) -> Callable[[Window], float | None]:
    """Return a function that returns the error of the served answers of a window of examples.

    It is the share of wrong answers, or for a regression the mean absolute error; `None` for other tasks.
    """

    def error(window: Window) -> float | None:
        found = values([window], task)
        if "accuracy" in found:
            return 1 - found["accuracy"].value
        return found["mae"].value if "mae" in found else None

    return error


def opened(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as those that are still open."""
    return [replace(each, until_ms=None) for each in findings]
