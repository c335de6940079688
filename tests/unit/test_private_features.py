"""A private feature's values are found nowhere but on the topics of events."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from consumers.loop.processor import Assignment
from consumers.model.learning_rules import LearningRules, Poison, Unfit
from consumers.model.model_state import LearnerState
from consumers.model.river_model import wrap
from consumers.monitor.columns import ExampleReader, PredictionReader
from consumers.monitor.windows import EXAMPLES, PREDICTIONS, PartitionWindows
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from millstream import Feature, Stream
from millstream.reading import topic_readers, typed_rows
from millstream.stream.errors import InvalidStream
from millstream.stream.monitor_rules import window_rules
from millstream.version_code.contract_changes import misfit
from runtime.kafka_client.records import Output, Partition, PlainRecord
from schemas.contract import MASK, Contract, ContractError, masked, without_any_value, without_values
from schemas.dead_letters import read_dead_letter
from schemas.events import Event, Example, Joined, Label, Lane, Outcome, read_prediction
from schemas.sources.event_mapping import EventMapping
from schemas.sources.source import Source
from schemas.topics import Names

MARKER = "DE02120300000000202051"
NUMBER = 7_412_589_630_147
NAMES = Names("unit")
FEATURES = NAMES.topic("features")
NOW = 1_700_000_000_000
PRIVATE = Contract(
    features={
        "iban": Feature(type="string", private=True),
        "income": Feature(minimum=0, maximum=1e9, private=True),
        "amount": Feature(),
    }
)


class Said(NamedTuple):
    value: bytes | None
    key: bytes | None
    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Any


class Raises:
    """A model whose exception says the features that it was given."""

    def predict_one(self, features: Any) -> bool:
        raise ValueError(f"could not convert {features}")

    def predict_proba_one(self, features: Any) -> dict[bool, float]:
        raise ValueError(f"could not convert {features}")

    def learn_one(self, features: Any, label: Any) -> None:
        raise ValueError(f"could not convert {features}")


class OneVersion:
    def newest(self) -> ServedVersion:
        return ServedVersion(wrap(Raises(), "binary"), "unit", 1, 7, NOW, None)


def answered(value: bytes, contract: Contract = PRIVATE, mapping: EventMapping | None = None) -> list[Output]:
    settings = PredictorSettings(NAMES, contract, 1, mapping=mapping)
    predictor = Predictor(settings, OneVersion(), clock=lambda: NOW)  # type: ignore[arg-type]
    place = Partition(FEATURES, 0)
    predictor.assigned(Assignment({place: None}, {place: 0}, {place: 9}, {FEATURES: "id"}))
    predictor.tick(NOW)
    return predictor.process({place: [PlainRecord(FEATURES, 0, 5, NOW, b"e1", value)]})


def event(**features: Any) -> bytes:
    return Event("e1", NOW, features).encode()


REFUSED = {
    "type": event(iban=NUMBER),
    "range": event(income=float(NUMBER)),
    "model": event(iban=MARKER, income=5.0, amount=2.0),
    "time": Event("e1", NOW * 9, {"iban": MARKER}).encode(),
    "codec": b'{"event_id": "e1", "features": {"iban": ' + str(NUMBER * 10**9).encode() + b"}}",
}


@pytest.mark.parametrize("code", REFUSED)
def test_no_reason_and_no_view_of_a_letter_shows_a_private_value(code: str) -> None:
    outputs = answered(REFUSED[code])
    (letter,) = [output for output in outputs if output.topic == NAMES.topic("dead-letters")]
    (prediction,) = [output for output in outputs if output.topic == NAMES.whole]
    assert letter.value is not None
    assert prediction.value is not None
    held = read_dead_letter(letter.value)
    assert held.value == REFUSED[code], "the letter keeps what it has to send back"
    record = Said(letter.value, letter.key, letter.topic, 0, 1, NOW, letter.headers)
    shown = [
        held.reason,
        str(read_prediction(prediction.value).outcome.error),
        str(topic_readers.dead_letter_row(record)),  # type: ignore[arg-type]
        str(typed_rows.dead_letter(record)),  # type: ignore[arg-type]
    ]
    for text in shown:
        assert MARKER not in text
        assert str(NUMBER) not in text
        assert "feature" in text or "model" in text or "time" in text or MASK in text, "the reason itself is there"
    assert REFUSED[code].hex() not in str(shown)


def test_letters_of_other_streams_are_shown_as_before() -> None:
    outputs = answered(event(iban=1), Contract(features={"iban": Feature(type="string")}))
    (letter,) = [output for output in outputs if output.topic == NAMES.topic("dead-letters")]
    record = Said(letter.value, letter.key, letter.topic, 0, 1, NOW, letter.headers)
    assert list(letter.headers) == []
    assert topic_readers.dead_letter_row(record)["value"] != MASK  # type: ignore[arg-type]


def test_messages_of_other_teams_are_not_quoted() -> None:
    source = Source(topic="payments", id="id", time="at", fields={"iban": "iban", "amount": "amount"})
    mapping = EventMapping(source, lambda value, headers: {"id": "e1", "at": MARKER, "iban": MARKER, "amount": 1.0})
    (letter,) = [each for each in answered(b"{}", mapping=mapping) if each.topic == NAMES.topic("dead-letters")]
    assert read_dead_letter(letter.value or b"").reason.startswith("the time at at is (private)")


def example(**features: Any) -> Example:
    return Example(
        Event("e1", NOW, features),
        Outcome(True, {"true": 0.75, "false": 0.25}, "unit", 1, 7, NOW, FEATURES, 0, 5),
        Label("e1", True, NOW),
        Lane("live", "", 0),
        Joined(0, 1, NOW, 1, NOW),
    )


def test_a_learner_says_neither_an_outlier_nor_what_its_model_raised_on() -> None:
    target = Stream(name="unit", task="binary", model=Raises).target
    learning = LearnerState(LearningRules(target, PRIVATE, Raises, None, 100), traced=False)
    with pytest.raises(Poison) as poison:
        learning.apply(example(iban=MARKER, income=5.0), 0)
    assert MARKER not in poison.value.reason
    assert MASK in poison.value.reason
    with pytest.raises(Unfit) as unfit:
        learning.apply(example(income=float(NUMBER)), 1)
    assert str(NUMBER) not in str(unfit.value)
    for number in range(400):
        learning.guard.look({"income": float(number % 10), "iban": MARKER}, None)
    far = learning.guard.look({"income": 8e8}, None)
    assert far is not None
    assert far.reason == "feature 'income' is (private), far outside of the values before"


def test_windows_hold_hashes_and_counts_alone() -> None:
    stream = Stream(
        name="unit",
        task="binary",
        model=Raises,
        features={"iban": Feature(type="string", private=True), "income": Feature(private=True), "amount": "number"},
        slices={"rich": "income > 1000", "amount": "amount"},
    )
    rules = window_rules(stream, key=b"secret")
    features = {"iban": MARKER, "income": float(NUMBER), "amount": 31.5}
    found = example(**features)
    prediction = b"".join(
        each.value or b"" for each in answered(event(**features), Contract()) if each.topic == NAMES.whole
    )
    written = b""
    for kind, reader, value in (
        (PREDICTIONS, PredictionReader(), prediction),
        (EXAMPLES, ExampleReader(), found.encode()),
    ):
        windows = PartitionWindows(kind, rules, reader)
        for offset, time in enumerate((NOW, NOW, NOW + 10 * rules.span_ms)):
            for window in windows.take([PlainRecord("t", 0, offset, time, None, value)]):
                written += window.encode() + str(window).encode()
    assert b"feature:iban" in written
    assert b"31.5" in written, "what is not private is there"
    assert MARKER.encode() not in written
    assert str(NUMBER).encode() not in written
    assert str(float(NUMBER)).encode() not in written


def test_private_changes_no_hash_and_no_model() -> None:
    before, now = (
        Contract(features={"a": Feature(minimum=0)}),
        Contract(features={"a": Feature(minimum=0, private=True)}),
    )
    assert before.fingerprint() == now.fingerprint()
    assert misfit(now, before) == ""
    assert now.private == {"a"}
    with pytest.raises(ContractError, match=r"feature 'a' is \(private\), below 0"):
        now.apply({"a": -3.25})


def test_a_slice_by_the_values_of_a_private_feature_is_refused() -> None:
    features = {"iban": Feature(type="string", private=True), "amount": Feature(private=True)}
    with pytest.raises(InvalidStream, match="would show the values of a private feature"):
        Stream(name="unit", task="binary", model=Raises, features=features, slices={"account": "iban"})
    Stream(name="unit", task="binary", model=Raises, features=features, slices={"large": "amount > 1000"})


def test_masks() -> None:
    assert masked({"a": 1, "b": None, "c": 2}, {"a", "b"}) == {"a": MASK, "b": None, "c": 2}
    assert without_values("on 'x' and 2.5 in [1.0, 2.5]", {"a": "x", "v": [1.0, 2.5]}, {"a", "v"}) == (
        f"on {MASK} and {MASK} in [{MASK}, {MASK}]"
    )
    assert (
        without_any_value("prepare= raised ValueError: could not convert 'x'") == f"prepare= raised ValueError: {MASK}"
    )
    assert without_any_value("the message is empty") == f"the message is {MASK}"


@pytest.mark.parametrize("reason", ["JSON is malformed: expected ':' (byte 49)", "feature 'a' is there twice"])
def test_a_reason_without_a_value_stays_whole(reason: str) -> None:
    assert without_any_value(reason) == reason
