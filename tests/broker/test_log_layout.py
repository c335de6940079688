"""A log with all kinds of holes, written anew: each record at its own offset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import NewTopic
from raw_kafka import raw_admin, raw_producer

from millstream.backup.offset_preserving_writer import LayoutError, LogRecord, Run, runs, write_log
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition

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
