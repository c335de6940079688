"""A log with all kinds of holes, written anew: each record at its own offset."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from proxy import Proxy, Rule
from raw_kafka import raw_admin, raw_producer

from millstream.backup import offset_preserving_writer
from millstream.backup.offset_preserving_writer import (
    LayoutError,
    LogRecord,
    Run,
    end_open_transaction,
    runs,
    write_log,
)
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.library_names import KAFKA_PYTHON
from runtime.kafka_client.records import Partition
from runtime.kafka_client.transaction import TransactionLimits

# What writes a log: plain records, transactions that commit, transactions that abort; how many of each.
LOGS = {
    "one transaction": [("commit", 7)],
    "transactions": [("commit", 3), ("commit", 1), ("commit", 2)],
    "plain": [("plain", 12)],
    "plain at the end": [("commit", 3), ("plain", 4)],
    "plain at the beginning": [("plain", 4), ("commit", 3)],
    "aborted first": [("abort", 2), ("commit", 2)],
    "aborted alone": [("abort", 3)],
    "aborted last": [("commit", 2), ("abort", 1)],
    "two holes": [("commit", 1), ("commit", 1)],
    "everything": [
        ("plain", 2), ("commit", 2), ("abort", 4), ("abort", 1), ("commit", 1), ("plain", 1), ("commit", 5),
        ("abort", 1), ("plain", 3),
    ],
    "nothing": [],
}  # fmt: skip


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


def topic(cluster: Cluster, name: str) -> str:
    with raw_admin(cluster) as admin:
        admin.create_topics([NewTopic(name, 1, 1)], wait_for_metadata=True)
    return name


def original(cluster: Cluster, name: str, steps: list[tuple[str, int]]) -> str:
    with (
        closing(raw_producer(cluster)) as plain,
        closing(raw_producer(cluster, transactional_id=f"{name}-original")) as transactional,
    ):
        transactional.init_transactions()
        for number, (kind, count) in enumerate(steps):
            producer = plain if kind == "plain" else transactional
            if kind != "plain":
                producer.begin_transaction()
            for each in range(count):
                value = f"{kind} {number} {each}".encode()
                producer.send(name, value, b"key", [("row", b"%d" % each)], 0).get(20)
            if kind == "commit":
                producer.commit_transaction()
            elif kind == "abort":
                producer.abort_transaction()
    return name


def look(cluster: Cluster, name: str) -> tuple[int, int, list[LogRecord]]:
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, name), topic_readers.end(consumer, name)
        found = [_record(each) for each in topic_readers.between(consumer, Partition(name, 0), begin, end)]
    return begin, end, found


def _record(record: Any) -> LogRecord:
    return LogRecord(record.offset, 0, record.key, record.value, list(record.headers))


def laid_out(records: list[LogRecord], end: int) -> Iterator[Run]:
    holes = {record.offset for record in records}
    last = max((offset for offset in range(end) if offset not in holes and offset - 1 in {-1, *holes}), default=-1)
    return runs(records, end, last, most=4)


@pytest.mark.parametrize("kind", LOGS)
def test_every_record_comes_to_its_own_offset(cluster: Cluster, prefix: str, kind: str) -> None:
    source = original(cluster, topic(cluster, f"{prefix}original"), LOGS[kind])
    _, end, records = look(cluster, source)
    copy = topic(cluster, f"{prefix}copy")
    reached: list[int] = []
    write_log(cluster, copy, f"{prefix}restore", laid_out(records, end), reached.append)
    assert look(cluster, copy) == (0, end, records)
    assert reached[-1] == end


def test_a_log_that_begins_later_begins_there_again(cluster: Cluster, prefix: str) -> None:
    for number, begin in enumerate((1, 2, 3)):
        source = original(cluster, topic(cluster, f"{prefix}original-{number}"), [("commit", 3), ("commit", 2)])
        copy = topic(cluster, f"{prefix}copy-{number}")
        _delete_before(cluster, source, begin)
        _, end, records = look(cluster, source)
        write_log(cluster, copy, f"{prefix}restore", laid_out(records, end), lambda at: None)
        _delete_before(cluster, copy, begin)
        assert look(cluster, copy) == (begin, end, records)


def _delete_before(cluster: Cluster, name: str, offset: int) -> None:
    with raw_admin(cluster) as admin:
        admin.delete_records({TopicPartition(name, 0): offset})


def test_a_topic_that_is_not_empty_is_seen_at_the_first_record(cluster: Cluster, prefix: str) -> None:
    copy = original(cluster, topic(cluster, f"{prefix}copy"), [("plain", 1)])
    with pytest.raises(LayoutError, match=r"went to offset 1 .* and not to 0"):
        write_log(cluster, copy, f"{prefix}restore", laid_out([LogRecord(0, 0, None, b"x", [])], 1), lambda at: None)


HOLES = [LogRecord(offset, 0, b"key", b"value", []) for offset in (0, 3, 6)]
HASTY = TransactionLimits(request_ms=800, delivery_ms=1_000, deadline_ms=2_000, broker_ms=4_000)
NOT_LEADER = 6


@pytest.mark.parametrize(
    ("records", "said"),
    [(0, r"^ProducerFencedError: |^InvalidProducerEpochError: "), (1, r"went to offset 4 .* and not to 3")],
    ids=["fillers are next", "a record is next"],
)
def test_a_second_writer_of_the_same_name_stops_the_first(
    cluster: Cluster, prefix: str, records: int, said: str
) -> None:
    copy = topic(cluster, f"{prefix}copy")

    def overtaken() -> Iterator[Run]:
        yield Run(tuple(HOLES[:1]), 2, last=False)
        end_open_transaction(cluster, f"{prefix}restore")
        yield Run(tuple(HOLES[1 : 1 + records]), 3, last=True)

    with pytest.raises(LayoutError, match=said):
        write_log(cluster, copy, f"{prefix}restore", overtaken(), lambda at: None)
    assert [record.offset for record in look(cluster, copy)[2]] == [0, 4][: 1 + records]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda proxy: proxy.drop_requests("EndTxn", times=None),
        lambda proxy: proxy.fail("Produce", NOT_LEADER, times=None, when=is_transactional),
    ],
    ids=["the end of a transaction", "a filler"],
)
def test_a_writer_that_the_broker_does_not_serve_says_so(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[Proxy], Rule]
) -> None:
    monkeypatch.setattr(offset_preserving_writer, "_LIMITS", HASTY)
    copy = topic(cluster, f"{prefix}copy")
    with Proxy(cluster.bootstrap) as proxy:
        broken = break_it(proxy)
        # Which of the two depends on whether the client has time for another attempt.
        with pytest.raises(LayoutError, match=r"^(Kafka\w*|NotLeaderForPartition)Error: "):
            write_log(Cluster(proxy.bootstrap), copy, f"{prefix}restore", laid_out(HOLES, 8), lambda at: None)
        assert broken.applied > 0
        proxy.clear()
        wait_for_abandoned()


def is_transactional(request: Any) -> bool:
    return bool(request.transactional_id)


@pytest.mark.client(KAFKA_PYTHON)
def test_an_end_of_a_transaction_that_never_returns_is_given_up(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(offset_preserving_writer, "_LIMITS", HASTY)
    monkeypatch.setattr(KafkaProducer, "abort_transaction", lambda self: released.wait())
    with pytest.raises(LayoutError, match=r"^no answer from Kafka within 2 s$"):
        write_log(cluster, topic(cluster, f"{prefix}copy"), f"{prefix}restore", laid_out(HOLES, 8), lambda at: None)
    released.set()
    wait_for_abandoned()


def wait_for_abandoned() -> None:
    for thread in threading.enumerate():
        if thread.name in {"abandon-producer", "transaction"}:
            thread.join(10)
            assert not thread.is_alive()
