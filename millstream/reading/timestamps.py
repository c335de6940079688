"""Points in time as text: ``2026-05-01T12:00``, ``06:00`` (today), ``6h`` (ago), or ms since 1970."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from datetime import time as clock
from typing import Final

from millstream.stream.duration import InvalidDuration, milliseconds

_DATE: Final = re.compile(r"\d{4}-\d")
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


class InvalidMoment(ValueError):  # noqa: N818
    """The text is not a point in time; the message shows the valid forms."""


def moment(text: str, now_ms: int | None = None) -> int:
    """Return ms since 1970 for a date and time, a time of today, a duration ago, or ms; by default in local time.

    >>> moment("1970-01-01T00:00:01Z"), moment("2s", now_ms=5_000), moment("1746093600000")
    (1000, 3000, 1746093600000)

    Raises
    ------
    InvalidMoment
        If the text has none of these forms.
    """
    text = text.strip()
    try:
        if text.isascii() and text.isdigit() and len(text) > len("YYYYMMDD"):
            return int(text)
        if _DATE.match(text):
            return round(datetime.fromisoformat(text).timestamp() * 1000)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if _CLOCK.fullmatch(text):
            today = datetime.fromtimestamp(now_ms / 1000).date()
            return round(datetime.combine(today, clock.fromisoformat(text.zfill(5))).timestamp() * 1000)
        return now_ms - milliseconds(text)
    except (InvalidDuration, ValueError, OverflowError) as error:
        raise InvalidMoment(
            f"{text[:100]!r} is no point in time: write 2026-05-01T12:00, 06:00 (today), 6h (ago), or ms since 1970"
        ) from error


def utc(milliseconds: int) -> str:
    """Return a time (ms) for reading, in UTC, with seconds if it has any.

    >>> utc(1_767_225_600_000), utc(1_767_225_605_000)
    ('2026-01-01 00:00', '2026-01-01 00:00:05')
    """
    time_ = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return time_.strftime("%Y-%m-%d %H:%M:%S" if time_.second else "%Y-%m-%d %H:%M")
