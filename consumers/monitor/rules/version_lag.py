"""Predictors that stand on one version while others answer with others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from consumers.monitor.answered_versions import Answered, read_answered
from consumers.monitor.rules.values import Measured
from consumers.monitor.windows import PREDICTIONS
from schemas.duration_text import spoken
from schemas.model_names import version_text
from schemas.profiles import Window

_MOST_BUCKETS: Final = 288  # a day of windows of five minutes
_IN_TEXT: Final = 3
_Source: TypeAlias = tuple[str, int]


class _Lag(NamedTuple):
    """A partition's events are answered by `stands`, for at least `ms` after those of another got only `others`."""

    ms: int
    stands: Answered
    others: Answered


class VersionLag:
    """Since when the predictor of some partition stands on a version while another answers with others.

    Both must have answered in the newest judged bucket, so a partition without events is not compared. What counts is
    the time in which one version alone answered here, and never there: a version that was taken within a bucket is no
    lag, neither after a rollback nor with versions that come once an hour.
    """

    def __init__(self) -> None:
        self._buckets: dict[_Source, dict[int, Answered]] = {}

    def take(self, window: Window) -> None:
        """Take a window as it is on the profiles topic; one that is merged, or not of predictions, is passed over."""
        if window.kind != PREDICTIONS or window.partition < 0:
            return
        for each in read_answered(window.state):
            buckets = self._buckets.setdefault((each.topic, each.partition), {})
            if window.start in buckets:
                buckets[window.start].join(each)
            else:
                buckets[window.start] = each
                if len(buckets) > _MOST_BUCKETS:
                    del buckets[min(buckets)]

    def measure(self, until_ms: int) -> Measured | None:
        """Return the longest lag (s) in the newest bucket before a time; `None` if no version answered in it."""
        begins = [start for buckets in self._buckets.values() for start in buckets if start < until_ms]
        if not begins:
            return None
        last = max(begins)
        runs = {source: _back(buckets, last) for source, buckets in self._buckets.items() if last in buckets}
        lags = sorted(self._lags(runs), key=lambda each: (-each.ms, each.stands.topic, each.stands.partition))
        longest = lags[0].ms if lags else 0
        return Measured(longest / 1000, len(runs), _told(lags))

    def _lags(self, runs: dict[_Source, list[Answered]]) -> Iterator[_Lag]:
        """Yield the longest lag of each partition that lags, against any other; `runs` are buckets, newest first."""
        for source, mine in runs.items():
            now = mine[0]
            if not now.is_one:
                continue
            since = now.first
            for each in mine:
                if not (each.is_one and _has(each, now)):
                    break
                since = each.first
            found = [lag for other, theirs in runs.items() if other != source and (lag := _behind(now, since, theirs))]
            if found:
                yield max(found, key=lambda lag: lag.ms)


def _behind(now: Answered, since: int, theirs: list[Answered]) -> _Lag | None:
    """Return how long other events got other versions, while those of `now` got one since `since`."""
    apart: Answered | None = None
    for each in theirs:
        if each.epoch < 0 or _has(each, now):
            break
        apart = each
    if apart is None:
        return None
    lag = min(now.last, theirs[0].last) - max(since, apart.first)
    return _Lag(lag, now, theirs[0]) if lag > 0 and not _is_newer(now, theirs[0]) else None


def _is_newer(one: Answered, other: Answered) -> bool:
    """Return whether both stand, and `other` on an older version of the epoch: then only that one is named."""
    same = (one.model, one.epoch) == (other.model, other.epoch)
    return same and other.is_one and one.least > other.least


def _has(answers: Answered, one: Answered) -> bool:
    """Return whether the version of `one` is, or may be, among the versions of `answers`."""
    same = (answers.model, answers.epoch) == (one.model, one.epoch)
    return same and answers.least <= one.least <= answers.most


def _back(buckets: dict[int, Answered], last: int) -> list[Answered]:
    return [buckets[start] for start in sorted(buckets, reverse=True) if start <= last]


def _told(lags: list[_Lag]) -> str:
    """Return one line that names the partitions and the versions, empty if there are none."""
    if not lags:
        return ""
    stands = [f"{_version(each.stands)} {_place(each.stands)} for {spoken(each.ms)}" for each in lags[:_IN_TEXT]]
    stands[0] = stands[0].replace(" ", " alone answered ", 1)
    more = f" and {len(lags) - _IN_TEXT} more" if len(lags) > _IN_TEXT else ""
    others = lags[0].others
    if any((each.stands.topic, each.stands.partition) == (others.topic, others.partition) for each in lags[:_IN_TEXT]):
        return f"{', '.join(stands)}{more}"
    newest = "" if others.is_one else f" to {version_text(others.model, others.epoch, others.most)}"
    return f"{', '.join(stands)}{more}, while {_version(others)}{newest} answered {_place(others)}"


def _place(each: Answered) -> str:
    return f"{each.topic}[{each.partition}]"


def _version(each: Answered) -> str:
    return version_text(each.model, each.epoch, each.least)
