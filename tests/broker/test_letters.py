"""Dead letters go back to where they came from, once each, and only those that are meant."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import command_server
import msgspec
import pytest
from broker.commands import Run
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from consumers.loop.dead_letters import HEADERS_LEFT_OUT
from millstream.replay.dead_letters import Choice, Letters
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.partitioner import hashed
from schemas.dead_letters import DeadLetter
from schemas.topics import Names

PARTITIONS = 2


@pytest.fixture
def cluster(bootstrap: str, names: Names) -> Cluster:
    made = Cluster(bootstrap)
    admin.create(made, names, partitions=PARTITIONS, label_wait_ms=0)
    return made


def letter(names: Names, number: int, topic: str = "features", **more: Any) -> DeadLetter:
    given: dict[str, Any] = {"stage": "predictor", "code": "type", **more}
    headers = [("trace", b"\x00\xff"), ("none", None)] if number % 2 else []
    value = None if number in (3, 4) else f"v{number}".encode()
    key = None if number % 3 == 0 else f"k{number}".encode()
    full = names.topic(topic) if "." not in topic else topic
    return DeadLetter(full, number % PARTITIONS, number, 1, key, value, headers, reason="no", at=2, **given)


def put(cluster: Cluster, names: Names, *letters: DeadLetter) -> None:
    with closing(raw_producer(cluster)) as producer:
        for each in letters:
            producer.send(names.topic("dead-letters"), each.encode(), partition=0).get(10)


def content(cluster: Cluster, topic: str) -> list[tuple[Any, ...]]:
    """Return (partition, key, value, headers) of what is on a topic, in the order of keys and values."""
    found: list[tuple[Any, ...]] = []
    with closing(raw_consumer(cluster)) as consumer:
        partitions = [TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(each) < ends[each] for each in partitions):
            for each, records in consumer.poll(timeout_ms=200).items():
                found += [(each.partition, r.key, r.value, r.headers) for r in records]
    return sorted(found, key=repr)


def wanted(*letters: DeadLetter) -> list[tuple[Any, ...]]:
    """Return what is to be there; the client writes no header without a value, so those have an empty one."""
    return sorted(
        (
            (each.partition, each.key, each.value, [(name, value or b"") for name, value in each.headers])
            for each in letters
        ),
        key=repr,
    )


def test_letters_go_back_as_they_were_and_a_second_time_only_if_that_is_said(
    run: Run, cluster: Cluster, names: Names
) -> None:
    letters = [letter(names, number) for number in range(6)]
    put(cluster, names, *letters)
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told) == (0, {"sent": 6, "sent_before": 0, "kept": {}}), errors
    assert content(cluster, names.topic("features")) == wanted(*letters)
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told["sent"], told["sent_before"]) == (0, 0, 6), errors
    more = letter(names, 7)
    put(cluster, names, more)
    assert run("dead-letters", "phishing", "--replay", "--yes")[1]["sent"] == 1
    assert content(cluster, names.topic("features")) == wanted(*letters, more)
    assert run("dead-letters", "phishing", "--replay", "--yes", "--again")[1]["sent"] == 7
    assert content(cluster, names.topic("features")) == wanted(*letters, *letters, more, more)


def test_only_those_that_are_meant_go_and_it_is_asked_first(run: Run, cluster: Cluster, names: Names) -> None:
    mine, other = letter(names, 1), letter(names, 2, code="range")
    label = letter(names, 5, "labels", stage="joiner", code="label")
    put(cluster, names, mine, other, label)
    code, _, errors = run("dead-letters", "phishing", "--replay", "--reason", "range")
    assert (code, "1 letters would be sent back; say --yes" in errors) == (2, True), errors
    assert content(cluster, names.topic("features")) == []
    for words, topic, there in (
        (("--reason", "range", "--reason", "x"), "features", [other]),
        (("--stage", "joiner"), "labels", [label]),
        (("--key", "k1", "--offsets", "0-1"), "features", [mine, other]),
        (("--key", "k1", "--offsets", "1"), "features", [mine, other]),
    ):
        code, _, errors = run("dead-letters", "phishing", "--replay", "--yes", *words)
        assert code == 0, errors
        assert content(cluster, names.topic(topic)) == wanted(*there)


def test_what_must_not_or_cannot_go_back_stays_and_the_way_on_is_said(run: Run, cluster: Cluster, names: Names) -> None:
    elsewhere = f"{names.prefix}some.body"
    with raw_admin(cluster) as client:
        client.create_topics({elsewhere: {"num_partitions": 1}})
    example, foreign = letter(names, 1, "examples", stage="learner"), letter(names, 5, elsewhere)
    put(cluster, names, example, foreign, letter(names, 7, f"{names.prefix}gone.away"))
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told["sent"], sum(told["kept"].values())) == (0, 0, 3)
    assert "models rebuild" in errors
    assert "is an external topic" in errors
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes", "--elsewhere")
    assert (code, told["sent"]) == (0, 1)
    assert "there is no topic" in errors
    assert [each[1:3] for each in content(cluster, elsewhere)] == [(foreign.key, foreign.value)]


def test_what_came_over_http_goes_to_the_topic_that_takes_it_and_rows_of_uploads_stay(
    run: Run, cluster: Cluster, names: Names
) -> None:
    kinds = {"event": b'{"event_id": "k", "features": {"x": 1}}', "label": b'{"event_id": "k", "value": true}'}
    event, label, raw, row = (
        DeadLetter("http:abc", 7, number, 1, b"k", kinds.get(kind), [], "server", "range", "no", 2)
        for number, kind in enumerate(("event", "label", "raw", "row"))
    )
    raw = msgspec.structs.replace(raw, value=b"\x00\x01")
    row = msgspec.structs.replace(row, topic="upload:1-abc", stage="upload")
    put(cluster, names, event, label, raw, row)
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told["sent"]) == (0, 3), errors
    assert [why for why in told["kept"] if "upload the corrected rows" in why] == [*told["kept"]]
    right = hashed(b"k", PARTITIONS)
    assert content(cluster, names.topic("features")) == [(right, b"k", raw.value, []), (right, b"k", event.value, [])]
    assert content(cluster, names.topic("labels")) == [(right, b"k", label.value, [])]


def test_events_of_http_stay_where_an_external_topic_takes_none(cluster: Cluster, names: Names) -> None:
    external = Names(names.stream, names.prefix, {"features": f"{names.prefix}payments"})
    event = DeadLetter("http:abc", 0, 0, 1, b"k", b'{"features": {}}', [], "server", "range", "no", 2)
    put(cluster, names, event)
    with Letters(cluster, external, Choice(elsewhere=True)) as letters:
        [why] = letters.look().kept
    assert why == f"events of HTTP do not fit the external topic {names.prefix}payments: send them to a server again"


def test_notes_of_what_was_sent_are_shown_to_nobody(
    run: Run, cluster: Cluster, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    from millstream.reading import topic_readers

    put(cluster, names, letter(names, 1), letter(names, 2))
    assert run("dead-letters", "phishing", "--replay", "--yes")[1]["sent"] == 2
    assert [row["offset"] for row in topic_readers.read(cluster, names, "dead-letters")] == [0, 1]
    assert [row["offset"] for row in topic_readers.read(cluster, names, "dead-letters", last=1)] == [1]
    assert topic_readers.count(cluster, names, "dead-letters") == (2, True)


@pytest.mark.parametrize(("place", "arrived"), [("before", 0), ("after", 3)])
def test_a_run_that_is_killed_is_gone_on_with_and_each_letter_is_sent_once(
    run: Run, environment: dict[str, str], cluster: Cluster, names: Names, place: str, arrived: int
) -> None:
    letters = [letter(names, number) for number in range(3)]
    put(cluster, names, *letters)
    words = ("dead-letters", "phishing", "--replay", "--yes")
    done = command_server.run(
        *words, env={**environment, "MILLSTREAM_FAILPOINTS": f"transaction.commit.{place}=kill@1"}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, told, errors = run(*words)
    assert (code, told["sent"], told["sent_before"]) == (0, 3 - arrived, arrived), errors
    assert content(cluster, names.topic("features")) == wanted(*letters)


def test_a_letter_whose_headers_were_left_out_stays(run: Run, cluster: Cluster, names: Names) -> None:
    whole = letter(names, 1)
    put(cluster, names, msgspec.structs.replace(whole, headers=[], reason=f"no {HEADERS_LEFT_OUT}"), whole)
    code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told["sent"], sum(told["kept"].values())) == (0, 1, 1), errors
    assert "too large to be complete in their letters" in errors
    assert content(cluster, names.topic("features")) == wanted(whole)


@contextmanager
def held(cluster: Cluster, names: Names) -> Iterator[Any]:
    """Hold a transaction open on the dead letters."""
    with closing(raw_producer(cluster, transactional_id=f"{names.prefix}holder")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(names.topic("dead-letters"), b"x", partition=0).get(10)
        yield producer


def test_what_was_sent_is_known_also_where_a_transaction_of_somebody_else_held_back_the_note(
    run: Run, cluster: Cluster, names: Names
) -> None:
    put(cluster, names, letter(names, 1))
    with Letters(cluster, names, Choice()) as first, held(cluster, names) as holder:
        assert first.send() == 1
        threading.Timer(2.0, holder.abort_transaction).start()
        code, told, errors = run("dead-letters", "phishing", "--replay", "--yes")
    assert (code, told["sent"], told["sent_before"]) == (0, 0, 1), errors


def test_a_transaction_that_stays_open_is_named_and_nothing_is_sent(
    run: Run, cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.replay.dead_letters._OPEN_SECONDS", 1.0)
    put(cluster, names, letter(names, 1))
    with held(cluster, names) as holder:
        code, _, errors = run("dead-letters", "phishing", "--replay", "--yes")
        holder.abort_transaction()
    assert (code, "a transaction has been open on" in errors) == (1, True), errors
    assert content(cluster, names.topic("features")) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--replay", "--last", "3"), "leave out --follow"),
        (("--reason", "type"), "go with --replay"),
        (("--replay", "--offsets", "9-5"), "write offsets and ranges of them"),
    ],
)
def test_wrong_usage_is_named(run: Run, words: tuple[str, ...], error: str) -> None:
    code, _, errors = run("dead-letters", "phishing", *words)
    assert (code, error in errors) == (2, True), errors
