"""Every feature event gets exactly one answer, whatever is in it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from river import linear_model, preprocessing

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import LogRefused, short_ids
from consumers.loop.processor import Assignment
from consumers.model.river_model import wrap
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas import codec
from schemas.contract import Contract, Feature
from schemas.dead_letters import read_dead_letter
from schemas.event_times import read_event_time
from schemas.events import Event, Label, Prediction, read_prediction
from schemas.topics import Names, partition_of

NAMES = Names("unit")
FEATURES = NAMES.topic("features")
NOW = 1_700_000_000_000


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    topic: str = FEATURES
    partition: int = 0
    offset: int = 5
    timestamp: int = NOW
    headers: tuple[tuple[str, bytes], ...] = (("trace", b"1"),)


class OneVersion:
    def __init__(self, served: ServedVersion | None) -> None:
        self.served = served

    def newest(self) -> ServedVersion | None:
        return self.served


def served(examples: int = 7) -> ServedVersion:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number in [*range(10)] * 50:
        model.learn_one({"x": float(number)}, number > 5)
    return ServedVersion(wrap(model, "binary"), "unit", 1, examples, NOW, None)


def answer(record: Sent, contract: Contract | None = None) -> tuple[Prediction, list[Output]]:
    versions = OneVersion(served())
    predictor = Predictor(PredictorSettings(NAMES, contract or Contract(), 4), versions, clock=lambda: NOW)
    place = Partition(FEATURES, 0)
    predictor.assigned(Assignment({place: None}, {place: 0}, {place: 9}, {FEATURES: "id"}))
    predictor.tick(NOW)
    outputs = predictor.process({place: [record]})
    predictions = [output for output in outputs if output.topic == NAMES.topic("predictions")]
    assert len(predictions) == 1
    return read_prediction(predictions[0].value or b""), outputs


def event(**features: Any) -> bytes:
    return Event("e1", NOW, features).encode()


def test_an_answer_carries_features_version_place_and_probabilities() -> None:
    prediction, outputs = answer(Sent(event(x=9.0)))
    assert prediction.event == Event("e1", NOW, {"x": 9.0})
    outcome = prediction.outcome
    assert (outcome.prediction, outcome.version, outcome.status, outcome.role) == (True, "1/7", "ok", "serving")
    assert (outcome.source_topic, outcome.source_partition, outcome.source_offset) == (FEATURES, 0, 5)
    assert outcome.probabilities is not None
    assert math.isclose(sum(outcome.probabilities.values()), 1.0)
    assert [output.partition for output in outputs] == [partition_of("e1", 4)]


def test_what_is_missing_is_dropped_and_the_features_as_used_are_told() -> None:
    prediction, _ = answer(Sent(event(x=9.0, y=None, z=math.nan)))
    assert prediction.event.features == {"x": 9.0}


def test_json_is_an_event_too() -> None:
    prediction, _ = answer(Sent(b'{"event_id": "j", "features": {"x": 2}}'))
    assert (prediction.event.event_id, prediction.event.event_time, prediction.outcome.status) == ("j", NOW, "ok")


BOUNDED = Contract(features={"x": Feature(type="number", minimum=0, maximum=100, required=True)}, missing="refuse")
POISON = {
    "truncated": (event(x=1.0)[:-3], Contract(), "codec"),
    "unknown schema": (b"\xc3\x01" + b"\x07" * 8 + event(x=1.0)[10:], Contract(), "codec"),
    "a label instead": (Label("e1", True, NOW).encode(), Contract(), "codec"),
    "left-over bytes": (event(x=1.0) + b"\0", Contract(), "codec"),
    "empty": (b"", Contract(), "codec"),
    "null": (None, Contract(), "codec"),
    "bad UTF-8": (codec.EVENT.header + b"\x04\xff\xfe" + event(x=1.0)[13:], Contract(), "codec"),
    "broken JSON": (b'{"event_id": "e1"', Contract(), "codec"),
    "wrong type": (event(x="text"), BOUNDED, "type"),
    "missing where refused": (event(x=math.nan), BOUNDED, "missing"),
    "absent where required": (event(y=1.0), BOUNDED, "missing"),
    "infinity": (event(x=math.inf), Contract(), "infinite"),
    "minus infinity": (event(x=-math.inf), Contract(), "infinite"),
    "1e308 in a bounded feature": (event(x=1e308), BOUNDED, "range"),
    "5,000 features": (event(**{f"f{n}": 1.0 for n in range(5000)}), Contract(), "size"),
    "a name of 10 kB": (event(**{"n" * 10_000: 1.0}), Contract(), "size"),
    "negative time": (Event("e1", -1, {"x": 1.0}).encode(), Contract(), "time"),
    "time in the far future": (Event("e1", NOW + 10**10, {"x": 1.0}).encode(), Contract(), "time"),
    "empty id": (Event("", NOW, {"x": 1.0}).encode(), Contract(), "id"),
    "endless id": (Event("i" * 5000, NOW, {"x": 1.0}).encode(), Contract(), "id"),
    "what the model refuses": (event(x="text"), Contract(), "model"),
}


@pytest.mark.parametrize("what", POISON)
def test_poison_gets_an_error_for_an_answer_and_a_dead_letter_with_its_bytes(what: str) -> None:
    value, contract, code = POISON[what]
    prediction, outputs = answer(Sent(value, key=b"k1"), contract)
    outcome = prediction.outcome
    assert outcome.status == "error"
    assert outcome.error is not None
    assert outcome.error.code == code
    assert outcome.prediction is None
    letters = [output for output in outputs if output.topic == NAMES.topic("dead-letters")]
    letter = read_dead_letter(letters[0].value or b"")
    assert (letter.value, letter.key, letter.offset, letter.code) == (value, b"k1", 5, code)
    assert letter.headers == [("trace", b"1")]
    assert letter.reason
    readable = what in ("negative time", "time in the far future") or code not in ("codec", "id")
    assert prediction.event.event_id == ("e1" if readable else "k1")


MB = 1 << 20
LARGE = {
    "in Avro": event(**{f"part{number}": bytes(MB - 1) for number in range(20)}),
    "in JSON that grows": b'{"event_id": "e1", "features": {"x": [' + b"1," * (2 * MB) + b"1]}}",
    "no event at all": bytes(20 * MB),
}


def test_what_is_refused_for_its_size_is_told_the_limit_that_it_is_over() -> None:
    prediction, _ = answer(Sent(bytes(25 * MB)))
    assert prediction.outcome.error is not None
    assert prediction.outcome.error.message == f"the event has {25 * MB} bytes; at most {24 * MB} are read"


@pytest.mark.parametrize("what", LARGE)
def test_what_no_topic_could_take_is_refused_and_its_letter_names_the_place_and_keeps_the_beginning(what: str) -> None:
    """Compressed, 20 MB of zeros pass a broker's limit of 1 MB; nothing that is made of it may be larger than 8."""
    value = LARGE[what]
    sent = Sent(value, key=bytes(2 * MB), headers=(("trace", bytes(2 * MB)),))
    prediction, outputs = answer(sent)
    assert prediction.outcome.error is not None
    assert prediction.outcome.error.code in ("size", "codec", "model")
    assert all(len(output.key or b"") + len(output.value or b"") < 8 * MB for output in outputs)
    letters = [output for output in outputs if output.topic == NAMES.topic("dead-letters")]
    letter = read_dead_letter(letters[0].value or b"")
    assert letter.value is not None
    assert value.startswith(letter.value)
    assert (letter.topic, letter.partition, letter.offset) == (FEATURES, 0, 5)
    assert f"{len(value)} bytes" in letter.reason or letter.value == value


