"""The fast path of the predictor gives the reference's records, byte for byte, whatever comes."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.loop.processor import Assignment
from consumers.model.river_model import wrap
from consumers.predictor import known_shapes
from consumers.predictor.fast_outcomes import OutcomeWriter
from consumers.predictor.feature_requests import Questions
from consumers.predictor.known_shapes import Known, KnownShapes
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.calendar import CalendarFeatures
from schemas.codec import HEADER_BYTES
from schemas.contract import Contract, Feature
from schemas.events import Event, read_prediction
from schemas.target import Task
from schemas.topics import Names

NAMES: Final = Names("unit")
PLACE: Final = Partition(NAMES.topic("features"), 2)
NOW: Final = 1_800_000_000_000
DAY: Final = 24 * 3600 * 1000
# Milliseconds in which the four upper bytes of an encoded time do not change.
SAME_UPPER_BYTES: Final = 1 << 13


class Sent(NamedTuple):
    value: bytes | None
    offset: int = 70
    timestamp: int = NOW
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = b"k"
    topic: str = PLACE.topic
    partition: int = PLACE.partition


# --- models ----------------------------------------------------------------------------------------


class Told:
    """A model that answers by a function of the features, and remembers what it was given."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], shares: Callable[[dict[str, Any]], Any] | None) -> None:
        self.answer, self.shares = answer, shares
        self.given: list[str] = []

    def predict_one(self, x: dict[str, Any]) -> Any:
        return self.answer(x)

    def predict_proba_one(self, x: dict[str, Any]) -> Any:
        self.given.append(repr(x))
        if self.shares is None:
            raise NotImplementedError
        return self.shares(x)


def mark(x: dict[str, Any]) -> float:
    """Return a number in [0, 1) that depends on every bit of the features."""
    return zlib.crc32(repr(x).encode()) % 1000 / 1000


def share(x: dict[str, Any]) -> dict[Any, float]:
    return {False: 1.0 - mark(x), True: mark(x)}


def refuse(x: dict[str, Any]) -> Any:
    if mark(x) < 0.5:
        raise ValueError(f"not {mark(x)}")
    return share(x)


def change(x: dict[str, Any]) -> dict[Any, float]:
    said = share(x)
    if mark(x) < 0.3:
        x["added"] = 1.0
    elif mark(x) < 0.6 and x:
        name = next(iter(x))
        x[name] = int(x[name]) if isinstance(x[name], float) and math.isfinite(x[name]) else None
    elif x:
        x["renamed"] = x.pop(next(reversed(x)))
    return said


def first(x: dict[str, Any]) -> Any:
    return next(iter(x.values()), None)


MODELS: Final[dict[str, tuple[Task, Callable[[dict[str, Any]], Any], Callable[[dict[str, Any]], Any] | None]]] = {
    "binary": ("binary", lambda x: mark(x) > 0.5, share),
    "binary as numbers": ("binary", lambda x: mark(x) > 0.5, lambda x: {0: 1.0 - mark(x), 1: mark(x)}),
    "numbers in one answer, booleans in the next": (
        "multiclass",
        lambda x: mark(x) > 0.5,
        lambda x: {0: 0.25, 1: 0.75} if mark(x) < 0.5 else {False: 0.25, True: 0.75},
    ),
    "of numpy": ("binary", lambda x: numpy.bool_(True), lambda x: {numpy.bool_(False): numpy.float64(mark(x))}),
    "three classes": ("multiclass", lambda x: "b", lambda x: {"a": mark(x), "b": 0.5, 3: 0.1}),
    "two classes, decides for another": ("multiclass", lambda x: "c", lambda x: {"a": mark(x), "b": 0.5}),
    "no decision": ("binary", lambda x: None, share),
    "no shares": ("multiclass", lambda x: mark(x) > 0.5, None),
    "empty shares": ("binary", lambda x: None, lambda x: {}),
    "a huge class": ("multiclass", lambda x: 2**62, lambda x: {2**62: 0.5, -1: mark(x)}),
    "raises": ("binary", lambda x: True, refuse),
    "NaN": ("binary", lambda x: True, lambda x: {False: math.nan, True: mark(x)}),
    "changes the features": ("binary", lambda x: True, change),
    "regression": ("regression", mark, share),
    "regression that passes a feature on": ("regression", first, share),
}
CONTRACTS: Final[dict[str, Contract]] = {
    "open": Contract(),
    "few features": Contract(max_features=2, max_name_chars=3),
    "declared": Contract(features={"a": Feature(), "b": Feature(minimum=-1, maximum=1.5), "ключ": Feature()}),
    "drops b": Contract(features={"a": Feature(minimum=0), "ключ": Feature()}),
    "keeps what is unknown": Contract(features={"a": Feature(maximum=2)}, unknown="keep"),
    "refuses what is unknown": Contract(features={"a": Feature(), "b": Feature()}, unknown="refuse"),
    "missing is None": Contract(features={"a": Feature(), "c": Feature()}, missing="none"),
    "required": Contract(features={"a": Feature(required=True), "b": Feature()}),
    "whole numbers": Contract(features={"a": Feature(type="integer"), "b": Feature()}),
    "categories": Contract(features={"a": Feature(categories=(1, 2)), "b": Feature()}),
    "calendar": Contract(calendar=CalendarFeatures(parts=("hour",), tz="UTC")),
}

