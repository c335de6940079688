"""Bytes of shadows: equal to those of the Avro library, whatever the prediction and the answers hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumers.shadow.shadow_records import PredictionParts, ShadowWriter
from schemas import codec
from schemas.codec import CodecError
from schemas.comparisons import Challenger, Shadow, read_shadow
from schemas.events import Event, Failure, Features, Outcome, is_joinable

OUTCOME = Outcome(True, {"true": 0.75, "false": 0.25}, "fraud", 2, 1250, 1_700_000_000_000, "fraud.features", 3, 70)
EVENTS: dict[str, tuple[Features, str | None]] = {
    "doubles": ({"x": 1.5, "y": -2.0}, None),
    "an entity key": ({"x": 1.5}, "customer-7"),
    "kinds": ({"a": None, "b": True, "c": 7, "d": "ü", "e": b"\x00", "f": [1.0, 2.0]}, None),
    "none": ({}, None),
}
ANSWERS = {
    "two shares": (True, {"true": 0.3, "false": 0.7}),
    "two shares that do not add up": (True, {"true": 0.3, "false": 0.6}),
    "shares": ("b", {"a": 0.25, "b": 0.5, "c": 0.25}),
    "no shares known": (None, {}),
    "a number": (-3.25, None),
    "a whole number": (2**40, None),
    "nothing": (None, None),
}


def prediction(features: Features, key: str | None, **changed: Any) -> bytes:
    event = Event("e1", 1_700_000_000_123, features, key)
    outcome = msgspec.structs.replace(OUTCOME, **changed)
    body = event.encode()[10:] + b"\x02" + codec.OUTCOME.encode_body(msgspec.to_builtins(outcome))
    return codec.PREDICTION.header + body


@pytest.mark.parametrize("of", EVENTS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_shadow_has_the_bytes_of_the_library_without_the_features(of: str, answer: str) -> None:
    features, key = EVENTS[of]
    value, shares = ANSWERS[answer]
    challengers = [
        Challenger("fraud.forest", 1, 300, 1234, value, shares),
        Challenger("fraud.line", -1, -1, -1, None, None, "no-version"),
    ]
    reader, data = PredictionParts(), prediction(features, key)
    for _ in range(2):  # of the same shape, it is read quickly
        read = reader.read(data)
        assert (read.event_id, read.features, read.served_by) == (b"e1", features, "fraud")
        for given, slices in ((challengers, {"large": "true", "country": "DE"}), ([], {})):
            written = ShadowWriter(3).write(read, (99, 1_700_000_000_456), slices, given)
            event = Event("e1", 1_700_000_000_123, {}, key)
            shadow = Shadow(event, 3, 99, 1_700_000_000_456, slices, given, OUTCOME)
            assert written == shadow.encode()
            assert read_shadow(written) == shadow
            assert is_joinable(written)


def test_an_error_keeps_its_last_bytes_so_the_judge_does_not_join_it() -> None:
    data = prediction({"x": 1.0}, None, prediction=None, status="error", error=Failure("model", "no"))
    written = ShadowWriter(0).write(PredictionParts().read(data), (1, 2), {}, [])
    assert not is_joinable(written)


@pytest.mark.parametrize("cut", [0, 9, 12, 30, -20, -1])
def test_what_is_cut_short_is_refused(cut: int) -> None:
    reader, data = PredictionParts(), prediction({"x": 1.5, "y": -2.0}, None)
    reader.read(data)
    with pytest.raises(CodecError):
        reader.read(data[:cut])