def test_an_event_of_5_mb_is_answered() -> None:
    prediction, outputs = answer(Sent(event(x=1.0, **{f"part{number}": bytes(MB - 1) for number in range(5)})))
    assert prediction.outcome.status == "ok"
    assert len(outputs) == 1


def test_an_event_without_a_name_or_key_is_named_after_its_place() -> None:
    prediction, _ = answer(Sent(b"\xff\xff", key=b"\xff"))
    assert prediction.event.event_id == f"{FEATURES}-0-5"


def test_a_sender_whose_clock_is_an_hour_ahead_is_answered() -> None:
    prediction, _ = answer(Sent(Event("e1", NOW + 61 * 60_000, {"x": 1.0}).encode()))
    assert prediction.outcome.status == "ok"


def test_without_a_version_nothing_is_read_and_the_swap_is_between_two_events() -> None:
    versions = OneVersion(None)
    predictor = Predictor(PredictorSettings(NAMES, Contract(), 4), versions, clock=lambda: NOW)
    place = Partition(FEATURES, 0)
    predictor.assigned(Assignment({place: None}, {place: 0}, {place: 9}, {FEATURES: "id"}))
    predictor.tick(NOW)
    assert predictor.paused() == {place}
    topic = f'"t":"{short_ids("id")}","gone":0,"begun":0,"spread":4'
    assert predictor.places({place: 5})[place].metadata == f'{{"v":null,{topic}}}'
    told = []
    for examples in (7, 8):
        versions.served = served(examples)
        predictor.tick(NOW)
        assert predictor.paused() == frozenset()
        for output in predictor.process({place: [Sent(event(x=1.0))]}):
            told.append(read_prediction(output.value or b"").outcome.version)
    assert told == ["1/7", "1/8"]
    serving = f'"v":"1/8","at":{NOW},"delay":null,"m":"unit"'
    assert predictor.places({place: 6})[place].metadata == f"{{{serving},{topic}}}"


