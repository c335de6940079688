"""Latency by the log: a header of some predictions has their event's time on the broker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from simulation.watching import prediction

from consumers.monitor.columns import LATENCY, PredictionReader
from consumers.monitor.windows import PREDICTIONS, PartitionWindows
from millstream.stream.monitor_rules import window_rules
from millstream.stream.stream import Stream
from runtime.kafka_client.records import PlainRecord
from schemas.event_times import EVENT_TIME, MOST_MARKED, EventTime, marked, read_event_time
from schemas.events import read_prediction


@given(st.integers(0, 10_000))
def test_every_event_is_stood_for_once_by_one_near_to_it(count: int) -> None:
    found = [*marked(count)]
    assert len(found) <= MOST_MARKED
    assert sum(events for _, events in found) == count
    end = 0
    for place, events in found:
        assert end <= place < end + events
        end += events
    if count <= MOST_MARKED:
        assert [place for place, _ in found] == [*range(count)]


def test_a_header_is_read_as_it_was_written_and_any_other_is_none() -> None:
    mark = EventTime(1_795_986_060_000, 63)
    assert read_event_time([("trace", b"1"), mark.header()]) == mark
    for value in (b"", b"7", b"7 ", b"-7 1", b"7 0", b"7 10001", b"x 1", b"7 1 1", b"9" * 40 + b" 1", None):
        assert read_event_time([(EVENT_TIME, value)]) is None
    assert read_event_time([]) is None


def test_a_window_has_the_times_of_the_log_and_not_the_senders() -> None:
    begin = 1_795_986_000_000
    windows = PartitionWindows(
        PREDICTIONS, window_rules(Stream(name="s", task="binary", model=lambda: None)), PredictionReader()
    )
    records = []
    for number, mark in enumerate(([EventTime(begin - 20, 3)], [], [], [EventTime(begin + 50, 1)], [])):
        time = begin if number < 4 else begin + 3_600_000
        value = prediction(number, time)
        assert read_prediction(value).event.event_time == time - 5
        records.append(PlainRecord("p", 0, number, time, None, value, [each.header() for each in mark]))
    [window] = windows.take(records)
    numbers = window.profiles[LATENCY].numbers
    assert numbers is not None
    assert (window.events, numbers.count, numbers.least, numbers.most) == (4, 4, 0, 20)