# --- records ---------------------------------------------------------------------------------------

DOUBLES: Final = st.one_of(
    st.floats(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, -1.0, 2.0, 5e-324, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan]),
)
OTHERS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=3), st.just([1.0])
)
ORDERS: Final = (("a", "b"), ("b", "a"), ("a",), ("a", "b", "ключ"), ("b",), ("name", "a", "b", "c"), ())
IDS: Final = ("e1", "e2", "ключ", "", "x" * 63, "y" * 64, "z" * 1024, "ж" * 1000, "w" * 1025)
TIMES: Final = (
    *(NOW, NOW - 977, NOW + DAY, NOW + DAY + 1, NOW + DAY - SAME_UPPER_BYTES, NOW + DAY + SAME_UPPER_BYTES),
    *(-1, 0, 1, 63, 2**13, 2**27, 2**33 - 1, 2**33, 2**34 - 1, 2**34, 2**34 + 1, 2**41 - 1, 2**41, 2**62),
)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    names = draw(st.sampled_from(ORDERS))
    values = st.one_of(DOUBLES, OTHERS) if draw(st.integers(0, 9)) == 0 else DOUBLES
    features = {name: draw(values) for name in names}
    event_id = draw(st.one_of(st.sampled_from(IDS[:2]), st.sampled_from(IDS)))
    time = draw(st.one_of(st.just(NOW), st.sampled_from(TIMES), st.integers(NOW - DAY, NOW + 2 * DAY)))
    entity_key = "k" if draw(st.integers(0, 19)) == 0 else None
    return Event(event_id, time, features, entity_key).encode()


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    data = draw(events())
    kind = draw(st.sampled_from(["whole"] * 6 + ["bit", "id", "cut", "more", "json", "longer time", "blocks", "null"]))
    if kind == "bit":
        at = draw(st.integers(0, len(data) * 8 - 1))
        return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]
    return {
        "whole": data,
        "id": data[:11] + b"\xff" + data[12:],  # no UTF-8
        "cut": data[: draw(st.integers(0, len(data)))],
        "more": data + b"\0",
        "json": b'{"event_id": "e1", "features": {"a": 0.5, "b": 1.0}}',
        # Six bytes for a time that needs two, and a map with the size of its only block.
        "longer time": codec.EVENT.header + b"\x04e1" + b"\x82\x81\x80\x80\x80\x00\x00\x02\x02a\x06" + bytes(9),
        "blocks": Event("e1", NOW, {}).encode()[:-1] + b"\x01\x16\x02a\x06" + struct.pack("<d", 0.5) + b"\0",
        "null": None,
    }[kind]


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    return Sent(
        draw(values()),
        draw(st.sampled_from([0, 63, 64, 65, 127, 128, 8191, 8192, 2**40, 2**62])),
        draw(st.sampled_from([NOW, NOW, NOW, NOW - 1, NOW + DAY, -1, -2 * DAY, 0, 2**41])),
        draw(st.sampled_from([(), (), [], [("trace", b"1")]])),
        draw(st.sampled_from([b"k", None, b"\xff"])),
    )


