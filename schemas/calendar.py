"""Calendar features: the hour, the weekday and the like of an event's time, in one time zone.

The predictor computes them and writes them into the answer, so the learner reads the same values from the log. They are
not computed again later, because another machine may have other time zone data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

_MINUTE_MS: Final = 60_000
_QUARTER_MS: Final = 15 * _MINUTE_MS
_MOST_CACHED: Final = 8192


class Part(NamedTuple):
    """One part of a date and time: its function, type and range, and the longest span (ms) in which it is constant."""

    of: Callable[[datetime], int | float | bool]
    type: Literal["integer", "number", "boolean"]
    minimum: float | None
    maximum: float | None
    constant_ms: int = _QUARTER_MS


def _minute_of_day(when: datetime) -> int:
    return 60 * when.hour + when.minute


def _day_of_year(when: datetime) -> int:
    return when.timetuple().tm_yday


def _wave(wave: Callable[[float], float], of: Callable[[datetime], float], period: int, when: datetime) -> float:
    # Rounded, because the last bit of a sine depends on the machine's mathematical library.
    return round(wave(2 * math.pi * of(when) / period), 12)


_WHOLE: Final[dict[str, Part]] = {
    "minute": Part(lambda when: when.minute, "integer", 0, 59, _MINUTE_MS),
    "hour": Part(lambda when: when.hour, "integer", 0, 23),
    "minute_of_day": Part(_minute_of_day, "integer", 0, 1439, _MINUTE_MS),
    "weekday": Part(datetime.weekday, "integer", 0, 6),
    "weekend": Part(lambda when: when.weekday() >= 5, "boolean", None, None),
    "day": Part(lambda when: when.day, "integer", 1, 31),
    "day_of_year": Part(_day_of_year, "integer", 1, 366),
    "week": Part(lambda when: when.isocalendar().week, "integer", 1, 53),
    "month": Part(lambda when: when.month, "integer", 1, 12),
    "quarter": Part(lambda when: (when.month + 2) // 3, "integer", 1, 4),
    "year": Part(lambda when: when.year, "integer", 1, 9999),
}
_PERIODS: Final = {"hour": 24, "minute_of_day": 1440, "weekday": 7, "day_of_year": 366, "month": 12}
PARTS: Final[dict[str, Part]] = _WHOLE | {
    f"{name}_{ending}": Part(partial(_wave, wave, _WHOLE[name].of, period), "number", -1, 1, _WHOLE[name].constant_ms)
    for name, period in _PERIODS.items()
    for ending, wave in (("sin", math.sin), ("cos", math.cos))
}
"""By name, all parts that there are; the ``_sin`` and ``_cos`` of a cyclic part are a point on a circle."""


class OutsideCalendar(ValueError):  # noqa: N818
    """A time before the year 1 or after the year 9999."""


class CalendarFeatures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The calendar features of a contract.

    Parameters
    ----------
    parts
        Names in `PARTS`.
    tz
        IANA name of the time zone.
    prefix
        Text before each part's name in the name of its feature.

    >>> CalendarFeatures(parts=("hour", "weekday"), tz="Europe/Berlin").at(0)
    {'hour': 1, 'weekday': 3}
    """

    parts: tuple[str, ...]
    tz: str
    prefix: str = ""

    @cached_property
    def names(self) -> dict[str, str]:
        """Return the names of the features, each with its part."""
        return {self.prefix + part: part for part in self.parts}

    @cached_property
    def at(self) -> Callable[[int], dict[str, int | float | bool]]:
        """Return the function that gives the features at a time in ms since 1970. Do not change its result.

        It raises OutsideCalendar.
        """
        return _Reader(self).at


class _Reader:
    """Computes features, and remembers them by spans of UTC time in which they are constant.

    A span of 15 minutes (of one, if a feature counts minutes) begins and ends with the local clock's, if the time zone
    is a multiple of it from UTC. Where it is not, or the clock is changed within the span, nothing is remembered.
    """

    def __init__(self, features: CalendarFeatures) -> None:
        self._zone = ZoneInfo(features.tz)
        self._parts = [(name, PARTS[part].of) for name, part in features.names.items()]
        self._span = min(PARTS[part].constant_ms for part in features.parts)
        self._known: dict[int, dict[str, int | float | bool]] = {}

    def at(self, time_ms: int) -> dict[str, int | float | bool]:
        span = time_ms // self._span
        found = self._known.get(span)
        if found is not None:
            return found
        when = self._local(time_ms)
        found = {name: of(when) for name, of in self._parts}
        if self._is_constant(span):
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            self._known[span] = found
        return found

    def _local(self, time_ms: int) -> datetime:
        try:
            # Floor division: the part of a second is not needed, and a float could round up into the next one.
            return datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(self._zone)
        except (ValueError, OverflowError, OSError) as error:
            raise OutsideCalendar(f"the event's time {time_ms} ms has no date between the years 1 and 9999") from error

    def _is_constant(self, span: int) -> bool:
        try:
            begin, last = self._local(span * self._span), self._local((span + 1) * self._span - 1)
        except OutsideCalendar:
            return False
        offset = begin.utcoffset()
        if offset is None or offset != last.utcoffset():
            return False
        return offset.total_seconds() * 1000 % self._span == 0
