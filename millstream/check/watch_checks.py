"""Checks of what the monitor compares with, as `millstream check` reports them."""

from __future__ import annotations

from collections.abc import Iterator

from consumers.monitor.drift.rules import LEAST_BUCKETS, too_short
from millstream.check.findings import Finding
from millstream.stream.duration import InvalidDuration, milliseconds, written
from millstream.stream.stream import Stream


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
            f"moved by 3 standard deviations; make it {written(LEAST_BUCKETS * watch.window_ms)!r} or longer, or "
            "window= shorter"
        )
        yield Finding("warning", "watch", text)
