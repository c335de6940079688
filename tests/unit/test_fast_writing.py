"""Events, labels and examples that are encoded by hand have the bytes of the Avro library, or its refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, fast_writing
from schemas.codec import CodecError
from schemas.events import Event, Example, Joined, Label, Lane, Outcome
from schemas.fast_writing import event_body, label_body

longs = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats() | st.integers(-(2**64), 2**64) | longs
odd = st.sampled_from([np.float64(1.5), np.int64(3), np.bool_(True), "\ud800", b"\0", [1.0], None, {"a": 1.0}])
features = st.dictionaries(st.text(max_size=4), st.floats(), max_size=6) | st.dictionaries(
    st.text(max_size=4), st.booleans() | numbers | st.text(max_size=90) | odd, max_size=6
)
ids = st.text(max_size=80) | st.sampled_from(["\ud800", 5, None, b"e1"])
events = st.builds(Event, ids, longs | st.just(True), features, st.none() | st.text(max_size=3))
labels = st.builds(
    Label,
    ids,
    st.booleans() | numbers | st.text(max_size=90) | odd,
    longs | st.sampled_from([1.0, None]),
    st.floats() | st.sampled_from([1, 1.0, np.float64(1.0)]),
    st.sampled_from(["system", "human", "import", "timeout", "other"]),
    st.sampled_from(["label", "correction", "other"]),
)


def answer(encode: Callable[[], bytes]) -> bytes | str:
    try:
        return encode()
    except CodecError:
        return "refused"


def is_too_long(value: Any) -> bool:
    return value.__class__ is int and not -(2**63) <= value < 2**63


@settings(max_examples=600, deadline=None)
@given(st.lists(events, min_size=1, max_size=4))
def test_an_event_has_the_bytes_of_the_library(sent: list[Event]) -> None:
    for event in [*sent, *sent]:
        expected = answer(lambda given=event: codec.EVENT.encode(msgspec.structs.asdict(given)))  # type: ignore[misc]
        if any(map(is_too_long, event.features.values())):
            expected = "refused"
        assert answer(event.encode) == expected


@settings(max_examples=600, deadline=None)
@given(labels)
def test_a_label_has_the_bytes_of_the_library(label: Label) -> None:
    expected = answer(lambda: codec.LABEL.encode(msgspec.structs.asdict(label)))
    assert answer(label.encode) == ("refused" if is_too_long(label.value) else expected)


outcomes = st.builds(
    Outcome,
    st.none() | st.booleans() | longs | st.floats() | st.text(max_size=3),
    st.none() | st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
    st.text(max_size=3),
    *[st.integers(-(2**31), 2**31 - 1)] * 3,
    st.text(max_size=3),
    *[st.integers(-(2**31), 2**31 - 1)] * 2,
)
plain_events = st.builds(
    Event, st.text(max_size=5), longs, st.dictionaries(st.text(max_size=3), longs | st.binary(max_size=3), max_size=3)
)
plain_labels = st.builds(Label, st.text(max_size=5), st.booleans() | longs | st.floats(), longs)


@given(
    plain_events,
    st.none() | outcomes,
    st.none() | plain_labels,
    st.builds(Lane, st.text(max_size=5), st.text(max_size=5), longs),
    st.none() | st.builds(Joined, st.integers(0, 2**31 - 1), longs, longs, longs, longs),
)
def test_an_example_has_the_bytes_of_the_library(
    event: Event, outcome: Outcome | None, label: Label | None, lane: Lane, joined: Joined | None
) -> None:
    example = Example(event, outcome, label, lane, joined)
    assert example.encode() == codec.EXAMPLE.encode(msgspec.to_builtins(example, builtin_types=(bytes,)))


def test_plain_values_do_not_need_the_library() -> None:
    assert event_body("e1", 5, {"x": 1.0, "y": 2.0}) is not None
    assert event_body("e1", 5, {"x": 1.0, "n": 3, "t": "text", "b": True, "none": None}) is not None
    assert label_body("e1", True, 5, 1.0, ("system", "label")) is not None
    assert event_body("e1", 5, {"x": [1.0]}) is None


def test_events_that_all_have_other_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = fast_writing._Layouts()
    monkeypatch.setattr(fast_writing, "_layouts", layouts)
    for number in range(1000):
        event = Event("e1", 5, {f"x{number}": 1.0})
        assert event.encode() == codec.EVENT.encode(msgspec.structs.asdict(event))
    assert len(layouts._layouts) == fast_writing._MOST_LAYOUTS
    assert event_body("e1", 5, {f"x{number}": 1.0 for number in range(fast_writing._MOST_NAMES + 1)}) is None
