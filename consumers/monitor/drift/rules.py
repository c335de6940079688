"""Rules of judging drift: the reference, the budget of false alarms, the detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from consumers.monitor.profiles import merge
from schemas.profiles import DAY_MS, Window

Merging: TypeAlias = Callable[[Sequence[Window], int], Window]
"""Returns one window of a length (ms) for several."""

ERROR: Final = "error"
"""Subject of a detector that is fed with the error of served answers."""


class Detector(Protocol):
    """Detector of River: takes one number at a time."""

    @property
    def drift_detected(self) -> bool:
        """Return whether the last number showed a drift."""
        ...

    def update(self, x: float) -> object:
        """Take the next number."""
        ...


@dataclass(frozen=True)
class Trailing:
    """Reference that is the time before what is judged."""

    span_ms: int = 7 * DAY_MS


@dataclass(frozen=True)
class Between:
    """Reference that is a fixed range of the broker's time (ms)."""

    since_ms: int
    until_ms: int


LEAST_BUCKETS: Final = 20
"""Buckets of a reference from which on its own variance gives thresholds; of days `LEAST_DAYS`."""
LEAST_DAYS: Final = 5
Reference: TypeAlias = Trailing | Between


@dataclass(frozen=True)
class DriftRules:
    """Rules by which windows are judged.

    Attributes
    ----------
    window_ms
        Length of the shortest buckets.
    alarms_per_ms
        Budget: number of false findings that the whole stream may have, per millisecond.
    reference
        What counts as usual.
    detectors
        Makers of River's detectors by subject: ``error``, or a profile such as ``feature:amount``.
    error_of
        Returns the error of the served answers of a window of examples; `None` if it has none.
    merging
        Makes hours, days, and windows of several partitions; with the features that single windows have.
    """

    window_ms: int
    alarms_per_ms: float
    reference: Reference = field(default_factory=Trailing)
    detectors: Mapping[str, Callable[[], Detector]] = field(default_factory=dict)
    error_of: Callable[[Window], float | None] | None = None
    merging: Merging = merge

    @property
    def short_reference(self) -> str:
        """Why the reference will always be too short for thresholds; empty if it will not."""
        reference = self.reference
        span = reference.span_ms if isinstance(reference, Trailing) else reference.until_ms - reference.since_ms
        return too_short(span, self.window_ms)


def too_short(span_ms: int, window_ms: int) -> str:
    """Return how many windows a reference lacks for thresholds of its own; empty if it has enough, or enough days.

    >>> too_short(60_000, 5_000), too_short(100_000, 5_000)
    ('12 windows; 20 are needed', '')
    """
    count = span_ms // window_ms
    return (
        ""
        if count >= LEAST_BUCKETS or span_ms >= LEAST_DAYS * DAY_MS
        else f"{count} windows; {LEAST_BUCKETS} are needed"
    )
