"""Answers to messages of others: one each, with their headers, keyed as they were, and in the form that others read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from river import linear_model
from unit.test_predictor import OneVersion, served

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment
from consumers.predictor.prediction_records import FEATURES_DROPPED, HEADERS_DROPPED, WHOLE, Form, passed_on
from consumers.predictor.predictor import Predictor, PredictorSettings
from millstream.embedded_kafka.server_properties import free_port
from millstream.processes.roles import say_unmapped
from millstream.stream.processor_rules import predictor_settings
from millstream.stream.stream import Stream
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.cluster import TopicInfo
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.codec import CodecError
from schemas.contract import Contract, Feature
from schemas.dead_letters import read_dead_letter
from schemas.event_times import EVENT_TIME, EventTime
from schemas.events import Event, Prediction, read_prediction
from schemas.public_predictions import encoder
from schemas.schema_registry import Registry, RegistryError, RegistrySettings
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.sources.source import Source
from schemas.topics import Names, partition_of

NOW = 1_700_000_000_000
TOPIC = "shop.payments"
PLACE = Partition(TOPIC, 0)


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None = b"customer-7"
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = TOPIC
    partition: int = 0
    offset: int = 5
    timestamp: int = NOW


def predictor(
    source: Source | None = None, form: Form = WHOLE, memory: TopicMemory | None = None, **more: Any
) -> Predictor:
    source = source or Source(topic=TOPIC, id="id")
    names = Names("unit", elsewhere={"features": TOPIC}, public=form.encode is not None)
    settings = PredictorSettings(
        names,
        more.pop("contract", Contract()),
        4,
        mapping=EventMapping(source, decoder(source)),
        form=form,
        tell_times=more.pop("tell_times", False),
        **more,
    )
    return Predictor(settings, OneVersion(served()), clock=lambda: NOW, say=lambda line: None, memory=memory)


def answers(record: Sent, source: Source | None = None, form: Form = WHOLE, **more: Any) -> dict[str, Output]:
    """Return what is sent for a record, by the kind of the topic."""
    made = predictor(source, form, **more)
    made.assigned(Assignment({PLACE: None}, {PLACE: 0}, {PLACE: 9}, {TOPIC: "id"}))
    made.tick(NOW)
    outputs = made.process({PLACE: [record]})
    assert all(type(output.headers) is list or not output.headers for output in outputs)  # the client takes no other
    return {output.topic.removeprefix("unit."): output for output in outputs}


def answered(record: Sent, source: Source | None = None, **more: Any) -> Prediction:
    return read_prediction(answers(record, source, **more)["predictions"].value or b"")


def test_what_can_be_no_feature_is_advice_and_a_registry_without_an_answer_keeps_nobody_from_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream(
        name="unit", task="binary", model=linear_model.LogisticRegression, features=Source(topic=TOPIC, id="id")
    )
    names = Names("unit", elsewhere={"features": TOPIC})
    topics = {topic: TopicInfo("id", 4) for topic in (names.whole, names.topic("predictions"))}
    nowhere = Registry(RegistrySettings((f"http://127.0.0.1:{free_port()}",), patience_s=0))
    with caplog.at_level("INFO"):
        assert predictor_settings(stream, names, topics, registry=nowhere).mapping is not None
        say_unmapped(Source(topic=TOPIC, id="id"), nowhere)
    (line,) = caplog.messages
    assert line.startswith(
        f"{TOPIC}: unknown which fields cannot be features: the schema registry at http://127.0.0.1:"
    )


# --- reading -----------------------------------------------------------------------------------------


def test_a_message_of_others_is_answered_with_its_place_and_the_features_as_used() -> None:
    found = answered(Sent(b'{"id": "p1", "pay": {"x": 9, "y": null}}'))
    assert found.event == Event("p1", NOW, {"pay.x": 9}, "customer-7")
    assert found.outcome.status == "ok"
    assert (found.outcome.source_topic, found.outcome.source_offset) == (TOPIC, 5)


def test_what_prepare_returns_goes_through_the_contract() -> None:
    contract = Contract(features={"x": Feature(type="number", maximum=5)})
    source = Source(topic=TOPIC, id="id", prepare=lambda message: {"x": message["x"] * 2, "secret": "s"})
    assert answered(Sent(b'{"id": "p", "x": 2}'), source, contract=contract).event.features == {"x": 4}
    error = answered(Sent(b'{"id": "p", "x": 3}'), source, contract=contract).outcome.error
    assert error is not None
    assert error.code == "range"


def _raises(message: Mapping[str, Any]) -> Mapping[str, Any]:
    raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("value", "source", "code", "event_id"),
    [
        (b'{"id": "p1", "x": 1}', Source(topic=TOPIC, id="id", prepare=_raises), "prepare", "p1"),
        (b'{"id": "p1", "x": 1}', Source(topic=TOPIC, id="id", prepare=lambda message: None), "prepare", "p1"),
        (b'{"id": "p1", "x": [{"y": 1}]}', None, "path", "p1"),
        (b'{"id": "p1", "x": 1, "t": "soon"}', Source(topic=TOPIC, id="id", time="t"), "time", "p1"),
        (b'{"id": "p1", "x": 1, "t": -5}', Source(topic=TOPIC, id="id", time="t"), "time", "p1"),
        (b'{"id": "p1", "x": 1, "t": 9e12}', Source(topic=TOPIC, id="id", time="t"), "time", "p1"),
        (b'{"x": 1}', None, "id", f"{TOPIC}-0-5"),
        (b'{"id": "%s"}' % (b"i" * 2000), None, "id", f"{TOPIC}-0-5"),
        (b'{"id": "%s", "x": [[]]}' % (b"i" * 2000), None, "path", f"{TOPIC}-0-5"),
        (b"{", None, "codec", f"{TOPIC}-0-5"),
        (b"[1]", Source(topic=TOPIC), "codec", f"{TOPIC}-0-5"),
        (b"", None, "codec", f"{TOPIC}-0-5"),
        (None, None, "codec", f"{TOPIC}-0-5"),
        (Event("e1", NOW, {"x": 1.0}).encode()[:-3], None, "codec", f"{TOPIC}-0-5"),
    ],
)
def test_what_cannot_be_mapped_is_answered_with_an_error_and_kept_as_a_dead_letter(
    value: bytes | None, source: Source | None, code: str, event_id: str
) -> None:
    """The record's key names no event here: a customer's would stand for all of their payments."""
    sent = answers(Sent(value), source)
    found = read_prediction(sent["predictions"].value or b"")
    assert found.outcome.error is not None
    assert (found.outcome.error.code, found.event.event_id) == (code, event_id)
    letter = read_dead_letter(sent["dead-letters"].value or b"")
    assert (letter.value, letter.code, letter.key, letter.topic) == (value, code, b"customer-7", TOPIC)


def test_an_event_of_ours_on_a_topic_of_others_is_a_message_like_any() -> None:
    """Its bytes must not go on as they are: what was mapped is another event."""
    source = Source(topic=TOPIC, id="event_id", time="event_time", fields={"x": "features.x"})
    found = answered(Sent(Event("e1", NOW - 5, {"x": 2.0, "leak": 1.0}).encode()), source)
    assert found.event == Event("e1", NOW - 5, {"x": 2.0}, "customer-7")


def test_a_record_without_a_time_is_of_1970_and_one_from_a_clock_of_its_own_is_measured_by_ours() -> None:
    assert answered(Sent(b'{"id": "p", "x": 1}', timestamp=-1)).event.event_time == 0
    source = Source(topic=TOPIC, id="id", time="t")
    assert answered(Sent(b'{"id": "p", "x": 1, "t": %d}' % NOW, timestamp=-1), source).outcome.status == "ok"


@pytest.mark.parametrize(("passing", "ends"), [(True, Doubt), (False, RoleRefused)])
def test_what_a_registry_does_not_say_ends_the_role_and_no_event(passing: bool, ends: type[Exception]) -> None:
    def decode(data: bytes, headers: Any) -> Any:
        raise RegistryError("the registry is away", passing=passing)

    names = Names("unit", elsewhere={"features": TOPIC})
    mapping = EventMapping(Source(topic=TOPIC), decode)
    settings = PredictorSettings(names, Contract(), 4, mapping=mapping, tell_times=False)
    made = Predictor(settings, OneVersion(served()), clock=lambda: NOW)
    made.assigned(Assignment({PLACE: None}, {PLACE: 0}, {PLACE: 9}, {TOPIC: "id"}))
    made.tick(NOW)
    with pytest.raises(ends, match="the registry is away"):
        made.process({PLACE: [Sent(b"{}")]})


# --- where a group begins ----------------------------------------------------------------------------

OTHER = Partition(TOPIC, 1)


@pytest.mark.parametrize(
    ("start", "other", "remembered", "live"),
    [
        ("beginning", None, False, 2),
        ("end", None, False, 9),
        ("end", CommittedOffset(4, "{}"), False, 2),  # the group knows the topic: this partition is new
        ("end", None, True, 2),
    ],
)
def test_a_group_that_never_read_the_topic_begins_where_the_source_says(
    start: Any, other: CommittedOffset | None, remembered: bool, live: int
) -> None:
    memory = TopicMemory()
    if remembered:
        memory.remember(TOPIC, short_ids("id"), {})
    made = predictor(start=start, memory=memory)
    assignment = Assignment({PLACE: None, OTHER: other}, {PLACE: 2, OTHER: 2}, {PLACE: 9, OTHER: 9}, {TOPIC: "id"})
    assert made.assigned(assignment)[PLACE].live == live


@pytest.mark.parametrize(("begun", "live"), [(1, 2), (2, 9), (0, 2)])
def test_what_other_members_have_committed_counts_too(begun: int, live: int) -> None:
    """At the end begins, beside the very first, only who takes a partition that was there when the group began."""
    made = predictor(start="end")
    note = json.dumps({"t": short_ids("id"), "begun": begun})
    others = {PLACE: CommittedOffset(4, note)}
    assignment = Assignment({OTHER: None}, {OTHER: 2}, {OTHER: 9}, {TOPIC: "id"}, others=others)
    assert made.assigned(assignment)[OTHER].live == live


# --- headers -----------------------------------------------------------------------------------------


def test_headers_of_an_event_go_on_to_its_prediction_but_those_on_its_own_bytes_and_ours() -> None:
    headers = [
        ("traceparent", b"00-ab-cd-01"),
        ("tenant", b"t1"),
        ("tenant", b"t2"),
        ("ce_id", b"c1"),
        ("Content-Type", b"application/json"),
        ("__value_schema_id", b"\0\0\0\0\1"),
        ("__key_schema_id", b"\0\0\0\0\2"),
        ("millstream-headers-dropped", b"99"),
    ]
    plain = [("traceparent", b"00-ab-cd-01"), ("tenant", b"t1"), ("tenant", b"t2")]
    assert answers(Sent(b'{"id": "p", "x": 1}', headers=headers))["predictions"].headers == plain
    # Keyed as the event was, its key is still of that schema.
    assert passed_on(headers, same_key=True) == [*plain, ("__key_schema_id", b"\0\0\0\0\2")]


@pytest.mark.parametrize(("size", "fits"), [(8191, True), (8192, False)])
def test_headers_of_over_8_kib_are_dropped_and_counted(size: int, fits: bool) -> None:
    headers = [("a", b"x" * (size - 10)), ("b", b"x" * 9)]
    wanted = headers if fits else [(HEADERS_DROPPED, b"2")]
    assert passed_on(headers, same_key=False) == wanted


def test_an_error_for_an_answer_has_the_headers_too() -> None:
    assert answers(Sent(b"{", headers=[("tenant", b"t1")]))["predictions"].headers == [("tenant", b"t1")]


def test_a_prediction_is_a_cloud_event_where_that_is_asked_for() -> None:
    sent = Sent(b'{"x": 1}', headers=[("ce_id", b"c1"), ("ce_type", b"shop.paid"), ("tenant", b"t1")])
    found = answers(sent, Source(topic=TOPIC), Form(cloudevents="/fraud"))["predictions"].headers
    assert dict(found) == {
        "tenant": b"t1",
        "ce_specversion": b"1.0",
        "ce_id": b"c1",
        "ce_source": b"/fraud",
        "ce_type": b"millstream.prediction",
        "content-type": b"application/avro",
    }
    assert len(found) == 6


# --- the form for others -----------------------------------------------------------------------------


def public(**more: Any) -> Form:
    return Form(
        partitions=6, encode=encoder("json", features=False, registry=None, subject="unit.predictions-value"), **more
    )


def test_others_read_a_form_of_their_own_and_the_loop_reads_the_whole_prediction() -> None:
    sent = answers(Sent(b'{"id": "p1", "x": 9}', headers=[("tenant", b"t1")]), form=public())
    whole, theirs = sent["answers"], sent["predictions"]
    assert read_prediction(whole.value or b"").event == Event("p1", NOW, {"x": 9}, "customer-7")
    assert (whole.key, whole.partition, whole.headers) == (b"p1", partition_of("p1", 4), ())
    assert (theirs.key, theirs.partition) == (b"customer-7", hashed(b"customer-7", 6))
    assert theirs.headers == [("tenant", b"t1")]
    assert b'"p1"' in (theirs.value or b"")
    assert b'"x"' not in (theirs.value or b"")


def test_a_record_without_a_key_is_answered_for_others_under_its_event_id() -> None:
    theirs = answers(Sent(b'{"id": "p1", "x": 9}', key=None), form=public())["predictions"]
    assert (theirs.key, theirs.partition) == (b"p1", hashed(b"p1", 6))


def test_errors_reach_others_too() -> None:
    sent = answers(Sent(b"{"), form=public())
    assert sent.keys() == {"answers", "predictions", "dead-letters"}
    assert "not JSON" in json.loads(sent["predictions"].value or b"")["error"]["message"]


@pytest.mark.parametrize("large", [True, False])
def test_features_that_do_not_fit_into_the_form_are_left_out_and_a_header_says_so(large: bool) -> None:
    def encode(prediction: Prediction) -> bytes:
        if prediction.event.features and not large:
            raise CodecError("no such features in this form")
        return b"x" * (10 << 20 if prediction.event.features else 1)

    sent = answers(Sent(b'{"id": "p1", "x": 9, "y": 8}'), form=Form(partitions=6, encode=encode))
    assert sent["predictions"].value == b"x"
    assert sent["predictions"].headers == [(FEATURES_DROPPED, b"2")]
    assert read_prediction(sent["answers"].value or b"").event.features == {"x": 9, "y": 8}


def test_a_prediction_tells_when_its_event_came_and_believes_no_sender_about_it() -> None:
    """Only the whole prediction does: others read what they have asked for."""
    sent = Sent(b'{"id": "p1"}', headers=[("millstream-event-time", b"5 1")])
    assert [*answers(sent, tell_times=True)["predictions"].headers] == [EventTime(NOW, 1).header()]
    both = answers(sent, form=public(), tell_times=True)
    assert [name for name, _ in both["answers"].headers] == [EVENT_TIME]
    assert [*both["predictions"].headers] == []
