"""History of the windows of one topic: buckets of a window, an hour and a day.

Each is merged from the shorter ones.

Memory is bounded: rows (arrays) of the reference and a day more; whole windows for the last hours, hours and days in
their encoded form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from consumers.monitor.drift.rows import Names, Row, row_of
from consumers.monitor.drift.rules import Merging
from consumers.monitor.profiles import merge
from schemas.profiles import DAY_MS, HOUR_MS, Window

HOURS_KEPT_MS: Final = 90 * DAY_MS
_WRITTEN: Final = (HOUR_MS, DAY_MS)
"""Lengths of the merged windows that are written to the profiles topic."""

_WHOLE_MS: Final = 3 * HOUR_MS
_DECODER: Final = msgspec.msgpack.Decoder(Window)


@dataclass
class Bucket:
    """Closed bucket: its row, the number of its events, and its merged window, whole or encoded, while it is kept."""

    row: Row | None
    events: int
    window: Window | None
    encoded: bytes | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the merged window is kept."""
        return self.window is not None or self.encoded is not None

    def whole(self) -> Window | None:
        """Return the merged window; `None` if it is not kept."""
        if self.window is not None:
            return self.window
        return None if self.encoded is None else _DECODER.decode(self.encoded)


@dataclass
class Scale:
    """Buckets of one length by start: closed ones, the parts of those that are open, and which have whole windows."""

    span: int
    closed: dict[int, Bucket] = field(default_factory=dict)
    open: dict[int, list[Window]] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)


@dataclass
class Closed:
    """Result of taking windows: the buckets that closed, in order, and what the profiles topic gains and loses.

    A bucket is the number of its scale, its row and its merged window.
    """

    buckets: list[tuple[int, Row, Window]] = field(default_factory=list)
    merged: list[Window] = field(default_factory=list)
    tombstones: list[bytes] = field(default_factory=list)


