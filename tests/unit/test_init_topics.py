"""The stream file that `init` writes of live topics: what is guessed of them, and that it reads them as it stands."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_init_file import require_clean
from user_files import forgetful

from millstream.check.check import check
from millstream.scaffold.infer_topics import CannotInfer, FoundTopics, infer_topics
from millstream.scaffold.sample_topic import NoMessages, taken_apart
from millstream.scaffold.write_stream_file import init
from millstream.stream.load import LoadedStream, load_stream
from schemas.events import Event, Label
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.sources.label_mapping import LabelMapping

__all__ = ["forgetful"]

NOW = 1_700_000_000_000


class Message(NamedTuple):
    """A record, as far as it is looked at."""

    value: bytes
    offset: int
    topic: str = "payments"
    partition: int = 0
    timestamp: int = NOW
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def messages(rows: list[Any]) -> list[Any]:
    return [Message(json.dumps(row).encode(), number) for number, row in enumerate(rows)]


def payments(count: int = 100) -> list[Any]:
    rng = random.Random(3)
    return [
        {
            "payment": {
                "id": f"p-{number}",
                "amount": rng.randrange(1, 10_000) / 100,
                "card": {"country": rng.choice(["DE", "FR", "IT"]), "number": f"{rng.randrange(10**12):012}"},
            },
            "customer_id": rng.randrange(10**6),
            "created_at": f"2024-05-06T07:{number % 60:02}:00Z",
            "tags": ["a", "b"],
            "pixels": [0.5, number],
            "http.method": "GET",
            "note": None,
        }
        for number in range(count)
    ]


def chargebacks(count: int = 40, status: tuple[str, ...] = ("fraud", "fine")) -> list[Any]:
    return [
        {
            "ref": f"p-{number}",
            "booked_at": NOW + number,
            "status": status[number % len(status)],
            "amount": 1.5 * number,
        }
        for number in range(count)
    ]


def looked(events: list[Any], labels: list[Any] | None = None, **named: str) -> FoundTopics:
    sample = taken_apart("payments", messages(events), None)
    return infer_topics(sample, None if labels is None else taken_apart("chargebacks", messages(labels), None), **named)


def written(folder: Path, found: FoundTopics) -> LoadedStream:
    path = init("fraud", folder, topics=found)
    require_clean(path)
    loaded = load_stream(str(path))
    assert check(loaded, 80).errors == ()
    return loaded


def test_two_topics_become_a_stream_that_reads_them(tmp_path: Path) -> None:
    loaded = written(tmp_path, looked(payments(), chargebacks()))
    stream, source = loaded.stream, loaded.stream.features_source
    assert source is not None
    assert (source.topic, source.format, source.id, source.time) == ("payments", "json", "payment.id", "created_at")
    assert dict(source.fields) == {
        name: name for name in ("payment.amount", "payment.card.country", "pixels", "`http.method`")
    }
    text = loaded.path.read_text()
    for path, why in (
        ("tags", "a list"),
        ("payment.card.number", "100 different texts"),
        ("customer_id", "different n"),
    ):
        assert f'# Left out: "{path}" ({why}' if why != "different n" else f'# Left out: "{path}"' in text
    event = EventMapping(source, decoder(source)).event(messages(payments())[7])
    assert event.event_id == "p-7"
    assert stream.contract.apply(event.features) == event.features
    (labels,) = stream.labels.each_source
    assert (labels.topic, labels.id, labels.value, labels.time) == (
        "chargebacks",
        "ref",
        "status == 'fraud'",
        "booked_at",
    )
    mapping = LabelMapping(labels, decoder(labels))
    assert [mapping.label(each) for each in messages(chargebacks(2))] == [
        Label("p-0", True, NOW),
        Label("p-1", False, NOW + 1),
    ]
    assert "40 of the newest 40 labels are of events" in text


def test_labels_of_one_kind_only_are_said_to_be_that(tmp_path: Path) -> None:
    loaded = written(tmp_path, looked(payments(), chargebacks(status=("charged",))))
    (labels,) = loaded.stream.labels.each_source
    assert labels.value == "status == 'charged'"
    assert "case: on_timeout=False above learns it so" in loaded.path.read_text()


def test_labels_of_other_events_are_guessed_by_name_and_marked(tmp_path: Path) -> None:
    later = [{**row, "ref": f"q{number}"} for number, row in enumerate(chargebacks())]
    loaded = written(tmp_path, looked(payments(), later))
    assert loaded.stream.labels.each_source[0].id == "ref"
    assert "# Check this: none of the newest labels" in loaded.path.read_text()


def test_an_id_that_a_few_messages_lack_or_repeat_is_one(tmp_path: Path) -> None:
    rows = [*payments(), payments()[3]]
    del rows[7]["payment"]["id"]
    labels = [*chargebacks(), {"status": "fraud"}]
    for found in (looked(rows), looked(rows, labels)):
        assert (found.id, found.id_lacks, found.doubts()) == ("payment.id", (1, 1), [])
    assert written(tmp_path, found).stream.features_source is not None
    text = (tmp_path / "fraud.py").read_text()
    assert "# Of the newest 101 messages, 1 lack it and 1 came again." in text
    often = [{**row, "payment": {**row["payment"], "id": f"p-{number % 80}"}} for number, row in enumerate(payments())]
    assert looked(often).id != "payment.id"


def test_what_is_called_like_no_id_is_one_where_most_labels_name_it() -> None:
    rows = [{"nr": f"n{number}", "x": number / 2} for number in range(100)]
    assert looked(rows).id is None
    labels = [{"event_id": f"n{number}", "status": "fraud"} for number in range(10)]
    assert looked(rows, labels).id == "nr"
    assert looked(rows, [{**each, "event_id": f"m{number}"} for number, each in enumerate(labels)]).id is None


@pytest.mark.parametrize(
    ("row", "time"),
    [
        ({"payment": {"at": "2024-05-06T07:00:00Z"}}, "payment.at"),
        ({"expiry": "2024-05-06 07:00", "payment": {"at": NOW}}, "payment.at"),
        ({"seen": "2024-05-06T07:00:00Z", "made_at": "2024-05-06"}, "made_at"),
        ({"seen": "2024-05-06T07:00:00+02:00", "x": NOW}, "seen"),
        ({"date": 17, "ean": "1234567890123", "born": "1999-05-06"}, None),
    ],
)
def test_the_time_is_what_holds_times_and_by_its_name_the_likeliest(row: dict[str, Any], time: str | None) -> None:
    assert looked([{"id": f"e{number}", **row} for number in range(40)]).time == time


def test_what_only_some_messages_have_is_not_their_time() -> None:
    rows = [{"id": f"e{number}", "seen": "2024-05-06T07:00Z", "y": 1} for number in range(40)]
    found = looked([{**row, **({"refunded_at": NOW} if row["id"] < "e3" else {})} for row in rows])
    assert (found.time, found.left_out["refunded_at"]) == ("seen", "a time")


def test_what_would_learn_nothing_is_said_aloud() -> None:
    (said,) = looked([{"x": number} for number in range(50)]).doubts()
    assert said.startswith("nothing in the messages of payments looks like an id")
    later = [{**row, "ref": f"q{number}"} for number, row in enumerate(chargebacks())]
    (said,) = looked(payments(), later).doubts()
    assert said.startswith("none of the newest 40 labels of chargebacks (ref) belongs to one of the newest 100")


@pytest.mark.parametrize(
    ("label", "values", "task"),
    [
        ("is_bad", [True, False], "binary"),
        ("kind", ["a", "b", "c"], "multiclass"),
        ("price", [number / 7 for number in range(40)], "regression"),
        ("class", ["yes", "no"], "binary"),
    ],
)
def test_the_task_is_what_the_labels_look_like(tmp_path: Path, label: str, values: list[Any], task: str) -> None:
    rows = [{"id": f"p-{number}", label: values[number % len(values)]} for number in range(40)]
    loaded = written(tmp_path, looked(payments(), rows))
    assert loaded.stream.task == task
    (source,) = loaded.stream.labels.each_source
    found = LabelMapping(source, decoder(source)).label(messages(rows)[0])
    assert found is not None
    assert loaded.stream.target.coerce(found.value) is not None  # type: ignore[arg-type]


def test_one_value_of_another_kind_changes_no_contract(tmp_path: Path) -> None:
    rows = [{"id": number, "x": number / 2, "y": "a b"} for number in range(50)]
    rows[7]["x"], rows[8]["y"] = "much", 5
    contract = written(tmp_path, looked(rows)).stream.contract
    assert {name: feature.type for name, feature in contract.features.items()} == {"x": "number", "y": "string"}


def test_events_alone_and_without_an_id(tmp_path: Path) -> None:
    loaded = written(tmp_path, looked([{"x": number % 3, "y": 0.5} for number in range(50)]))
    source = loaded.stream.features_source
    assert source is not None
    assert (source.id, source.time, set(source.fields)) == (None, None, {"x", "y"})


def test_what_is_named_is_not_guessed_and_must_be_there(tmp_path: Path) -> None:
    found = looked(payments(), chargebacks(), id="payment.card.number", label="amount", time="created_at")
    assert (found.id, found.labels and found.labels.value, found.inferred.task) == (
        "payment.card.number",
        "amount",
        "regression",
    )
    for named in ({"id": "nothing"}, {"label": "nothing"}, {"time": "nothing"}):
        with pytest.raises(CannotInfer, match=r"no message of \w+ has a 'nothing'; they have: "):
            looked(payments(), chargebacks(), **named)


def test_a_time_that_is_named_must_hold_times() -> None:
    rows = payments()
    assert looked(rows, time="customer_id").time == "customer_id", "any whole number may be ms since 1970"
    with pytest.raises(CannotInfer, match=r"'payment.id' holds no times in 100 of 100 messages .* is 'p-0': neither"):
        looked(rows, time="payment.id")
    with pytest.raises(CannotInfer, match=r"'note' holds no times .*: it is null everywhere"):
        looked(rows, time="note")
    rows[7]["created_at"] = "yesterday"
    assert looked(rows, time="created_at").time == "created_at"


def test_forms_are_told_and_what_cannot_be_read_is_counted() -> None:
    ours = [Message(Event(f"e{number}", NOW, {"x": 0.5}).encode(), number) for number in range(5)]
    assert taken_apart("t", list(ours), None).format == "avro"  # type: ignore[arg-type]
    mixed = [*ours, Message(b'{"a": 1}', 5), Message(b"\xff", 6), Message(b"[1]", 7)]
    sample = taken_apart("t", list(mixed), None)  # type: ignore[arg-type]
    assert sample.format == "auto"
    assert sample.unreadable[0] == 2
    assert sample.unreadable[1].startswith("not JSON")
    for records, said in (
        ([], "no messages"),
        ([Message(b"\xff", 0)], "none of the newest 1 messages of t can be read"),
    ):
        with pytest.raises(NoMessages, match=said):
            taken_apart("t", records, None)  # type: ignore[arg-type]