# --- the test --------------------------------------------------------------------------------------


class PlainWriter(OutcomeWriter):
    def prediction(self, body: bytes, answer: Any, offset: int, failure: tuple[str, str] | None = None) -> bytes:
        return codec.PREDICTION.header + body + b"\x02" + self.write(answer, offset, failure)


class OneVersion:
    def __init__(self, served: ServedVersion) -> None:
        self.served = served

    def newest(self) -> ServedVersion:
        return self.served


def made(model: str, contract: Contract, examples: int = 7) -> tuple[Predictor, Told]:
    task, answer, shares = MODELS[model]
    told = Told(answer, shares)
    served = ServedVersion(wrap(told, task), "unit", 1, examples, NOW, None)
    predictor = Predictor(PredictorSettings(NAMES, contract, 4), OneVersion(served), clock=lambda: NOW)
    predictor.assigned(Assignment({PLACE: None}, {PLACE: 0}, {PLACE: 9}, {PLACE.topic: "id"}))
    predictor.tick(NOW)
    return predictor, told


def answers(predictor: Predictor, batches: Sequence[Sequence[Sent]]) -> list[Output]:
    return [output for batch in batches for output in predictor.process({PLACE: batch})]


def reference(monkeypatch: pytest.MonkeyPatch, predictor: Predictor, batches: Sequence[Sequence[Sent]]) -> list[Output]:
    with monkeypatch.context() as patched:
        patched.setattr(predictor, "_read", predictor._questions.read)
        patched.setattr("consumers.predictor.predictor.OutcomeWriter", PlainWriter)
        return answers(predictor, batches)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(sent(), min_size=1, max_size=12), min_size=1, max_size=5),
    st.sampled_from([*MODELS]),
    st.sampled_from([*CONTRACTS]),
    st.sampled_from([0, 7]),
)
def test_both_ways_give_the_same_records(batches: list[list[Sent]], model: str, contract: str, examples: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        # So few that shapes are forgotten in the middle of a run.
        patched.setattr(known_shapes, "MOST_LENGTHS", 3)
        patched.setattr(known_shapes, "MOST_OF_A_LENGTH", 2)
        fast, quickly = made(model, CONTRACTS[contract], examples)
        plain, slowly = made(model, CONTRACTS[contract], examples)
        # A shape is known from its third event on.
        again = [batch for batch in batches for _ in range(3)]
        expected = reference(patched, plain, again)
        found = answers(fast, again)
    assert [(type(output), *output) for output in found] == [(Output, *output) for output in expected]
    assert quickly.given == slowly.given


def both(model: str, contract: Contract, data: Sequence[bytes]) -> list[Output]:
    """Return the records of both ways, which are equal, for events after some that made their shape known."""
    batches = [[Sent(event(a=0.25, b=0.75))] * 2, [Sent(value) for value in data]]
    with pytest.MonkeyPatch.context() as patched:
        expected = reference(patched, made(model, contract)[0], batches)
    assert answers(made(model, contract)[0], batches) == expected
    return expected


def test_an_id_that_is_no_text_is_refused_although_its_shape_is_known() -> None:
    whole = event(a=0.25, b=0.75)
    outputs = both("binary", Contract(), [whole[:11] + b"\xff" + whole[12:]])
    assert outputs[-1].topic == NAMES.topic("dead-letters")


@pytest.mark.parametrize("contract", ["open", "declared", "drops b", "keeps what is unknown"])
def test_features_that_the_model_has_changed_are_told_as_by_the_reference(contract: str) -> None:
    data = [event(a=number / 8, b=1.0) for number in range(16)]
    assert len(both("changes the features", CONTRACTS[contract], data)) >= 18


@pytest.mark.parametrize("model", MODELS)
def test_every_model_gives_the_same_records_for_a_known_shape(model: str) -> None:
    data = [event("e2", NOW + number, a=number / 8, b=1.0) for number in range(16)]
    assert len(both(model, CONTRACTS["declared"], data)) >= 18


# --- what is known ---------------------------------------------------------------------------------


def requests(contract: Contract | None = None) -> KnownShapes:
    contract = contract or Contract()
    return KnownShapes(Questions(contract, None, lambda: NOW), contract)


def known(shapes: KnownShapes, *data: bytes) -> list[bool]:
    """Return for each event whether it took the fast path."""
    return [isinstance(each, Known) for value in data for each in shapes.read([Sent(value)])]


def event(event_id: str = "e1", time: int = NOW, **features: Any) -> bytes:
    return Event(event_id, time, features).encode()


def test_the_third_event_of_a_shape_is_read_quickly() -> None:
    events_of_one_shape = [event(a=0.5, b=1.0), event("e2", NOW + 1, a=-0.0, b=5e-324), event("ab", a=7.0, b=0.1)]
    assert known(requests(), *events_of_one_shape) == [False, False, True]


def test_a_declared_and_a_dropped_feature_keep_the_fast_path() -> None:
    contract = Contract(features={"a": Feature(minimum=0, maximum=1)})
    assert known(requests(contract), *[event(a=0.5, b=math.nan)] * 3) == [False, False, True]


UNUSUAL: Final = {
    "NaN": event(a=math.nan),
    "infinity": event(a=math.inf),
    "a whole number": event(a=1),
    "a negative time": event(time=-1, a=1.0),
    "a time in the far future": event(time=NOW + DAY + 1, a=1.0),
    "a long id": event("i" * 1025, a=1.0),
    "no features": event(),
    "an entity key": Event("e1", NOW, {"a": 1.0}, "key").encode(),
    "JSON": b'{"event_id": "e1", "features": {"a": 0.5}}',
    "a large event": event(**{f"name{number}": 0.5 for number in range(1000)}),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_everything_unusual_is_for_the_reference(what: str) -> None:
    shapes = requests()
    known(shapes, *[event(a=1.0)] * 3)
    assert known(shapes, *[UNUSUAL[what]] * 4) == [False] * 4


def test_a_contract_with_a_calendar_is_for_the_reference() -> None:
    assert known(requests(CONTRACTS["calendar"]), *[event(a=1.0)] * 4) == [False] * 4


def test_what_is_remembered_stays_small_although_every_event_has_another_shape() -> None:
    shapes = requests()
    for number in range(2000):
        value = event("i" * (1 + number // 5 % 90), **{f"{number:04}": 1.0})
        assert known(shapes, value, value, value) == [False, False, True]
    groups = shapes._shapes.values()
    assert (len(groups), max(map(len, groups))) == (known_shapes.MOST_LENGTHS, 4)
    for number in range(2000):
        known(shapes, event(**{f"{number:04}": 1.0}))
        assert len(shapes._once) <= 256
    assert len(shapes._shapes[len(event(**{"0001": 1.0}))]) <= 4


def test_a_shape_that_was_forgotten_comes_back() -> None:
    shapes = requests()
    assert known(shapes, *[event(a=1.0)] * 3)[-1]
    for name in "bcdef"[: known_shapes.MOST_OF_A_LENGTH]:
        known(shapes, *[event(**{name: 1.0})] * 2)
    assert known(shapes, *[event(a=1.0)] * 3) == [False, False, True]


def test_the_body_of_an_answer_is_the_senders() -> None:
    predictor, _ = made("binary", Contract())
    data = event(a=-0.0, b=5e-324)
    output = answers(predictor, [[Sent(data)] * 3])[-1]
    assert output.value is not None
    assert output.value[HEADER_BYTES:].startswith(data[HEADER_BYTES:])
    assert read_prediction(output.value).event == Event("e1", NOW, {"a": -0.0, "b": 5e-324})
