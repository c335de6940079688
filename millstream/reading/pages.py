"""Pages of a topic with one partition, from its end backwards."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from itertools import filterfalse
from typing import Final

from millstream.reading.topic_readers import ROWS, Row, between, is_note
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.records import Partition, Record
from schemas.topics import Names

MOST_BYTES: Final = 4 << 20
"""Bytes of the records of a page; a dead letter's row is three times its record."""
_BACK: Final = 3  # offsets to begin at before the end, for each record wanted: a record and its transaction's markers


def page(
    cluster: Cluster, names: Names, kind: str, *, limit: int, before: int | None = None
) -> tuple[list[Row], int | None]:
    """Return the newest rows of a topic, in its order, and the offset before which the next page ends.

    Parameters
    ----------
    kind
        ``dead-letters`` or ``alerts``.
    limit
        Most rows. A page has fewer if their records have more than `MOST_BYTES`, but never none if there are any.
    before
        Offset before which the page ends; `None` is the end of the topic.

    Returns
    -------
    tuple
        The offset is `None` if there is nothing before this page.

    Raises
    ------
    MissingTopic
        If there is no such topic.
    """
    place = Partition(names.topic(kind), 0)
    with closing(cluster.consumer(max_partition_fetch_bytes=1 << 20)) as consumer:
        if place.topic not in consumer.topics():
            raise MissingTopic(f"there is no topic {place.topic}: `millstream topics create STREAM` makes it")
        begin, end = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        end = end if before is None else min(end, before)
        back = _BACK * limit
        while True:
            start = max(begin, end - back)
            kept = _Tail(limit)
            for record in filterfalse(is_note, between(consumer, place, start, end) if start < end else ()):
                kept.add(record)
            if kept.cut or len(kept.records) == limit or start == begin:
                break
            back *= 4
    rows = [ROWS[kind](record) for record in kept.records]
    more = kept.cut or start > begin
    return rows, kept.records[0].offset if rows and more else None


class _Tail:
    """The last records of those added, within the limits. `cut` tells whether any was left out."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self.records: deque[Record] = deque()
        self.cut = False

    def add(self, record: Record) -> None:
        self.records.append(record)
        self._bytes += len(record.value or b"")
        while len(self.records) > self._limit or (self._bytes > MOST_BYTES and len(self.records) > 1):
            self._bytes -= len(self.records.popleft().value or b"")
            self.cut = True
