"""Findings of one kind and topic over time: when they begin, and when they end.

A finding begins with the first bucket beyond its threshold, or with the second in a row where the reference has
outliers or is too short. It ends after some buckets in a row that are back within it. All the while it is compared with
the reference that it began with: otherwise what has drifted would soon be its own reference. The second bucket is
compared with the reference of the first: of a short one of its own the first would be a large part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from consumers.monitor.drift.describing import describe, subject_of
from consumers.monitor.drift.findings import Finding
from consumers.monitor.drift.frame import Frame, Scored, score
from consumers.monitor.drift.novelties import novelties
from consumers.monitor.drift.rows import Names, Row
from schemas.profiles import DAY_MS

Key: TypeAlias = tuple[str, int]
"""Check and place of the subject."""

_BUCKETS_UNTIL_OVER: Final = 3
_NOVELTY_MS: Final = DAY_MS


@dataclass
class _Open:
    finding: Finding
    frame: Frame
    column: int
    last_end: int
    within: int = 0


class _Waiting(NamedTuple):
    """First bucket of what is a finding with the second: its start, and what it was compared with."""

    since: int
    frame: Frame
    column: int


class Tracking:
    """Findings of the buckets of one length.

    Parameters
    ----------
    place
        Number of the scale.
    absorb_ms
        After so long a finding ends, because what it found is the usual by now; `None` if the reference stays.
    """

    def __init__(self, place: int, span: int, names: Names, absorb_ms: int | None) -> None:
        self._place, self._span, self._names, self._absorb_ms = place, span, names, absorb_ms
        self._open: dict[Key, _Open] = {}
        self._waiting: dict[Key, _Waiting] = {}

    @property
    def findings(self) -> list[Finding]:
        """Open findings."""
        return [each.finding for each in self._open.values()]

    def judge(self, row: Row, frame: Frame, level: float) -> list[Finding]:
        """Judge a bucket, which is later than those before; return the findings that it ends."""
        scored = score(frame, self._place, row, level)
        columns = {} if scored is None else _strongest(frame, scored)
        heavy = frame.usual[self._place]
        waiting: dict[Key, _Waiting] = {}
        confirmed = self._confirmed(row, {id(frame): scored}, level)
        for key, (first, again) in confirmed.items():
            self._note(key, first.since, first.frame, first.column, again, row)
        for key, column in columns.items():
            if key in self._open or scored is None or heavy is None:
                continue
            if (heavy.heavy[column] or frame.by_size) and key not in self._waiting:
                waiting[key] = _Waiting(row.start, frame, column)
                continue
            since = self._waiting[key].since if key in self._waiting else row.start
            self._note(key, since, frame, column, scored, row)
        self._waiting = waiting
        found = self._novelties(row, frame)
        return list(self._ended(row, columns, found, level))

    def _confirmed(
        self, row: Row, scores: dict[int, Scored | None], level: float
    ) -> dict[Key, tuple[_Waiting, Scored]]:
        """Return what is beyond its threshold again, by the reference of the bucket before."""
        found: dict[Key, tuple[_Waiting, Scored]] = {}
        for key, first in self._waiting.items():
            if key in self._open:
                continue
            if id(first.frame) not in scores:
                scores[id(first.frame)] = score(first.frame, self._place, row, level)
            again = scores[id(first.frame)]
            if again is not None and again.beyond[first.column]:
                found[key] = first, again
        return found

    def _note(self, key: Key, since: int, frame: Frame, column: int, scored: Scored, row: Row) -> None:
        said = describe(frame, scored, column, row, self._names)
        finding = Finding(key[0], self._subject(key), said.value, said.usual, said.threshold, since, said.text)
        self._begin(key, finding, frame, column, row)

    def _begin(self, key: Key, finding: Finding, frame: Frame, column: int, row: Row) -> None:
        finding = replace(finding, span=self._span, by_size=frame.by_size)
        self._open[key] = _Open(finding, frame, column, row.start + row.span)

    def _novelties(self, row: Row, frame: Frame) -> set[Key]:
        found: set[Key] = set()
        for each in novelties(row, frame.basis):
            key = (f"{each.check}+", each.place)
            found.add(key)
            subject = subject_of(self._names, "", each.place)
            if key not in self._open:
                finding = Finding(each.check, subject, each.share, 0.0, 0.01, row.start, f"{subject}: {each.text}")
                self._begin(key, finding, frame, -1, row)
        return found

    def _ended(self, row: Row, columns: Mapping[Key, int], found: set[Key], level: float) -> Iterable[Finding]:
        frozen: dict[int, Scored | None] = {}
        for key, each in list(self._open.items()):
            frame = each.frame
            if each.column >= 0:
                if id(frame) not in frozen:
                    frozen[id(frame)] = score(frame, self._place, row, level)
                scored = frozen[id(frame)]
                beyond = scored is not None and bool(scored.beyond[each.column])
                if beyond and scored is not None:
                    said = describe(frame, scored, each.column, row, self._names)
                    each.finding = replace(
                        each.finding, value=said.value, usual=said.usual, threshold=said.threshold, text=said.text
                    )
            else:
                scored = None
                beyond = key in found or any(
                    (f"{again.check}+", again.place) == key for again in novelties(row, frame.basis)
                )
            if beyond or key in columns:
                each.within, each.last_end = 0, row.start + row.span
            else:
                each.within += 1
            most = 1 if self._span >= DAY_MS else _BUCKETS_UNTIL_OVER
            old = self._absorb_ms is not None and row.start - each.finding.since_ms >= self._absorb_ms
            if each.within >= most or old:
                del self._open[key]
                yield replace(each.finding, until_ms=each.last_end)

    def _subject(self, key: Key) -> str:
        return subject_of(self._names, *key)


def _strongest(frame: Frame, scored: Scored) -> dict[Key, int]:
    """Return the column that is furthest beyond its threshold, by check and subject."""
    found: dict[Key, int] = {}
    for column in scored.beyond.nonzero()[0].tolist():
        key = frame.basis.tests[column]
        if key not in found or scored.ratios[column] > scored.ratios[found[key]]:
            found[key] = column
    return found