class History:
    """Windows of one kind and topic.

    Parameters
    ----------
    window_ms
        Length of the shortest buckets.
    keep_ms
        Length of the reference and a day more: windows before it are not needed.
    kept
        Range of time (ms) whose windows are needed whatever their age.
    merging
        Returns one window of a length (ms) for several.

    Attributes
    ----------
    first_time
        The earliest of the broker's times (ms) in any window, `None` before the first.
    needed
        Number of changes of the buckets in the range `kept`.
    """

    def __init__(
        self, window_ms: int, keep_ms: int, kept: tuple[int, int] | None = None, merging: Merging = merge
    ) -> None:
        self.names = Names()
        self.window_ms = window_ms
        self.scales = [Scale(span) for span in (window_ms, HOUR_MS, DAY_MS) if span >= window_ms]
        if len(self.scales) > 1 and self.scales[0].span == self.scales[1].span:
            del self.scales[0]
        self._keep_ms, self._kept = keep_ms, kept
        self._merging = merging
        self.first_time: int | None = None
        self.needed = 0
        self._clock = -1
        self._keys: dict[int, dict[bytes, None]] = {}

    def take(self, window: Window) -> Closed:
        """Take a window, or a merged one that was written before; one that was taken before changes nothing."""
        done = Closed()
        self.first_time = window.first_time if self.first_time is None else min(self.first_time, window.first_time)
        if window.partition < 0:
            self._replace(window)
        else:
            keys = self._keys.setdefault(window.start // DAY_MS * DAY_MS, {})
            if window.key in keys:
                return done
            keys[window.key] = None
            if window.start < self._clock and self._is_kept(window.start):
                # The windows of a pass over the log come bucket by bucket: the ones before are whole.
                self._close(done, window.start)
            self._add(0, window, done)
        if window.start > self._clock:
            self._clock = window.start
            self._close(done)
        return done

    def _add(self, place: int, window: Window, done: Closed) -> None:
        """Add a part to its bucket at a scale, and to longer ones if it comes late."""
        if place == len(self.scales):
            return
        scale = self.scales[place]
        start = window.start // scale.span * scale.span
        bucket = scale.closed.get(start)
        if bucket is None:
            scale.open.setdefault(start, []).append(window)
            return
        before = bucket.whole()
        if before is not None:
            self._store(scale, self._merging([before, window], scale.span))
            if scale.span in _WRITTEN:
                done.merged.append(self._last)
        self._add(place + 1, window, done)

    def _replace(self, window: Window) -> None:
        """Take a merged window: after a restart the windows it was made of may be gone."""
        place = next((number for number, each in enumerate(self.scales) if each.span == window.span), None)
        if place is None:
            return
        scale = self.scales[place]
        known = scale.closed.get(window.start)
        inside = scale.open.get(window.start, ())
        if (known.events if known is not None else sum(each.events for each in inside)) >= window.events:
            return
        scale.open.pop(window.start, None)
        self._store(scale, window)
        if known is None and place + 1 < len(self.scales):
            upper = self.scales[place + 1]
            start = window.start // upper.span * upper.span
            if start not in upper.closed:
                upper.open.setdefault(start, []).append(window)

    def _close(self, done: Closed, filling: int | None = None) -> None:
        """Close the buckets that ended at least one window ago, but not those that hold the time `filling` (ms)."""
        for place, scale in enumerate(self.scales):
            ended = sorted(start for start in scale.open if start + scale.span + self.window_ms <= self._clock)
            for start in ended:
                if filling is not None and start <= filling < start + scale.span:
                    continue
                parts = scale.open.pop(start)
                row = self._store(scale, self._merged(parts, scale.span, start))
                done.buckets.append((place, row, self._last))
                if scale.span in _WRITTEN:
                    done.merged.append(self._last)
                self._add(place + 1, self._last, done)
                if place == len(self.scales) - 1:
                    self._forget(start, done)
        self._shrink()

    def _store(self, scale: Scale, window: Window) -> Row:
        self._last, row = window, row_of(window, self.names)
        scale.closed[window.start] = Bucket(row, window.events, window)
        scale.whole.add(window.start)
        self.needed += self._is_kept(window.start)
        return row

    def _shrink(self) -> None:
        """Keep old windows in their encoded form, and those of the shortest buckets only for the last hours."""
        for scale in self.scales:
            for start in [each for each in scale.whole if each + scale.span <= self._clock - _WHOLE_MS]:
                scale.whole.remove(start)
                bucket = scale.closed.get(start)
                if bucket is None:
                    continue
                if scale.span >= HOUR_MS and bucket.window is not None:
                    bucket.encoded = msgspec.msgpack.encode(bucket.window)
                bucket.window = None

    def _forget(self, day: int, done: Closed) -> None:
        """Drop what the reference no longer needs, at the end of a day."""
        oldest = day + DAY_MS - self._keep_ms
        for start in [each for each in self._keys if each + DAY_MS <= oldest and not self._is_kept(each)]:
            done.tombstones += self._keys.pop(start)
        for scale in self.scales:
            for start in [each for each in scale.closed if each + scale.span <= oldest and not self._is_kept(each)]:
                bucket = scale.closed[start]
                if scale.span not in _WRITTEN:
                    del scale.closed[start]
                elif scale.span == HOUR_MS:
                    if start <= day - HOURS_KEPT_MS:
                        done.tombstones.append(self._key(scale.span, start))
                        del scale.closed[start]
                    else:
                        bucket.row = bucket.encoded = bucket.window = None
                else:
                    bucket.row = None

    def _key(self, span: int, start: int) -> bytes:
        return msgspec.structs.replace(self._last, span=span, start=start).key

    def _is_kept(self, start: int) -> bool:
        return self._kept is not None and self._kept[0] - DAY_MS < start < self._kept[1]

    def _merged(self, parts: Sequence[Window], span: int, start: int) -> Window:
        """Return the merged window of a bucket's parts."""
        if len(parts) > 1:
            return self._merging(parts, span)
        return msgspec.structs.replace(
            parts[0], partition=-1, first_offset=-1, next_offset=-1, start=start, span=span, state=b""
        )

    def rows(self, place: int, since_ms: int, until_ms: int) -> list[Row]:
        """Return the rows of a scale that lie in a range of time, in order."""
        scale = self.scales[place]
        found = (each.row for start, each in scale.closed.items() if since_ms <= start <= until_ms - scale.span)
        return sorted((row for row in found if row is not None), key=lambda row: row.start)

    def has_rows(self, since_ms: int, until_ms: int) -> bool:
        """Return whether a shortest bucket, or an hour, starts in a range of time."""
        scales = self.scales[:2]
        return any(since_ms <= start < until_ms for scale in scales for start, each in scale.closed.items() if each.row)

    def knows(self, at_ms: int) -> bool:
        """Return whether a window is kept that starts at a time (ms) or before."""
        kept = (start for scale in self.scales for start, each in scale.closed.items() if each.is_kept)
        return any(start <= at_ms for start in kept)

    def windows(self, since_ms: int, until_ms: int) -> list[Window]:
        """Return merged windows that start in a range, in order, none overlapping: the shortest that are kept."""
        found: list[Window] = []
        until = until_ms
        for scale, longer in zip(self.scales, [*self.scales[1:], None], strict=True):
            kept = [start for start, each in scale.closed.items() if each.is_kept]
            if not kept:
                continue
            first = min(kept)
            if since_ms < first and longer is not None and first // longer.span * longer.span in longer.closed:
                first = -(-first // longer.span) * longer.span
            whole = (scale.closed[start].whole() for start in kept if max(first, since_ms) <= start < until)
            found += [each for each in whole if each is not None]
            until = min(until, first)
            if until <= since_ms:
                break
        return sorted(found, key=lambda each: each.start)
