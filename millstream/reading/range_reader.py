"""Reader of a range of a topic: committed records, each partition in order, up to the range's end."""

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
    """Retention has deleted records to be read; written records stay, and the message gives the next step."""


class RangeReader:
    """Reads committed records of some partitions in order, each from an offset to an end.

    Parameters
    ----------
    places, ends
        The next offset to read and the end offset (excluded), by partition.
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
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()

    def as_it_comes(self, stop: Event, most: int) -> Iterator[list[Record]]:
        """Yield records in pieces of at most `most`, in any order of partitions."""
        while self._open and not stop.is_set():
            yield [record for records in self._poll(most).values() for record in records]

    def by_time(self, stop: Event) -> Iterator[Record]:
        """Yield records of all partitions in the order of their times, without changing the order in a partition."""
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
        """Return the next records; partitions that are read to their ends are paused."""
        assert self._consumer is not None  # noqa: S101 - with open partitions there is a consumer
        asked = time.monotonic()
        try:
            found = self._consumer.poll(timeout_ms=_POLL_MS, max_records=most)
        except OffsetOutOfRangeError as error:
            raise Overtaken(
                "retention has taken what comes next; run the same command again to see the choices"
            ) from error
        # Only the time of polls counts, because a rate limit may wait for hours between two polls.
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
        """Pause partitions read to their end: the last record shows it, or the position if markers follow."""
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