def test_an_untrained_model_that_raises_has_no_prediction_yet() -> None:
    model = preprocessing.MinMaxScaler() | linear_model.LogisticRegression()
    versions = OneVersion(ServedVersion(wrap(model, "binary"), "unit", 1, 0, NOW, None))
    predictor = Predictor(PredictorSettings(NAMES, Contract(), 4), versions, clock=lambda: NOW)
    place = Partition(FEATURES, 0)
    predictor.assigned(Assignment({place: None}, {place: 0}, {place: 9}, {FEATURES: "id"}))
    predictor.tick(NOW)
    outputs = predictor.process({place: [Sent(event(x=1.0))]})
    outcome = read_prediction(outputs[0].value or b"").outcome
    assert (len(outputs), outcome.status, outcome.prediction) == (1, "ok", None)


def taken_over(
    memory: TopicMemory, committed: dict[int, CommittedOffset | None], new_epoch: bool = False
) -> dict[int, int]:
    """Return where each partition is begun, of a topic that holds 10 to 90."""
    predictor = Predictor(
        PredictorSettings(NAMES, Contract(), 4, new_epoch), OneVersion(served()), memory=memory, say=lambda _: None
    )
    places = {Partition(FEATURES, number): place for number, place in committed.items()}
    starts = predictor.assigned(
        Assignment(places, dict.fromkeys(places, 10), dict.fromkeys(places, 90), {FEATURES: "id"})
    )
    return {partition.partition: start.live for partition, start in starts.items()}


def remembering(places: dict[int, int], topic_id: str = "id") -> TopicMemory:
    memory = TopicMemory()
    memory.remember(FEATURES, short_ids(topic_id), places)
    return memory


def test_a_place_that_kafka_has_forgotten_is_not_taken_for_a_first_start() -> None:
    with pytest.raises(LogRefused, match=r"forgotten the place .*unit.features\[0\].* it was 40") as caught:
        taken_over(remembering({0: 40}), {0: None})
    assert [fault.state for fault in caught.value.faults] == ["forgotten"]
    assert "`millstream predictor STREAM --new-epoch fresh`" in str(caught.value)


@pytest.mark.parametrize(("was", "onward"), [(40, 40), (4, 10), (99, 90)])
def test_told_to_go_on_it_goes_on_at_the_place_that_was_written_down(was: int, onward: int) -> None:
    assert taken_over(remembering({0: was}), {0: None}, new_epoch=True) == {0: onward}


def test_a_partition_nobody_committed_in_and_one_that_kafka_knows_are_begun_as_ever() -> None:
    assert taken_over(TopicMemory(), {0: None, 1: None}) == {0: 10, 1: 10}
    note = f'{{"t": "{short_ids("id")}"}}'
    # Partition 1 was added; in 0 somebody has moved the place on purpose.
    assert taken_over(remembering({0: 40}), {0: CommittedOffset(20, note), 1: None}) == {0: 20, 1: 10}


def test_a_prediction_has_its_events_time_on_the_broker_in_a_header_and_the_headers_of_the_event() -> None:
    _, outputs = answer(Sent(Event("e1", NOW - 70_000, {"x": 9.0}).encode(), timestamp=NOW - 7))
    assert outputs[0].headers == [("trace", b"1"), ("millstream-event-time", b"%d 1" % (NOW - 7))]
    assert "millstream-event-time" not in [name for each in outputs[1:] for name, _ in each.headers]


def test_of_many_events_that_are_read_at_once_a_few_stand_for_all() -> None:
    predictor = Predictor(PredictorSettings(NAMES, Contract(), 4), OneVersion(served()), clock=lambda: NOW)
    place = Partition(FEATURES, 0)
    predictor.assigned(Assignment({place: None}, {place: 0}, {place: 9}, {FEATURES: "id"}))
    predictor.tick(NOW)
    sent = [Sent(event(x=1.0) if number % 3 else b"", offset=number, headers=()) for number in range(1000)]
    outputs = predictor.process({place: sent})
    whole = [output for output in outputs if output.topic == NAMES.topic("predictions")]
    told = [found for each in whole if (found := read_event_time(each.headers)) is not None]
    assert (len(whole), len(told), sum(each.events for each in told)) == (1000, 16, 1000)
    assert all(output in whole for output in outputs if read_event_time(output.headers) is not None)


def test_an_event_whose_record_has_no_time_is_not_told_of() -> None:
    _, outputs = answer(Sent(event(x=9.0), timestamp=-1))
    assert outputs[0].headers == [("trace", b"1")]
