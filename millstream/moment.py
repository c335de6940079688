"""Points in time as people write them: ``2026-05-01T12:00``, ``6h`` ago, or ms since 1970."""

from __future__ import annotations

import time
from datetime import datetime

from millstream.duration import InvalidDuration, milliseconds


class InvalidMoment(ValueError):  # noqa: N818
    """Not a point in time; the message shows the forms."""


def moment(text: str, now_ms: int | None = None) -> int:
    """Return ms since 1970 for a date and time (this machine's zone where it names none), a span ago, or ms.

    >>> moment("1970-01-01T00:00:01Z"), moment("2s", now_ms=5_000), moment("1746093600000")
    (1000, 3000, 1746093600000)

    Raises
    ------
    InvalidMoment
        Where it is none of these.
    """
    text = text.strip()
    try:
        if text.isascii() and text.isdigit() and len(text) > len("YYYYMMDD"):
            return int(text)
        if text[:4].isdigit() and not text.isdigit() and "-" in text:
            return round(datetime.fromisoformat(text).timestamp() * 1000)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return now_ms - milliseconds(text)
    except (InvalidDuration, ValueError, OverflowError) as error:
        raise InvalidMoment(
            f"{text[:100]!r} is no point in time: write 2026-05-01T12:00, a span ago such as 6h, or ms since 1970"
        ) from error
