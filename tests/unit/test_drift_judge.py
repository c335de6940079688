"""Judging of windows: what is found, since when, and what is not drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from river.drift import ADWIN

from consumers.monitor.drift.findings import Finding, Judgement
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import Between, DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles
from schemas.profiles import DAY_MS, HOUR_MS, Window

START = 20_000 * DAY_MS
RULES = DriftRules(HOUR_MS, 1 / (30 * DAY_MS), Trailing(7 * DAY_MS))
Rows = Sequence[dict[str, Any]]


def window(number: int, rows: Rows, *, span: int = HOUR_MS, partition: int = 0, errors: int = 0) -> Window:
    """Return the window of some events, `number` windows after the beginning."""
    profiles = WindowProfiles(500, None)
    profiles.add_features(rows)
    found, pairs, left_out = profiles.finish(len(rows))
    start = START + number * span
    return Window(
        kind="predictions",
        topic="s.predictions",
        partition=partition,
        first_offset=number * 1000,
        next_offset=number * 1000 + len(rows),
        start=start,
        span=span,
        first_time=start,
        last_time=start + span - 1,
        events=len(rows),
        errors={"MODEL": errors} if errors else {},
        profiles=found,
        left_out=left_out,
        pairs=pairs,
        served=[],
    )


def usual(random: np.random.Generator, count: int = 100) -> list[dict[str, Any]]:
    """Return events without drift."""
    numbers = random.normal(10, 2, (count, 2))
    colours = random.choice(["red", "blue", "green"], count, p=[0.5, 0.3, 0.2])
    return [
        {"amount": float(a), "age": float(b), "colour": str(c)} for a, b, c in zip(*numbers.T, colours, strict=True)
    ]


def judged(
    change: Callable[[list[dict[str, Any]]], Rows], *, before: int = 8 * 24, after: int = 6, rules: DriftRules = RULES
) -> tuple[Judge, list[Judgement]]:
    """Return the judge, and its judgements of the windows after `change` began."""
    random, judge, found = np.random.default_rng(7), Judge(rules), []
    for number in range(before + after):
        rows = usual(random)
        judgement = judge.take(window(number, rows if number < before else change(rows)))
        if judgement is not None and number >= before + 2:
            found.append(judgement)
    return judge, found


def named(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(each.check, each.subject) for each in findings}


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], Rows], tuple[str, str]]] = {
    "mean": (lambda rows: [{**row, "amount": row["amount"] + 3} for row in rows], ("mean", "feature:amount")),
    "spread": (
        lambda rows: [{**row, "amount": 10 + (row["amount"] - 10) * 3} for row in rows],
        ("spread", "feature:amount"),
    ),
    "missing": (
        lambda rows: [{**row, "amount": None} if n % 3 == 0 else row for n, row in enumerate(rows)],
        ("missing", "feature:amount"),
    ),
    "gone": (
        lambda rows: [{"age": row["age"], "colour": row["colour"]} for row in rows],
        ("missing", "feature:amount"),
    ),
    "type": (
        lambda rows: [{**row, "amount": str(row["amount"])} if n % 3 == 0 else row for n, row in enumerate(rows)],
        ("types", "feature:amount"),
    ),
    "constant": (lambda rows: [{**row, "amount": 10.0} for row in rows], ("constant", "feature:amount")),
    "new category": (
        lambda rows: [{**row, "colour": "pink"} if n % 5 == 0 else row for n, row in enumerate(rows)],
        ("new categories", "feature:colour"),
    ),
    "categories": (
        lambda rows: [{**row, "colour": {"red": "green", "green": "red"}.get(row["colour"], "blue")} for row in rows],
        ("categories", "feature:colour"),
    ),
    "correlation": (lambda rows: [{**row, "age": row["amount"]} for row in rows], ("correlation", "age ~ amount")),
    "range": (lambda rows: [*rows[1:], {**rows[0], "amount": 1e6}], ("range", "feature:amount")),
    "two halves": (
        lambda rows: [{**row, "amount": 10 + (2 if n % 2 else -2)} for n, row in enumerate(rows)],
        ("quantiles", "feature:amount"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_change_is_named_with_its_beginning(change: str) -> None:
    changed, expected = CHANGES[change]
    judge, _ = judged(changed)
    assert expected in named(judge.findings)
    found = next(each for each in judge.findings if (each.check, each.subject) == expected)
    assert found.since_ms == START + 8 * DAY_MS
    assert expected[1] in found.text


def test_the_same_stream_without_a_change_has_no_finding() -> None:
    judge, judgements = judged(lambda rows: rows, after=60)
    assert judge.findings == []
    assert len(judgements) > 50
    assert all(not each.findings for each in judgements)
    assert judge.note == ""


SECONDS = DriftRules(5_000, 1 / (30 * DAY_MS), Trailing(60_000))
"""Twelve windows in the reference: too few for thresholds."""


def shifted(by: float, rules: DriftRules, *, seed: int = 7, until: int = 30) -> tuple[Judge, set[tuple[str, str]]]:
    """Return the judge of a stream whose mean moves by so many standard deviations, and all that it has found."""
    random, judge, found = np.random.default_rng(seed), Judge(rules), set[tuple[str, str]]()
    for number in range(until):
        rows = usual(random)
        if number >= 20:
            rows = [{**row, "amount": row["amount"] + 2 * by} for row in rows]
        judgement = judge.take(window(number, rows, span=rules.window_ms))
        found |= named(judgement.findings) if judgement is not None else set()
    return judge, found


def test_a_large_shift_is_found_though_it_enters_the_short_reference() -> None:
    judge, found = shifted(4, SECONDS, until=24)
    assert ("mean", "feature:amount") in found
    [finding] = [each for each in judge.findings if each.check == "mean"]
    assert (finding.by_size, finding.since_ms) == (True, START + 20 * 5_000)
    assert finding.usual == pytest.approx(10, abs=0.5), "what it is compared with has nothing of the shift"
    assert judge.note == ("the reference is short (12 windows; 20 are needed): only large effects are found")


def test_what_takes_two_windows_is_found_though_the_first_is_in_the_reference_of_the_second() -> None:
    """A window in which a shape has changed is an outlier of 24, and widens the thresholds for the next one."""
    random, judge = np.random.default_rng(7), Judge(replace(RULES, reference=Trailing(DAY_MS)))
    found = set[tuple[str, str]]()
    for number in range(56):
        rows = usual(random)
        judgement = judge.take(window(number, CHANGES["two halves"][0](rows) if number >= 50 else rows))
        found |= named(judgement.findings) if judgement is not None else set()
    assert ("quantiles", "feature:amount") in found


def test_one_window_alone_is_no_finding_where_the_reference_is_short() -> None:
    random, judge = np.random.default_rng(7), Judge(SECONDS)
    for number in range(40):
        rows = usual(random)
        if number == 20:
            rows = [{**row, "amount": row["amount"] + 8} for row in rows]
        judgement = judge.take(window(number, rows, span=5_000))
        assert judgement is None or named(judgement.findings) <= {("new categories", "feature:colour")}


def test_a_short_reference_finds_nothing_where_there_is_nothing() -> None:
    assert [shifted(0, SECONDS, seed=seed, until=60)[1] for seed in range(10)] == [set()] * 10


def test_a_finding_names_value_usual_and_threshold_and_ends_when_the_value_is_back() -> None:
    random, judge, ended = np.random.default_rng(7), Judge(RULES), []
    for number in range(8 * 24 + 20):
        rows = usual(random)
        if 8 * 24 <= number < 8 * 24 + 5:
            rows = CHANGES["mean"][0](rows)  # type: ignore[assignment]
        judgement = judge.take(window(number, rows))
        ended += judgement.ended if judgement is not None else []
    found = next(each for each in ended if (each.check, each.subject) == ("mean", "feature:amount"))
    assert found.value == pytest.approx(13, abs=0.6)
    assert found.usual == pytest.approx(10, abs=0.5)
    assert 0.2 < found.threshold < 2
    assert found.since_ms == START + 8 * DAY_MS
    assert found.until_ms == START + 8 * DAY_MS + 5 * HOUR_MS
    assert ("mean", "feature:amount") not in named(judge.findings)


def test_a_large_sample_alone_never_alarms() -> None:
    def slightly(rows: list[dict[str, Any]]) -> Rows:
        return [{**row, "amount": row["amount"] + 0.08 * 2} for row in rows]

    random, judge = np.random.default_rng(3), Judge(RULES)
    for number in range(4 * 24 + 4):
        rows = usual(random, 5_000 if number >= 4 * 24 else 200)
        judge.take(window(number, slightly(rows) if number >= 4 * 24 else rows))
    assert judge.findings == []


def test_a_daily_cycle_is_no_drift_and_what_leaves_it_is() -> None:
    random, judge = np.random.default_rng(5), Judge(RULES)
    for number in range(9 * 24 + 12):
        phase = np.sin(2 * np.pi * (number % 24) / 24)
        if number == 9 * 24:
            assert judge.findings == []
        rows = [{"amount": float(v)} for v in random.normal(5 * phase if number < 9 * 24 else 5, 1, 60)]
        judge.take(window(number, rows))
    assert ("mean", "feature:amount") in named(judge.findings)


def test_a_short_reference_says_so_and_finds_only_large_effects() -> None:
    small, _ = judged(CHANGES["mean"][0], before=24)
    assert small.findings == []
    assert "short" in small.note
    large, _ = judged(lambda rows: [{**row, "amount": row["amount"] + 30} for row in rows], before=24)
    found = next(each for each in large.findings if each.check == "mean")
    assert found.by_size
    assert "size alone" in found.text


def test_a_restart_that_reads_the_topic_again_finds_the_same() -> None:
    random, judge, topic = np.random.default_rng(7), Judge(RULES), []
    for number in range(9 * 24):
        rows = usual(random)
        record = window(number, CHANGES["mean"][0](rows) if number >= 9 * 24 - 6 else rows)
        topic.append(record)
        judgement = judge.take(record)
        topic += judgement.merged if judgement is not None else []
    again = Judge(RULES)
    for record in topic:
        again.take(record)
    assert again.findings == judge.findings
    assert judge.findings
    assert again.windows(0, START + 99 * DAY_MS) == judge.windows(0, START + 99 * DAY_MS)


def test_a_restart_after_compaction_has_the_same_windows_and_findings() -> None:
    rules = replace(RULES, reference=Trailing(3 * DAY_MS))
    random, judge, topic = np.random.default_rng(7), Judge(rules), dict[bytes, Window]()
    for number in range(8 * 24 + 6):
        rows = usual(random, 60)
        record = window(number, CHANGES["mean"][0](rows) if number >= 8 * 24 else rows)
        topic[record.key] = record
        judgement = judge.take(record)
        for each in judgement.merged if judgement is not None else []:
            # As in a compacted topic, the newest record of a key comes at its own place.
            topic.pop(each.key, None)
            topic[each.key] = each
        for key in judgement.tombstones if judgement is not None else []:
            del topic[key]
    assert len(topic) < 8 * 24 * 2
    again = Judge(rules)
    for record in topic.values():
        again.take(record)
    assert again.windows(0, START + 99 * DAY_MS) == judge.windows(0, START + 99 * DAY_MS)
    assert again.findings == judge.findings
    assert ("mean", "feature:amount") in named(again.findings)


def test_windows_of_several_partitions_are_one_bucket_and_late_ones_count_in_the_hour() -> None:
    rules = replace(RULES, window_ms=HOUR_MS // 12)
    judge, random, merged = Judge(rules), np.random.default_rng(1), []
    for number in range(30):
        for partition in (0, 1):
            judgement = judge.take(window(number, usual(random, 40), span=HOUR_MS // 12, partition=partition))
            merged += judgement.merged if judgement is not None else []
    assert [each.events for each in merged] == [960, 960]
    assert {each.partition for each in merged} == {-1}
    late = judge.take(window(3, usual(random, 40), span=HOUR_MS // 12, partition=2))
    assert late is not None
    assert [each.events for each in late.merged] == [1000]
    assert late.at_ms == START + 29 * HOUR_MS // 12 - HOUR_MS // 12
    assert sum(each.events for each in judge.windows(START, START + HOUR_MS)) == 1000


def test_old_windows_get_tombstones_and_days_stay() -> None:
    rules = replace(RULES, reference=Trailing(3 * DAY_MS))
    judge, random, tombstones, days = Judge(rules), np.random.default_rng(1), [], 0
    for number in range(8 * 24):
        judgement = judge.take(window(number, usual(random, 5)))
        tombstones += judgement.tombstones if judgement is not None else []
        days += sum(each.span == DAY_MS for each in judgement.merged) if judgement is not None else 0
    assert days == 7
    assert tombstones == [window(number, usual(random, 5)).key for number in range(3 * 24)]
    assert [each.span for each in judge.windows(START, START + 3 * DAY_MS)] == [DAY_MS] * 3


def test_a_fixed_reference_is_what_later_windows_are_compared_with() -> None:
    rules = replace(RULES, reference=Between(START, START + 4 * DAY_MS))
    judge, _ = judged(CHANGES["mean"][0], before=4 * 24 + 24, after=30, rules=rules)
    found = next(each for each in judge.findings if each.check == "mean")
    assert found.since_ms == START + 5 * DAY_MS
    assert judge.references()[0].until_ms == START + 4 * DAY_MS


def test_a_detector_of_river_reports_what_it_detects() -> None:
    rules = replace(RULES, detectors={"feature:age": lambda: ADWIN(clock=1)})
    judge, _ = judged(lambda rows: [{**row, "age": row["age"] + 8} for row in rows], after=30, rules=rules)
    found = next(each for each in judge.findings if each.check == "detector")
    assert (found.subject, found.until_ms) == ("feature:age", None)
    assert "ADWIN" in found.text


def test_events_without_an_answer_are_found() -> None:
    random, judge = np.random.default_rng(7), Judge(RULES)
    for number in range(4 * 24 + 4):
        judge.take(window(number, usual(random), errors=30 if number >= 4 * 24 else 0))
    assert named(judge.findings) == {("errors", "errors")}
