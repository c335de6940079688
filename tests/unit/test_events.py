"""Every event comes back as it was sent, whether it is read quickly or by the Avro library."""

from __future__ import annotations

import io
import math
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.events import (
    Event,
    Example,
    Joined,
    Label,
    Lane,
    Outcome,
    peek_event_id,
    read_event,
    read_example,
    read_label,
)
from schemas.fast_examples import EntryReader, PredictionReader, entry_of

texts = st.text(max_size=40)
longs = st.integers(-(2**62), 2**62)
doubles = st.floats(allow_nan=False)
values = st.one_of(
    st.none(), st.booleans(), longs, doubles, texts, st.binary(max_size=20), st.lists(doubles, max_size=3)
)
same_names = st.fixed_dictionaries({"amount": doubles, "größe": doubles, "x": doubles})
features = st.one_of(same_names, st.dictionaries(texts, values, max_size=5))
events = st.builds(Event, texts, st.integers(-(2**50), 2**50), features, st.one_of(st.none(), texts))


@settings(max_examples=400, deadline=None)
@given(st.lists(events, min_size=1, max_size=4))
def test_events_come_back_as_they_were(sent: list[Event]) -> None:
    for event in sent:
        data = event.encode()
        assert read_event(data) == event
        assert peek_event_id(data) == event.event_id
        with pytest.raises(CodecError):
            read_event(data + b"\0")
        with pytest.raises(CodecError):
            read_event(data[:-1])


@settings(max_examples=200, deadline=None)
@given(events, st.booleans(), st.one_of(st.none(), st.booleans(), doubles, texts), longs)
def test_examples_come_back_as_they_were(event: Event, joined: bool, prediction: Any, offset: int) -> None:
    outcome = Outcome(prediction, {"true": 0.25, "false": 0.75}, "m", 1, 7, 5, "m.features", 0, offset)
    example = Example(
        event,
        outcome if joined else None,
        Label(event.event_id, True, 5, weight=2.5),
        Lane("0", "epoch", 12),
        Joined(0, 1, 2, 3, 4) if joined else None,
    )
    data = example.encode()
    assert read_example(data) == example
    reader = EntryReader()
    for _ in range(3):  # by the Avro library first, then by the pattern it made
        assert reader.read(data) == entry_of(example)


simple = st.builds(
    lambda event, prediction, shares, value, weight, kind, lane, numbers: Example(
        event,
        Outcome(prediction, shares, "m", 1, numbers[0], numbers[1], "m.features", 3, numbers[2]),
        Label(event.event_id, value, numbers[1], weight, "human", kind),
        Lane(lane, "epoch", numbers[3]),
        Joined(3, numbers[2], numbers[1], numbers[0], numbers[4]),
    ),
    st.builds(Event, st.text(min_size=1, max_size=90), st.just(1_700_000_000_000), same_names),
    st.one_of(st.none(), st.booleans(), doubles),
    st.one_of(st.none(), st.fixed_dictionaries({"true": doubles, "false": doubles})),
    st.one_of(st.booleans(), longs, doubles),
    doubles,
    st.sampled_from(["label", "correction"]),
    st.sampled_from(["0", "1", "import-ab"]),
    st.tuples(longs, longs, longs, st.integers(0, 2**40), longs),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(simple, min_size=2, max_size=6), st.integers(0, 400))
def test_a_learner_reads_by_the_pattern_what_the_avro_library_reads(sent: list[Example], cut: int) -> None:
    reader = EntryReader()
    for example in sent:
        data = example.encode()
        assert reader.read(data) == entry_of(example)
        for damaged in (data[: min(cut, len(data) - 1)], data + b"\0"):
            with pytest.raises(CodecError):
                reader.read(damaged)


def test_an_id_of_negative_length_is_read_by_nobody() -> None:
    """An odd length is a negative one; whoever has seen such events before must not take it for an even one."""
    plain = Event("abcd", 1_700_000_000_000, {"x": 1.0})
    outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "m", 1, 7, 5, "m.features", 0, 1)
    example = Example(plain, outcome, Label("abcd", True, 5), Lane("0", "epoch", 12), Joined(0, 1, 2, 3, 4))
    reader, predictions = EntryReader(), PredictionReader()
    prediction = codec.PREDICTION.header + plain.encode()[HEADER_BYTES:] + b"\x02"
    prediction += codec.OUTCOME.encode_body({name: getattr(outcome, name) for name in outcome.__struct_fields__})
    for read, data in (
        (read_event, plain.encode()),
        (reader.read, example.encode()),
        (predictions.features, prediction),
    ):
        odd = data[:HEADER_BYTES] + bytes([data[HEADER_BYTES] | 1]) + data[HEADER_BYTES + 1 :]
        for _ in range(3):
            read(data)
        with pytest.raises(CodecError):
            read(odd)
        with pytest.raises(CodecError):
            peek_event_id(odd)


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_doubles_keep_their_last_bit(value: float) -> None:
    for _ in range(3):
        got = read_event(Event("a", 1, {"x": value}).encode()).features["x"]
        assert isinstance(got, float)
        assert math.copysign(1, got) == math.copysign(1, value)
        assert got == value


def test_another_services_avro_library_reads_what_we_write() -> None:
    event = Event("e1", 1_700_000_000_000, {"x": 1.5, "n": 3, "t": "text"})
    schema = fastavro.parse_schema(codec.full_schema("Event"))
    read = fastavro.schemaless_reader(io.BytesIO(event.encode()[10:]), schema, None)
    assert (read["event_id"], read["features"]) == ("e1", {"x": 1.5, "n": 3, "t": "text"})
    assert read["event_time"].timestamp() == 1_700_000_000


def test_labels_are_read_as_avro_and_as_json() -> None:
    label = Label("e1", 3, 5)
    assert read_label(label.encode()) == label
    assert read_label(b'{"event_id": "e1", "value": 3}', default_time=5) == label


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"event_id": 1}',
        b'{"event_id": "a", "features": {"x": NaN}}',
        b'{"event_id": "a", "more": 1}',
        b"\xc3",
    ],
)
def test_what_is_no_event_is_refused_with_what_it_is(data: bytes) -> None:
    with pytest.raises(CodecError):
        read_event(data)
