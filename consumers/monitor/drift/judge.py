"""Judge of a stream's windows: keeps their history and tells which values have drifted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from consumers.monitor.drift.detecting import Detecting, opened
from consumers.monitor.drift.findings import Finding, Judgement
from consumers.monitor.drift.frame import Frame, frame_of
from consumers.monitor.drift.history import Closed, History
from consumers.monitor.drift.rows import Row
from consumers.monitor.drift.rules import Between, DriftRules, Trailing
from consumers.monitor.drift.tracking import Tracking
from schemas.profiles import DAY_MS, HOUR_MS, Window

_LONG_MS: Final = 3 * DAY_MS
"""A trailing reference from this length on consists of whole days before the day that is judged."""

_QUIET_MS: Final = 6 * HOUR_MS
"""Time without events that may lie at the beginning of the least reference."""

_FRAMES: Final = 3
"""References in memory: those of the last hour, of the last day and of the newest window."""

_KEPT_MS: Final = 7 * DAY_MS
"""Windows are kept for this long if the reference is a fixed range."""


class Compared(NamedTuple):
    """Range of time (ms) that the newest buckets of one kind and topic were compared with."""

    since_ms: int
    until_ms: int


class Judge:
    """Judge of the windows of a profiles topic, which must come in the order of the topic.

    Every record of the topic goes through `take`, live and after a restart: what it returns depends on the records
    alone. After a restart the caller drops what was returned for records before its committed offset.
    """

    def __init__(self, rules: DriftRules) -> None:
        self.rules = rules
        self._at: dict[str, int] = {}
        self._topics: dict[tuple[str, str], Watched] = {}
        self._detecting = Detecting(rules.detectors, rules.error_of)

    @property
    def findings(self) -> list[Finding]:
        """Open findings, the oldest first; of one check and subject only the one of the shortest buckets."""
        found: dict[tuple[str, str], Finding] = {}
        for watched in self._topics.values():
            for each in watched.findings:
                found.setdefault((each.check, each.subject), each)
        kept = [*found.values(), *opened(self._detecting.findings)]
        return sorted(kept, key=lambda each: (each.since_ms, each.subject, each.check))

    @property
    def note(self) -> str:
        """Why findings are less sharp than they will be; otherwise empty."""
        notes = {watched.note: None for watched in self._topics.values() if watched.note}
        return "; ".join(notes)

    def take(self, window: Window) -> Judgement | None:
        """Take the next window; return a judgement if it closed a bucket, otherwise `None`."""
        watched = self._watched(window)
        done = watched.history.take(window)
        if not done.buckets and not done.merged:
            return None
        ended: list[Finding] = []
        for place, row, merged in done.buckets:
            ended += watched.judge(place, row, self._tests())
            if place == 0 and row.start > watched.detected:  # detectors take the buckets in their order
                watched.detected = row.start
                ended += self._detecting.take(merged, row)
        return self._judgement(window.kind, done, ended)

    def references(self) -> list[Compared]:
        """Return what the newest buckets were compared with."""
        return [
            Compared(watched.frame.since_ms, watched.frame.until_ms)
            for watched in self._topics.values()
            if watched.frame is not None
        ]

    def learn(self, windows: Iterable[Window]) -> None:
        """Take windows of the reference that are not on the profiles topic; nothing is judged."""
        for window in windows:
            self._watched(window).history.take(window)

    def knows(self, at_ms: int) -> bool:
        """Return whether a window is kept that starts at a time (ms) or before."""
        return any(watched.history.knows(at_ms) for watched in self._topics.values())

    def windows(self, since_ms: int, until_ms: int) -> list[Window]:
        """Return merged windows that start in a range, in order, none overlapping: short ones where they are kept."""
        found = [window for watched in self._topics.values() for window in watched.history.windows(since_ms, until_ms)]
        return sorted(found, key=lambda each: each.start)

    def _watched(self, window: Window) -> Watched:
        key = window.kind, window.topic
        if key not in self._topics:
            self._topics[key] = Watched(self.rules)
        return self._topics[key]

    def _tests(self) -> int:
        return sum(watched.tests for watched in self._topics.values())

    def _judgement(self, kind: str, done: Closed, ended: list[Finding]) -> Judgement:
        # A late window changes hours and days that were judged before.
        at = max([self._at.get(kind, 0), *(row.start + row.span for _, row, _ in done.buckets)])
        self._at[kind] = at
        return Judgement(at, self.findings, done.merged, done.tombstones, ended, self.note)


class Watched:
    """Windows of one kind and topic with their reference and findings."""

    def __init__(self, rules: DriftRules) -> None:
        self._rules = rules
        reference = rules.reference
        trailing = isinstance(reference, Trailing)
        kept = None if isinstance(reference, Trailing) else (reference.since_ms, reference.until_ms)
        length = reference.span_ms if isinstance(reference, Trailing) else _KEPT_MS
        self.history = History(rules.window_ms, length + DAY_MS, kept, rules.merging)
        self._spans = [scale.span for scale in self.history.scales]
        self._tracking = [
            Tracking(place, span, self.history.names, length if trailing else None)
            for place, span in enumerate(self._spans)
        ]
        self.detected = -1  # start of the newest bucket that detectors were fed with: they take the buckets in order
        self._frame: Frame | None = None
        self._covered = -1
        self._frames: dict[tuple[int, ...], Frame | None] = {}

    @property
    def findings(self) -> list[Finding]:
        """Open findings, those of the shortest buckets first."""
        return [finding for tracking in self._tracking for finding in tracking.findings]

    @property
    def frame(self) -> Frame | None:
        """Reference that the newest bucket was compared with; `None` before there is one."""
        return self._frame

    @property
    def tests(self) -> int:
        """Number of tests of a bucket; before there is a reference, of what was seen so far."""
        return 0 if self._frame is None else self._frame.tests

    @property
    def note(self) -> str:
        """Why this is judged less sharply than it will be."""
        if self._frame is None:
            return "there is no reference yet"
        if not self._frame.by_size:
            return ""
        lasting = self._rules.short_reference
        return f"the reference is short{lasting and f' ({lasting})'}: only large effects are found"

    def judge(self, place: int, row: Row, tests: int) -> list[Finding]:
        """Judge a closed bucket; return the findings that it ends."""
        frame = self._reference(row)
        if frame is None:
            return []
        span = self._spans[place]
        level = self._rules.alarms_per_ms * span / (len(self._spans) * max(tests, frame.tests))
        return self._tracking[place].judge(row, frame, min(level, 0.01))

    def _reference(self, row: Row) -> Frame | None:
        """Return the reference of a bucket; `None` if there is none, or the bucket is part of it."""
        reference = self._rules.reference
        if isinstance(reference, Between):
            if row.start < reference.until_ms or not self._begun(reference):
                return None
            since, until, short = reference.since_ms, reference.until_ms, False
        else:
            since, until, short = self._trailing(row, reference.span_ms)
        names = self.history.names
        made_for = (since, until, short, len(names.subjects), len(names.pairs), self.history.needed)
        if made_for not in self._frames:
            rows = [self.history.rows(place, since, until) for place in range(len(self._spans))]
            made = frame_of(rows, self._spans, self.history.names, short=short)
            if made is None and not short:
                made = frame_of(rows, self._spans, self.history.names, short=True)
            self._frames[made_for] = made
            if len(self._frames) > _FRAMES:
                del self._frames[next(iter(self._frames))]
        self._frame = self._frames[made_for]
        return self._frame

    def _begun(self, reference: Between) -> bool:
        """Return whether there are windows from the reference's beginning on: a part of it has no daily cycle."""
        first, window = self.history.first_time, self._rules.window_ms
        return first is not None and first // window <= reference.since_ms // window

    def _trailing(self, row: Row, span: int) -> tuple[int, int, bool]:
        """Return begin and end (ms) of the reference of a bucket, and whether it is shorter than meant."""
        if span >= _LONG_MS:
            until = row.start // DAY_MS * DAY_MS
            if until != self._covered and self.history.has_rows(until - span, until - _LONG_MS + _QUIET_MS):
                self._covered = until
            if until == self._covered:
                return until - span, until, False
            step = max(HOUR_MS, row.span)
            until = row.start // step * step
            return until - span, until, True
        step = HOUR_MS if span >= 8 * HOUR_MS else max(span // 8 // self._spans[0], 1) * self._spans[0]
        until = row.start // max(step, row.span) * max(step, row.span)
        return until - span, until, not self.history.has_rows(until - span, until - span // 2)
