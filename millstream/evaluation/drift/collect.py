"""Reading of a stream's windows, and judging them as the monitor does."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from consumers.monitor.drift.findings import Finding
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules, Merging
from millstream.reading.timestamps import utc
from millstream.reading.topic_readers import each_record
from runtime.kafka_client.cluster import Cluster, MissingTopic
from schemas.codec import CodecError
from schemas.profiles import LOOP, Profile, Window, place_of, read_window
from schemas.topics import PROFILES, Names


class NoWindows(Exception):  # noqa: N818
    """There is nothing to compare; the message says what to do."""


@dataclass(frozen=True)
class Collected:
    """Windows of a stream and what judging them found.

    Attributes
    ----------
    reference, now
        Profiles by kind and name, each of all windows of its stretch of time.
    reference_from_ms, reference_to_ms, now_from_ms, now_to_ms
        The two stretches (the broker's time); the reference's are 0 if there is none yet.
    findings
        Those that are open, and those that ended after `now_from_ms`.
    windows
        All windows that are kept, in order; the longer ones where short ones are not kept.
    """

    reference: dict[str, Profile]
    now: dict[str, Profile]
    reference_from_ms: int
    reference_to_ms: int
    now_from_ms: int
    now_to_ms: int
    findings: list[Finding]
    note: str
    windows: list[Window]


def stored_windows(
    cluster: Cluster, names: Names, stream: str, wanted: Callable[[str, int], bool] = lambda topic, start: True
) -> Iterator[Window]:
    """Yield the windows of the profiles topic in its order.

    Parameters
    ----------
    wanted
        Returns whether to decode a window, given its topic and start (ms): that is most of the work.

    Raises
    ------
    NoWindows
        If there is no such topic.
    """
    try:
        for record in each_record(cluster, names, PROFILES):
            place = place_of(record.key or b"")
            if record.value is not None and (place is None or wanted(*place)):
                try:
                    yield read_window(record.value)
                except CodecError:
                    continue
    except MissingTopic as error:
        raise NoWindows(
            f"there is no topic {names.topic(PROFILES)}: create it with `millstream topics create {stream}`, and start "
            f"`millstream monitor {stream}`"
        ) from error


def collect(
    windows: Iterable[Window],
    rules: DriftRules,
    stream: str,
    since_ms: int | None = None,
    reference: Iterable[Sequence[Window]] = (),
    told: Sequence[str] = (),
) -> Collected:
    """Judge the windows, and compare those from `since_ms` on (by default the newest) with the reference.

    Parameters
    ----------
    reference
        Windows that belong to a fixed reference, and are not judged themselves.
    told
        Why the reference is not whole, once it was read.

    Raises
    ------
    NoWindows
        If there are none, or none so late, or nothing of the reference.
    """
    judge = Judge(rules)
    ended, newest = _fed(judge, windows, reference)
    if newest < 0:
        raise NoWindows(f"{stream} has no windows yet: the monitor writes the first after {_minutes(rules)} of events")
    kept = judge.windows(0, newest + 1)
    if not kept:
        raise NoWindows(f"{stream} has no whole window yet: the first is judged two windows after it began")
    begin = kept[-1].start if since_ms is None else since_ms
    now = [each for each in kept if each.start >= begin]
    if not now:
        raise NoWindows(f"{stream} has no window since then: the newest begins at {utc(kept[-1].start)} UTC")
    used = judge.references()
    if told and not used:
        raise NoWindows("; ".join(told))
    since = min((each.since_ms for each in used), default=0)
    until = max((each.until_ms for each in used), default=0)
    # The first windows of the reference may be kept as an hour or a day that begins before them.
    before = [each for each in kept if since < each.start + each.span and each.start < min(until, begin)]
    recent = [each for each in ended if (each.until_ms or 0) >= begin]
    return Collected(
        profiles_of(before, rules.merging),
        profiles_of(now, rules.merging),
        since,
        until,
        begin,
        max(each.start + each.span for each in now),
        [*judge.findings, *recent],
        "; ".join([*filter(None, [judge.note]), *told]),
        kept,
    )


def _fed(judge: Judge, windows: Iterable[Window], reference: Iterable[Sequence[Window]]) -> tuple[list[Finding], int]:
    """Judge the windows; return the findings that have ended, and when the newest window ends, -1 without any."""
    ended: list[Finding] = []
    newest = -1
    for part in reference:
        judge.learn(part)
        newest = max([newest, *(window.start + window.span for window in part)])
    for window in windows:
        judgement = judge.take(window)
        newest = max(newest, window.start + window.span)
        if judgement is not None:
            ended += judgement.ended
    return ended, newest


def profiles_of(windows: Sequence[Window], merging: Merging) -> dict[str, Profile]:
    """Return the profiles of all windows together, by kind and name; those of the loop are left out."""
    found: dict[str, Profile] = {}
    for topic in sorted({(each.kind, each.topic) for each in windows}):
        parts = [each for each in windows if (each.kind, each.topic) == topic]
        found |= merging(parts, parts[0].span).profiles
    return {name: each for name, each in found.items() if not name.startswith(f"{LOOP}:")}


def subject_named(given: str, known: Iterable[str]) -> str:
    """Return the profile that a feature's name, or a kind and name, means. Raises NoWindows if there is none."""
    names = sorted(known)
    for name in (given, f"feature:{given}"):
        if name in names:
            return name
    plain = [name.partition(":")[2] if name.startswith("feature:") else name for name in names]
    near = difflib.get_close_matches(given, plain, n=1)
    hint = (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(plain[:10])}{', …' if len(plain) > 10 else ''}"
    )
    raise NoWindows(f"no window has a feature {given[:60]!r}: {hint}")


def _minutes(rules: DriftRules) -> str:
    from schemas.duration_text import spoken

    return spoken(rules.window_ms)
