"""`Calendar`: features from the event's time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from millstream.stream.errors import InvalidStream
from schemas.calendar import PARTS, CalendarFeatures


@dataclass(frozen=True, init=False)
class Calendar:
    """Features from the event's time, which the predictor computes and writes into the event as used.

    Parameters
    ----------
    parts
        Unnamed: `minute`, `hour`, `minute_of_day`, `weekday` (Monday is 0), `weekend`, `day`, `day_of_year`, `week`
        (ISO 8601), `month`, `quarter`, `year`. With `_sin` and `_cos`, `hour`, `minute_of_day`, `weekday`,
        `day_of_year` and `month` are points on a circle: 23 h is near 0 h.
    tz
        The time zone of these features, by its IANA name.
    prefix
        Text before each part's name in the name of its feature.

    Examples
    --------
    >>> Calendar("hour", "weekday", tz="Europe/Berlin")
    Calendar('hour', 'weekday', tz='Europe/Berlin')
    """

    parts: tuple[str, ...]
    tz: str
    prefix: str = ""

    def __init__(self, *parts: str, tz: str | None = None, prefix: str = "", **unknown: Any) -> None:
        for name in unknown:
            raise InvalidStream(f"Calendar: there is no {name}=; there are tz=, prefix=")
        object.__setattr__(self, "parts", _checked(parts))
        object.__setattr__(self, "tz", _zone(tz))
        if not isinstance(prefix, str):
            raise InvalidStream(f"Calendar: prefix={prefix!r:.60} must be a text, such as 'event_'")
        object.__setattr__(self, "prefix", prefix)

    def __repr__(self) -> str:
        named = [f"tz={self.tz!r}"] + ([f"prefix={self.prefix!r}"] if self.prefix else [])
        return f"Calendar({', '.join([*map(repr, self.parts), *named])})"

    @property
    def features(self) -> CalendarFeatures:
        """The same, as the contract has it."""
        return CalendarFeatures(parts=self.parts, tz=self.tz, prefix=self.prefix)


def _checked(parts: tuple[str, ...]) -> tuple[str, ...]:
    if not parts:
        raise InvalidStream('Calendar: name at least one part, such as Calendar("hour", "weekday", tz="Europe/Berlin")')
    for part in parts:
        if not isinstance(part, str):
            raise InvalidStream(f'Calendar: {part!r:.60} must be a name: Calendar("hour", "weekday", tz=...)')
        if part not in PARTS:
            raise InvalidStream(f"Calendar: there is no part {part!r}; {_nearest(part, PARTS)}")
    twice = [part for part in dict.fromkeys(parts) if parts.count(part) > 1]
    if twice:
        raise InvalidStream(f"Calendar: {twice[0]!r} is named twice")
    return parts


def _zone(tz: object) -> str:
    if tz is None:
        raise InvalidStream('Calendar: name the time zone: tz="Europe/Berlin", or tz="UTC"')
    if not isinstance(tz, str):
        raise InvalidStream(f"Calendar: tz={tz!r:.60} must be the name of a time zone, such as 'Europe/Berlin'")
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = available_timezones()
        if not known:
            raise InvalidStream(
                "Calendar: this machine has no time zone data: install its package tzdata, or `pip install tzdata`"
            ) from error
        raise InvalidStream(
            f"Calendar: there is no time zone {tz!r}; {_nearest(tz, known, 'it is a name such as Europe/Berlin')}"
        ) from error
    return tz


def _nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    every = sorted(known)
    lowered = {each.lower(): each for each in every}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    if not near:
        # A city without its continent.
        near = [each for each in lowered if each.endswith(f"/{name.lower()}")][:1]
    return f"did you mean {lowered[near[0]]!r}?" if near else otherwise or f"there are {', '.join(every)}"
