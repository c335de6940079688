"""Durations in text form: ``"30m"``, ``"1.5h"``, ``"7d"``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


class InvalidDuration(ValueError):  # noqa: N818
    """Invalid duration; the message shows the valid form."""


def milliseconds(span: str | float | timedelta) -> int:
    """Return a duration in whole milliseconds; a plain number is in seconds.

    >>> milliseconds("1.5h"), milliseconds(2), milliseconds(timedelta(days=1))
    (5400000, 2000, 86400000)

    Raises
    ------
    InvalidDuration
        If it is not a duration, is negative, or is beyond all numbers.
    """
    if isinstance(span, timedelta):
        value = span.total_seconds() * 1000
    elif isinstance(span, str):
        match = _SPAN.fullmatch(span.strip())
        if match is None:
            raise InvalidDuration(f"{span!r} is not a duration; write a number and ms, s, m, h or d, such as 30m")
        value = float(match[1]) * _UNIT_MS[match[2]]
        if math.isinf(value):
            raise InvalidDuration(f"{span[:20]}… is too long")
    else:
        value = float(span) * 1000
    if value < 0:
        raise InvalidDuration(f"{span!r} is negative")
    return round(value)


def written(span_ms: int) -> str:
    """Return a duration of whole milliseconds as `milliseconds` reads it, exactly.

    >>> written(100_000), written(7_200_000), written(0)
    ('100s', '2h', '0d')
    """
    unit = next(each for each in reversed(_UNIT_MS) if span_ms % _UNIT_MS[each] == 0)
    return f"{span_ms // _UNIT_MS[unit]}{unit}"
