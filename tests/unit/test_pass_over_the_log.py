"""The pass over the log for a reference's windows: what is missing, in which order it is made, and what is said."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from unit.log_consumer import LogConsumer

from consumers.monitor.columns import MetricReader
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import Between, DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles
from consumers.monitor.windows import METRICS, PartitionWindows, WindowRules
from millstream.evaluation.drift.collect import NoWindows, collect
from millstream.monitoring.reference_pass import Missing, ReferencePass, shown_pass, told_pass
from runtime.kafka_client.records import Partition, PlainRecord
from schemas.profiles import DAY_MS, HOUR_MS, Window

START = 20_000 * DAY_MS
MINUTE = 60_000
SPAN = 5 * MINUTE
TOPIC = "orders"
RULES = WindowRules(SPAN, 30, lambda: WindowProfiles(500, None), lambda state: pytest.fail("no examples here"))
REFERENCE = Between(START, START + 6 * HOUR_MS)
READER = MetricReader(lambda record: {"price": float(record.value or b"")})
JUDGED = DriftRules(SPAN, 1 / (30 * DAY_MS), REFERENCE)


def log(hours: float = 12, partitions: int = 2, every_ms: int = 10_000, begin: int = START) -> list[PlainRecord]:
    """Return records of some hours, in the order of time."""
    random = np.random.default_rng(1)
    found = []
    for number in range(int(hours * HOUR_MS) // every_ms):
        place, offset = number % partitions, number // partitions
        price = random.normal(10, 2)
        found.append(PlainRecord(TOPIC, place, offset, begin + number * every_ms, None, str(price).encode()))
    return found


def made_of(
    records: list[PlainRecord], reference: Between = REFERENCE, **more: Any
) -> tuple[ReferencePass, LogConsumer]:
    consumer = LogConsumer(records, [Partition(TOPIC, 0)])
    made = ReferencePass(lambda: consumer, {TOPIC: (METRICS, READER)}, RULES, reference, "a range", **more)  # type: ignore[arg-type,return-value]
    return made, consumer


def live(records: list[PlainRecord]) -> list[Window]:
    """Return the windows of a monitor that has read these records, in the order of time."""
    found = []
    for place in sorted({record.partition for record in records}):
        windows = PartitionWindows(METRICS, RULES, READER)
        found += windows.take([each for each in records if each.partition == place])
    return sorted(found, key=lambda each: (each.start, each.partition, each.first_offset))


def windows_of(made: ReferencePass, parts: list[Missing]) -> list[Window]:
    return [window for step in made.steps(parts) for window in step.windows]


def test_its_windows_are_those_of_the_monitor_hour_by_hour_backwards_and_a_mark() -> None:
    records = log()
    made, _ = made_of(records)
    [part] = parts = made.missing({TOPIC: START + 8 * HOUR_MS})
    assert (part.since, part.until, part.told) == (START, START + 6 * HOUR_MS, "")
    *windows, mark = windows_of(made, parts)
    wanted = [each for each in live(records) if each.start < REFERENCE.until_ms]
    assert sorted(windows, key=lambda each: (each.start, each.partition, each.first_offset)) == wanted
    assert [each.start // HOUR_MS for each in windows] == sorted(
        (each.start // HOUR_MS for each in windows), reverse=True
    )
    assert (mark.events, mark.start, mark.partition, mark.first_time) == (0, START, -1, START)
    assert mark.key not in {each.key for each in [*wanted, replace_span(wanted[0])]}


def replace_span(window: Window) -> Window:
    from msgspec.structs import replace as changed

    return changed(window, partition=-1, first_offset=-1, span=HOUR_MS, start=START)


@pytest.mark.parametrize("cut", range(0, 6, 2))
def test_interrupted_after_any_part_it_goes_on_before_the_earliest_window(cut: int) -> None:
    records = log(partitions=3)
    made, _ = made_of(records)
    steps = made.steps(made.missing({TOPIC: START + 8 * HOUR_MS}))
    held = [window for _ in range(cut) for window in next(steps).windows]
    steps.close()
    first = min((each.first_time for each in held), default=START + 8 * HOUR_MS)
    rest = windows_of(made, made.missing({TOPIC: first}))
    found = [each for each in [*held, *rest] if each.partition >= 0]
    assert len(found) == len({each.key for each in found})
    assert {each.key for each in found} == {each.key for each in live(records) if each.start < REFERENCE.until_ms}
    assert made.missing({TOPIC: rest[-1].first_time}) == [], "the mark says that all is there"


def test_windows_that_begin_inside_the_reference_are_kept_and_only_what_is_before_is_read() -> None:
    records = log()
    made, consumer = made_of(records)
    first = START + 5 * HOUR_MS + 7 * MINUTE
    [part] = made.missing({TOPIC: first})
    assert (part.since, part.until) == (START, first)
    *windows, _ = windows_of(made, [part])
    assert sum(each.events for each in windows) == sum(each.timestamp < first for each in records)
    assert made.missing({TOPIC: START + MINUTE}) == [], "windows from the first stretch on are whole"
    assert consumer.polled < 2.2 * len(records)


def test_a_heavy_hour_is_read_in_smaller_parts_and_memory_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.monitoring.reference_pass._MOST_RECORDS", 100)
    records = log(hours=6)
    made, _ = made_of(records)
    steps = [step.windows for step in made.steps(made.missing({TOPIC: START + 8 * HOUR_MS}))]
    assert max(map(len, steps)) <= 12
    assert len(steps) > 20
    found = [each for windows in steps for each in windows if each.partition >= 0]
    assert {each.key for each in found} == {
        each.key for each in live([*records, *log(1, begin=START + 6 * HOUR_MS)])
    } - {each.key for each in live([*records, *log(1, begin=START + 6 * HOUR_MS)]) if each.start >= REFERENCE.until_ms}


def test_a_long_part_is_read_in_steps_of_half_a_second() -> None:
    ticks = count()
    made, _ = made_of(log(hours=6, every_ms=1000), clock=lambda: float(next(ticks)))
    steps = [*made.steps(made.missing({TOPIC: START + 8 * HOUR_MS}))]
    assert sum(not step.windows for step in steps) > 12
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == 6 * 3600


def test_what_the_log_no_longer_has_is_named_with_its_beginning_and_the_way_out() -> None:
    kept = [each for each in log() if each.timestamp >= START + 8 * HOUR_MS]
    for first in ({}, {TOPIC: START + 8 * HOUR_MS}):
        made, _ = made_of(kept)
        [part] = made.missing(first)
        assert part.lost
        assert part.told == (
            "Watch: reference='a range' (2024-10-04 00:00 to 2024-10-04 06:00 UTC): orders begins at 2024-10-04 08:00 "
            "UTC; name a later range, a version or an epoch that has learned since then, or a span such as '7d'"
        )
        assert windows_of(made, [part]) == [], "nor is there a mark"
    half, _ = made_of([each for each in log() if each.timestamp >= START + 2 * HOUR_MS])
    [part] = half.missing({TOPIC: START + 8 * HOUR_MS})
    assert (part.since, part.lost) == (START + 2 * HOUR_MS, False)
    assert part.told.endswith("orders begins at 2024-10-04 02:00 UTC; the reference is what is left of it")
    empty, _ = made_of([])
    assert "orders has no records; name a later range" in empty.missing({})[0].told


def test_a_stream_that_began_during_the_reference_has_a_whole_one() -> None:
    made, _ = made_of(log(begin=START + HOUR_MS))
    [part] = made.missing({TOPIC: START + 8 * HOUR_MS})
    assert (part.since, part.told) == (START + HOUR_MS, "")


def test_a_topic_that_a_new_monitor_reads_from_the_reference_on_gets_the_mark_alone() -> None:
    made, _ = made_of(log(begin=START + HOUR_MS))
    [part] = made.missing({}, begun={TOPIC})
    assert part.records == 0
    assert [each.events for each in windows_of(made, [part])] == [0]


def test_the_monitor_says_what_it_reads_and_the_command_shows_it() -> None:
    said: list[str] = []
    made, _ = made_of(log())
    windows = [each for part in told_pass(made, said.append)({TOPIC: START + 8 * HOUR_MS}, ()) for each in part]
    assert said == [
        "reading the reference 'a range' from the log: 2,160 records",
        f"the reference 'a range' is read: {len(windows) - 1} windows",
    ]
    shown: list[tuple[int, int]] = []
    parts = made.missing({TOPIC: START + 8 * HOUR_MS})
    assert [each for part in shown_pass(made, parts, lambda *now: shown.append(now)) for each in part] == windows
    assert shown[-1] == (2160, 2160)


def test_windows_are_judged_against_the_reference_of_the_log_as_against_that_of_windows() -> None:
    records = log(hours=10)
    records = [
        each
        if each.timestamp < START + 8 * HOUR_MS
        else each._replace(value=str(float(each.value or b"") + 9).encode())
        for each in records
    ]
    windows = live(records)
    straight = Judge(JUDGED)
    for window in windows:
        straight.take(window)
    later = [each for each in windows if each.start >= REFERENCE.until_ms]
    made, _ = made_of(records)
    past = [step.windows for step in made.steps(made.missing({TOPIC: later[0].first_time}))]
    first = Judge(JUDGED)
    for part in past:
        first.learn(part)
    for window in later:
        first.take(window)
    assert first.references() == straight.references()
    assert first.findings == straight.findings != []
    found = collect(later, JUDGED, "s", None, past)
    assert found.reference == collect(windows, JUDGED, "s").reference

    # As the monitor writes it: after windows that came live, and before others.
    live_before, live_after = later[: len(later) // 4], later[len(later) // 4 :]
    late = Judge(JUDGED)
    for window in live_before:
        late.take(window)
        assert late.references() == [], "a part of the reference is none"
    for part in past:
        for window in part:
            late.take(window)
            assert late.references() == []
    for window in live_after:
        late.take(window)
    assert late.references() == straight.references()
    assert [each.text for each in late.findings] == [each.text for each in straight.findings]
    assert late.windows(START, REFERENCE.until_ms) == straight.windows(START, REFERENCE.until_ms)


def test_old_hours_of_a_reference_that_comes_late_are_kept_encoded() -> None:
    made, _ = made_of(log())
    judge = Judge(JUDGED)
    for window in live(log(begin=START + 2 * DAY_MS)):
        judge.take(window)
    for window in windows_of(made, made.missing({TOPIC: START + 2 * DAY_MS})):
        judge.take(window)
    [watched] = judge._topics.values()
    assert sum(len(scale.whole) for scale in watched.history.scales) < 50
    assert sum(len(parts) for parts in watched.history.scales[0].open.values()) < 10


def test_without_anything_of_the_reference_the_command_says_why() -> None:
    with pytest.raises(NoWindows, match="orders begins at"):
        collect(live(log()), replace(JUDGED, reference=Between(0, DAY_MS)), "s", told=["orders begins at …"])
    found = collect(live(log()), replace(JUDGED, reference=Trailing(4 * HOUR_MS)), "s", told=["orders begins at …"])
    assert found.note.endswith("orders begins at …")
