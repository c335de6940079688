"""Labelled events count when they have settled, in the order of their predictions, whatever order labels come in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.referee.settling import Begun, Labelled, Period, Settling

SETTLE, WAIT = 1_000, 2_000


def event(
    at: int, time: int, label_time: int, *, partition: int = 0, value: float = 0.0, correction: bool = False
) -> Labelled:
    return Labelled(at, partition, time, time, label_time, correction, (value,))


def counted(settling: Settling, *events: Labelled) -> list[int]:
    return [time for each in events for time, _ in settling.add(each)]


def test_an_event_counts_when_the_clock_of_its_partition_has_passed_it_by_settle() -> None:
    settling = Settling(SETTLE, WAIT, 1)
    assert counted(settling, event(0, 100, 150), event(1, 90, 1_099)) == []
    assert counted(settling, event(2, 500, 1_110)) == [90, 100]
    assert settling.waiting == 1


def test_quick_labels_wait_for_slow_ones_of_the_same_time() -> None:
    settling = Settling(SETTLE, WAIT, 1)
    quick = [event(at, 10 * at, 10 * at + 1) for at in range(50)]
    slow = [event(50 + at, 10 * at + 5, 10 * at + 900) for at in range(50)]
    in_order = sorted((*quick, *slow), key=lambda each: each.label_time)
    found = counted(settling, *in_order, event(100, 5_000, 5_000))
    assert found == sorted(found)
    assert len(found) == 100


def test_the_last_label_before_settling_counts_and_a_correction_after_it_does_not() -> None:
    settling = Settling(SETTLE, WAIT, 1)
    settling.add(event(0, 100, 150, value=1.0))
    settling.add(event(1, 100, 160, value=2.0, correction=True))
    assert settling.add(event(2, 900, 3_000)) == [(100, (2.0,)), (900, (0.0,))]
    assert settling.add(event(3, 100, 3_001, value=3.0, correction=True)) == []


def test_a_label_that_comes_after_its_time_has_settled_counts_when_it_comes() -> None:
    settling = Settling(SETTLE, WAIT, 1)
    assert counted(settling, event(0, 100, 3_000)) == [100]
    assert counted(settling, event(1, 1_500, 3_100)) == [1_500]


def test_a_silent_partition_is_a_label_wait_behind_the_others() -> None:
    settling = Settling(SETTLE, WAIT, 1)
    settling.add(event(0, 100, 200, partition=1))
    assert counted(settling, event(1, 3_000, 3_109)) == []
    assert counted(settling, event(2, 3_001, 3_110)) == [100]


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 2_000), st.integers(0, 2)), max_size=60))
@settings(max_examples=60)
def test_each_event_counts_once(events: Sequence[tuple[int, int, int]]) -> None:
    settling = Settling(SETTLE, WAIT, 1)
    arriving = sorted(enumerate(events), key=lambda each: each[1][0] + each[1][1])
    places = [
        Labelled(at, partition, number, time, time + delay, False, (float(number),))
        for at, (number, (time, delay, partition)) in enumerate(arriving)
    ]
    found = [values[0] for each in places for _, values in settling.add(each)]
    late = Labelled(len(places), 9, 0, 100_000, 100_000, False, (-1.0,))
    found += [values[0] for _, values in settling.add(late)]
    assert sorted(found) == [float(number) for number in range(len(events))]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 900), st.integers(0, 1)), min_size=1, max_size=80),
    st.integers(0, 80),
)
@settings(max_examples=60)
def test_what_is_read_again_from_where_a_period_begins_counts_as_before(
    steps: Sequence[tuple[int, int, int]], end: int
) -> None:
    """The events of a period of 700 ms; a process that begins at its `read_from` has counted the same ones."""
    now, arriving = 0, []
    for gap, delay, partition in steps:
        now += gap
        arriving.append((now, now + delay, partition))
    arriving.sort(key=lambda each: each[1])
    events = [
        Labelled(at, partition, at, time, label_time, False, (float(at),))
        for at, (time, label_time, partition) in enumerate(arriving)
    ]

    def run(begun: Begun | None, several: Sequence[Labelled]) -> tuple[Begun | None, list[float], int]:
        values: list[float] = []
        period = Period(Settling(300, 900, 1), 700, lambda found: values.append(found[0]), values.clear, begun)
        for each in several:
            period.take(each)
        return period.begun, values, period.settling.waiting

    begun, values, waiting = run(None, events[: end + 1])
    if begun is not None:
        again, found, still = run(begun, events[begun.read_from : end + 1])
        assert again == begun
        assert sorted(found) == sorted(values)
        assert still == waiting


def test_a_waiting_event_takes_at_most_32_bytes_for_each_model() -> None:
    settling, count, models = Settling(100_000, 100_000, 2), 50_000, 2
    tracemalloc.start()
    try:
        for at in range(count):
            settling.add(Labelled(at, 0, at, at, at + 1, False, (0.0, 1.0)))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert settling.waiting == count
    assert used / count / models <= 32
