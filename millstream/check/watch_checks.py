"""Checks of what the monitor compares with, as `millstream check` reports them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.monitor.drift.rules import LEAST_BUCKETS, too_short
from millstream.check.findings import Finding
from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.stream import Stream

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def look_at_watch(stream: Stream) -> Iterator[Finding]:
    """Yield a warning if the reference has too few windows for thresholds; of a version nobody knows its length."""
    watch = stream.watch
    try:
        span = watch.times[1] - watch.times[0] if watch.times is not None else milliseconds(watch.reference)
    except InvalidDuration:
        return
    short = too_short(span, watch.window_ms)
    if short:
        text = (
            f"reference={watch.reference!r} has {short}: so only large effects are found, such as a mean that has "
            f"moved by 3 standard deviations; make it {_written(LEAST_BUCKETS * watch.window_ms)!r} or longer, or "
            "window= shorter"
        )
        yield Finding("warning", "watch", text)


def _written(span_ms: int) -> str:
    """Return a span as a stream file has it, exactly.

    >>> _written(100_000), _written(7_200_000)
    ('100s', '2h')
    """
    unit = next(each for each, size in _UNITS.items() if span_ms % size == 0)
    return f"{span_ms // _UNITS[unit]}{unit}"
