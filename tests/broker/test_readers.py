"""Reading topics: in order, committed records only, to their end and no further."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from raw_kafka import raw_producer

import millstream
from consumers.loop.alerts import Alerts
from millstream.cli.app import run
from millstream.reading import topic_readers
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster, MissingTopic
from schemas.dead_letters import DeadLetter
from schemas.events import Event, Example, Failure, Joined, Label, Lane, Outcome, Prediction
from schemas.topics import DAY_MS, Names

_OUTCOME = Outcome(True, {"false": 0.25, "true": 0.75}, "clicks", 1, 20, 5, "clicks.features", 0, 7)


def _example(number: int) -> bytes:
    event = Event(f"e{number}", 1000 + number, {"x": number / 3, "b": b"\xff", "n": None})
    label = Label(event.event_id, True, 2000, weight=2.0)
    return Example(event, _OUTCOME, label, Lane("0", "ab12", number), Joined(0, 1, 2, 3, 4)).encode()


def _prediction(number: int) -> bytes:
    """Encode a Prediction: an Example's first fields are one, under another name."""
    import msgspec

    from schemas import codec

    fields = msgspec.to_builtins(Prediction(Event(f"e{number}", 1, {"x": 0.1}), _OUTCOME), builtin_types=(bytes,))
    return codec.PREDICTION.encode(fields)


@pytest.fixture
def names(bootstrap: str, prefix: str) -> Names:
    found = Names("clicks", prefix)
    admin.create(Cluster(bootstrap), found, partitions=2, label_wait_ms=DAY_MS)
    return found


