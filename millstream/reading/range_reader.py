"""Reads a range of a topic: what is committed, each partition in its order, and no further than its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Final

from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, OffsetOutOfRangeError
from runtime.kafka_client.records import Batch, Partition, Record

_POLL_MS: Final = 200
_SILENT_SECONDS: Final = 60.0
_MOST: Final = 5000


class Overtaken(Exception):  # noqa: N818
    """Retention has taken what is to be read; what was written stays, and the message says the way on."""


class RangeReader:
    """Committed records of some partitions, each from a place up to an end, each in order.

    Parameters
    ----------
    places, ends
        By partition: the next offset to read, and the first that is not.
    """

    def __init__(self, cluster: Cluster, topic: str, places: Mapping[int, int], ends: Mapping[int, int]) -> None:
        self._ends = {Partition(topic, each): end for each, end in ends.items() if places[each] < end}
        self._consumer: Consumer | None = None
        if self._ends:
            self._consumer = cluster.consumer(max_partition_fetch_bytes=4 << 20, max_poll_records=_MOST)
            self._consumer.assign(list(self._ends))
            for each in self._ends:
                self._consumer.seek(each, places[each.partition])
        self._open = set(self._ends)
        self._silent = 0.0

    def close(self) -> None:
        """Let go of the client."""
        if self._consumer is not None:
            self._consumer.close()

    def as_it_comes(self, stop: Event, most: int) -> Iterator[list[Record]]:
        """Yield records in pieces of at most so many, in whichever order of partitions they come."""
        while self._open and not stop.is_set():
            yield [record for records in self._poll(most).values() for record in records]

    def by_time(self, stop: Event) -> Iterator[Record]:
        """Yield records of all partitions in the order of their times, as far as each partition's order lets."""
        waiting: dict[Partition, list[Record]] = {each: [] for each in self._ends}
        while not stop.is_set():
            if any(not waiting[each] for each in self._open):
                for partition, records in self._poll(None).items():
                    waiting[partition] = [*reversed(records), *waiting[partition]]
                continue
            heads = [each for each in waiting if waiting[each]]
            if not heads:
                return
            first = min(heads, key=lambda each: (waiting[each][-1].timestamp, each.partition))
            yield waiting[first].pop()

    def _poll(self, most: int | None) -> Batch:
        """Return what comes next; partitions that are read to their ends are read no further."""
        assert self._consumer is not None  # noqa: S101 - without one nothing is open
        asked = time.monotonic()
        try:
            found = self._consumer.poll(timeout_ms=_POLL_MS, max_records=most)
        except OffsetOutOfRangeError as error:
            raise Overtaken(
                "retention has taken what comes next; the same command once more says the ways on"
            ) from error
        # Only time in which it was asked: between two polls, a pace may wait for hours.
        self._silent = 0.0 if found else self._silent + time.monotonic() - asked
        if self._silent > _SILENT_SECONDS:
            raise KafkaError(f"nothing to be read for {_SILENT_SECONDS:g} s")
        kept = {
            partition: records
            if records[-1].offset < self._ends[partition]
            else [record for record in records if record.offset < self._ends[partition]]
            for partition, records in found.items()
        }
        self._finish(found)
        return kept

    def _finish(self, found: Batch) -> None:
        """Pause what has been read to its end: the last record says so, or, behind markers, the position."""
        assert self._consumer is not None  # noqa: S101
        done = [
            each
            for each in self._open
            if (each in found and found[each][-1].offset >= self._ends[each] - 1)
            or (each not in found and self._consumer.position(each) >= self._ends[each])
        ]
        if done:
            self._consumer.pause(done)
            self._open.difference_update(done)
