"""JSON as others send it over Kafka: what may stand before it, and what is said of what is not JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.codec import CodecError
from schemas.events import read_event, read_label
from schemas.sources.decoding import decoder
from schemas.sources.source import Source

EVENT = b'{"event_id": "a", "features": {"x": 1.5}}'
LABEL = b'{"event_id": "a", "value": true}'
FOREIGN = decoder(Source(topic="payments"))
BEFORE = [b" ", b"\n", b"\r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"]


@pytest.mark.parametrize("before", BEFORE)
def test_white_space_and_a_byte_order_mark_before_json_are_passed_over(before: bytes) -> None:
    assert read_event(before + EVENT + b"\n").features == {"x": 1.5}
    assert read_label(before + LABEL).value is True
    assert FOREIGN(before + EVENT, ())["event_id"] == "a"


@pytest.mark.parametrize("read", [read_event, read_label, lambda data: FOREIGN(data, ())])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"event_id": "a", "features": {"x": NaN}, "value": NaN}', "JSON has no NaN: write null"),
        (b'{"event_id": "a", "features": {"x": [1, -Infinity]}}', "JSON has no Infinity: write null"),
        (b' {"event_id": "a", "value": Infinity}', "JSON has no Infinity: write null"),
    ],
)
def test_numbers_that_json_has_not_are_named_with_the_way_out(
    read: Callable[[bytes], Any], data: bytes, said: str
) -> None:
    with pytest.raises(CodecError, match=said):
        read(data)


def test_a_word_in_a_text_is_not_taken_for_such_a_number() -> None:
    with pytest.raises(CodecError) as caught:
        read_event(b'{"event_id": "NaN, Infinity", "features": {"x": 1}')
    assert "write null" not in str(caught.value)


@pytest.mark.parametrize("read", [read_event, read_label])
def test_json_encoded_twice_is_named(read: Callable[[bytes], Any]) -> None:
    with pytest.raises(CodecError, match="encoded twice; send the object itself"):
        read(b'"{\\"event_id\\": \\"a\\"}"')