def _write(cluster: Cluster, topic: str, records: list[tuple[int, bytes]], *, commit: bool = True) -> None:
    """Write records (partition, value) in one transaction."""
    with closing(raw_producer(cluster, transactional_id=f"{topic}-writer")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for partition, value in records:
            producer.send(topic, value=value, partition=partition)
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()


def test_partitions_come_one_after_the_other_each_in_its_order(bootstrap: str, names: Names) -> None:
    cluster, topic = Cluster(bootstrap), names.topic("predictions")
    for number in range(6):
        _write(cluster, topic, [(number % 2, _prediction(number))])
    rows = list(topic_readers.read(cluster, names, "predictions"))
    assert [row["event_id"] for row in rows] == ["e0", "e2", "e4", "e1", "e3", "e5"]
    assert rows[0]["prediction"] is True
    assert rows[0]["version"] == "1/20"
    assert rows[0]["probabilities"] == {"false": 0.25, "true": 0.75}
    assert [row["event_id"] for row in topic_readers.merged(rows)] == [f"e{number}" for number in range(6)]
    assert [row["event_id"] for row in topic_readers.read(cluster, names, "predictions", limit=4)] == [
        "e0",
        "e2",
        "e4",
        "e1",
    ]


def test_what_was_aborted_is_not_there_and_markers_do_not_hold_the_reader_up(bootstrap: str, names: Names) -> None:
    cluster, topic = Cluster(bootstrap), names.topic("examples")
    for number in range(5):
        _write(cluster, topic, [(0, _example(number))])
        _write(cluster, topic, [(0, _example(100 + number))], commit=False)
    assert [row["sequence"] for row in topic_readers.read(cluster, names, "examples")] == [0, 1, 2, 3, 4]
    # Two of the newest nine offsets are records that count: the reader has to go back further for three.
    assert [row["sequence"] for row in topic_readers.read(cluster, names, "examples", last=3)] == [2, 3, 4]
    assert [row["sequence"] for row in topic_readers.read(cluster, names, "examples", last=50)] == [0, 1, 2, 3, 4]


def test_an_example_shows_label_lane_and_version(bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    _write(cluster, names.topic("examples"), [(0, _example(3))])
    [row] = topic_readers.read(cluster, names, "examples")
    assert (row["label"], row["lane"], row["lane_epoch"], row["sequence"]) == (True, "0", "ab12", 3)
    assert (row["version"], row["weight"], row["kind"], row["label_source"]) == ("1/20", 2.0, "label", "system")
    assert row["features"] == {"x": 1.0, "b": b"\xff", "n": None}


def test_a_dead_letter_shows_its_bytes_place_and_reason(bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    letter = DeadLetter("t.features", 1, 9, 5, b"k", b"\xffhi", [("h", b"v")], "predictor", "codec", "broken", 6)
    _write(cluster, names.topic("dead-letters"), [(0, letter.encode())])
    [row] = topic_readers.read(cluster, names, "dead-letters")
    assert row["from"] == {"topic": "t.features", "partition": 1, "offset": 9, "timestamp": 5}
    assert (row["key"], row["value"], row["value_hex"]) == ("k", "\\xffhi", "ff6869")
    assert (row["code"], row["reason"], row["headers"]) == ("codec", "broken", [{"name": "h", "value": "v"}])


def test_dead_letters_are_counted_without_markers_and_without_what_was_aborted(
    bootstrap: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cluster, topic = Cluster(bootstrap), names.topic("dead-letters")
    letter = DeadLetter("t.features", 1, 9, 5, b"k", b"hi", [], "predictor", "codec", "broken", 6).encode()
    for _ in range(3):
        _write(cluster, topic, [(0, letter)])
    _write(cluster, topic, [(0, letter)], commit=False)
    assert topic_readers.count(cluster, names, "dead-letters") == (3, True)
    assert topic_readers.count(cluster, names, "dead-letters", most=4) == (1, False)
    assert topic_readers.count(cluster, Names("none", names.prefix), "dead-letters") == (0, True)
    where = ("--bootstrap", bootstrap, "--prefix", names.prefix, "--home", str(tmp_path))
    assert run(("status", "clicks", *where)) == 0
    assert re.search(r"^dead letters +3$", capsys.readouterr().out, re.MULTILINE)


def test_alerts_are_listed_and_those_that_stand_are_in_the_status(
    bootstrap: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    alerts = Alerts(names, lambda line: None)
    sent = alerts.raise_("learner.memory", "critical", "the model is full", 5, {"bytes": "7"})
    sent += alerts.raise_("joiner.store", "warning", "the disk is slow", 6)
    sent += alerts.clear("joiner.store", 7)
    _write(Cluster(bootstrap), names.topic("alerts"), [(0, output.value or b"") for output in sent])
    where = ("--bootstrap", bootstrap, "--prefix", names.prefix, "--home", str(tmp_path))
    assert run(("alerts", "clicks", *where)) == 0
    assert "joiner.store" in capsys.readouterr().out
    assert run(("alerts", "clicks", "--json", *where)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["state"]) for row in rows[1:]] == [
        ("joiner.store", "raised"),
        ("joiner.store", "cleared"),
    ]
    assert rows[0]["details"] == {"bytes": "7"}
    found = millstream.alerts("clicks", bootstrap=bootstrap, prefix=names.prefix, home=tmp_path)
    assert [(row.name, row.state, row.at, row.details) for row in found] == [
        (row["name"], row["state"], row["at"], row["details"]) for row in rows
    ]
    assert found.to_pandas()["name"].tolist() == [row["name"] for row in rows]
    assert run(("status", "clicks", *where)) == 0
    shown = capsys.readouterr().out
    assert "! learner.memory: the model is full" in shown
    assert "joiner.store" not in shown
    assert run(("status", "clicks", "--json", *where)) == 0
    assert [alert["name"] for alert in json.loads(capsys.readouterr().out)["raised"]] == ["learner.memory"]


def test_a_stray_record_hides_no_other(bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    _write(cluster, names.topic("examples"), [(0, b"stray"), (0, _example(0))])
    rows = list(topic_readers.read(cluster, names, "examples"))
    assert [row["event_id"] for row in rows] == [None, "e0"]
    assert rows[0]["value"] == "stray"


def test_following_shows_what_comes_after(bootstrap: str, names: Names) -> None:
    cluster, topic = Cluster(bootstrap), names.topic("examples")
    _write(cluster, topic, [(0, _example(0)), (0, _example(1))])
    rows: Iterator[dict[str, object]] = topic_readers.follow(cluster, names, "examples", last=1, limit=3)
    assert next(rows)["sequence"] == 1
    writer = threading.Thread(target=_write, args=(cluster, topic, [(0, _example(2)), (0, _example(3))]))
    writer.start()
    assert [row["sequence"] for row in rows] == [2, 3]
    writer.join()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_following_begins_with_the_newest_in_a_table_and_in_json(
    bootstrap: str, names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    _write(Cluster(bootstrap), names.topic("examples"), [(0, _example(number)) for number in range(22)])
    where = ("--bootstrap", bootstrap, "--prefix", names.prefix, "--home", str(tmp_path))
    # The limit ends it: with one that begins at the end, nothing would ever come.
    assert run(("examples", "clicks", "--follow", "--limit", "20", *form, *where)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert "e2" in lines[0]
    assert "e21" in lines[-1]


def test_a_stream_without_topics_is_named_with_the_way_out(bootstrap: str, prefix: str) -> None:
    with pytest.raises(MissingTopic, match="millstream topics create"):
        next(topic_readers.read(Cluster(bootstrap), Names("none", prefix), "examples"))


def test_the_commands_print_lines_and_tables(
    bootstrap: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--bootstrap", bootstrap, "--prefix", names.prefix, "--home", str(tmp_path))
    failed = Outcome(None, None, "clicks", -1, -1, 5, "t", 0, 1, Failure("contract", "x is no number"), status="error")
    example = Example(Event("gone", 1, {}), failed, None, Lane("0", "a", 1), None).encode()
    _write(Cluster(bootstrap), names.topic("examples"), [(0, _example(0)), (0, example)])
    assert run(("examples", "clicks", "--json", *where)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event_id"] for line in lines] == ["e0", "gone"]
    assert lines[0]["features"] == {"x": 0.0, "b": "/w==", "n": None}
    assert lines[1]["error"] == {"code": "contract", "message": "x is no number"}
    assert run(("examples", "clicks", *where)) == 0
    table = capsys.readouterr().out
    assert "contract: x is no number" in table
    assert run(("predictions", "clicks", *where)) == 0
    assert "there are no predictions" in capsys.readouterr().out


def test_a_name_that_is_nowhere_is_no_stream(
    bootstrap: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--bootstrap", bootstrap, "--prefix", names.prefix, "--home", str(tmp_path))
    for command in (("status",), ("models", "list"), ("predictions",), ("examples", "--json"), ("pause",), ("resume",)):
        assert run((*command, "nosuch", *where)) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "there is no stream 'nosuch': name its file (nosuch.py)" in said.err
    for command in ("predictions", "pause"):
        assert run((command, "phishing", *where)) == 1
        assert "`millstream topics create phishing`" in capsys.readouterr().err
    assert run(("models", "list", "clicks", *where)) == 0
    assert "there are no versions of clicks" in capsys.readouterr().out
    assert run(("status", "phishing", *where)) == 0
    assert "run `millstream topics create phishing`" in capsys.readouterr().out
