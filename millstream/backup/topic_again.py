"""Restored records of a topic whose offsets do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Final

from millstream.backup.backup import BackupError
from millstream.backup.offset_preserving_writer import LogRecord
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition

_ACKNOWLEDGED_S: Final = 30.0
_TOGETHER: Final = 100


def written(cluster: Cluster, topic: str, wanted: Sequence[LogRecord]) -> int:
    """Return how many records the topic holds: those of an interrupted restore, or all and later ones.

    Raises
    ------
    BackupError
        If it holds other records than those.
    """
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        there = [record.value for record in topic_readers.between(consumer, Partition(topic, 0), begin, end)]
    if there[: len(wanted)] != [record.value for record in wanted[: len(there)]]:
        raise BackupError(f"{topic} holds records that are not of the backup: delete that topic, then restore again")
    return len(there)


def write(cluster: Cluster, topic: str, records: Sequence[LogRecord]) -> None:
    """Write records to partition 0 of a topic, in order."""
    limits = {"request_timeout_ms": 5_000, "delivery_timeout_ms": 20_000}
    with closing(cluster.producer(acks="all", enable_idempotence=True, **limits)) as producer:
        for first in range(0, len(records), _TOGETHER):
            sent = [
                producer.send(topic, record.value, record.key, record.headers, 0)
                for record in records[first : first + _TOGETHER]
            ]
            for each in sent:
                each.get(_ACKNOWLEDGED_S)
