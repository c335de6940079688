"""Values of the metrics of alert rules, from windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumers.monitor.profiles import merged_numbers, quantiles
from consumers.monitor.rules.condition import (
    ERRORS,
    EVENTS_PER_SECOND,
    LATENCY,
    METRIC,
    MISSING,
    SERVED,
    Condition,
)
from consumers.monitor.windows import PREDICTIONS
from schemas import profiles
from schemas.profiles import Numbers, Profile, Window


class ServedValue(Protocol):
    """A metric of served answers, and the number of labels that it comes from."""

    @property
    def value(self) -> float: ...
    @property
    def count(self) -> int: ...


class ServedValues(Protocol):
    """Returns the metrics of the served answers of windows, by name; a metric that is undefined is left out."""

    def __call__(self, windows: Sequence[Window], /) -> Mapping[str, ServedValue]: ...


@dataclass(frozen=True)
class Measured:
    """A metric's value, and the number of events, labels or external values that it comes from.

    Attributes
    ----------
    text
        What the value is of, for people; empty if the metric's name says it.
    """

    value: float
    count: int
    text: str = ""


def measure(condition: Condition, windows: Sequence[Window], over_ms: int, served: ServedValues) -> Measured | None:
    """Return the value of a condition's metric over windows; `None` if they do not have it."""
    metric = condition.metric
    if metric in SERVED:
        found = served(windows).get(metric)
        return None if found is None else Measured(found.value, found.count)
    if metric == METRIC:
        return _mean(_numbers(windows, f"{profiles.METRIC}:{condition.of}"))
    if metric == MISSING:
        return _missing(windows, condition.of)
    if metric == ERRORS:
        return _errors(windows)
    if metric == EVENTS_PER_SECOND:
        count = sum(each.events for each in windows if each.kind == PREDICTIONS)
        return Measured(1000 * count / over_ms, count)
    name, _, quantile = metric.rpartition("_p")
    unit = 1.0 if name == LATENCY else 1000.0
    return _quantile(_numbers(windows, f"{profiles.LOOP}:{name}_ms"), int(quantile) / 100, unit)


def _profiles(windows: Iterable[Window], key: str) -> Iterator[tuple[Window, Profile]]:
    for window in windows:
        profile = window.profiles.get(key)
        if profile is not None:
            yield window, profile


def _numbers(windows: Iterable[Window], key: str) -> list[Numbers]:
    return [profile.numbers for _, profile in _profiles(windows, key) if profile.numbers is not None]


def _mean(numbers: Sequence[Numbers]) -> Measured | None:
    count = sum(each.count for each in numbers)
    return Measured(sum(each.mean * each.count for each in numbers) / count, count) if count else None


def _missing(windows: Sequence[Window], feature: str) -> Measured | None:
    """Return the share of events without a value; in a window that does not know the feature, all have none."""
    of = [each for each in windows if each.kind == PREDICTIONS]
    events = sum(each.events for each in of)
    known = {id(window): profile for window, profile in _profiles(of, f"{profiles.FEATURE}:{feature}")}
    if not events:
        return None
    missing = sum(known[id(each)].missing if id(each) in known else each.events for each in of)
    return Measured(missing / events, events)


def _errors(windows: Sequence[Window]) -> Measured | None:
    """Return the share of events that got no answer."""
    of = [each for each in windows if each.kind == PREDICTIONS]
    events = sum(each.events for each in of)
    return Measured(sum(sum(each.errors.values()) for each in of) / events, events) if events else None


def _quantile(numbers: Sequence[Numbers], share: float, unit: float) -> Measured | None:
    """Return a quantile of the numbers of several windows, in `unit`."""
    together = merged_numbers(numbers, profiles.DAY_MS)
    return None if together is None else Measured(float(quantiles(together, [share])[0]) / unit, together.count)
