"""The decisions topic and the models topic on Kafka, for readers of what was so at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Final

from runtime.exits import Doubt
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Record
from schemas.topics import Names

_PAGE: Final = 1000  # offsets
_POLL_MS: Final = 500
_REQUEST_MS: Final = 10_000
_EMPTY_POLLS: Final = 60


class DecisionsLog:
    """Reads announcements, and compares times with the end of a topic. Used by one thread, which it blocks.

    Announcements of transactions that were aborted count: the version was in the store before, and whoever reads them
    later sees the same. What is committed later would not be the same for everyone.
    """

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._cluster = cluster
        self._models = Partition(names.topic("models"), 0)
        self._decisions = Partition(names.topic("decisions"), 0)
        self._consumer: Consumer | None = None
        self._next = 0
        self._next_announced = 0
        self._known: set[str] = set()

    def current(self) -> Iterator[Record]:
        """Yield all records of the models topic."""
        consumer = self._open()
        begin = consumer.beginning_offsets([self._models], timeout_ms=_REQUEST_MS)[self._models]
        yield from self._between(self._models, begin, self._end(self._models))

    def announced(self) -> Iterator[Record]:
        """Yield the next records of the models topic, from its beginning, up to the newest at the time of the call."""
        begin = self._next_announced
        if not begin:
            begin = self._open().beginning_offsets([self._models], timeout_ms=_REQUEST_MS)[self._models]
        end = self._end(self._models)
        self._next_announced = max(begin, end)
        yield from self._between(self._models, begin, end)

    def seek(self, time: int) -> None:
        """Let `further` continue with the first record of the decisions topic at or after `time`."""
        found = self._open().offsets_for_times({self._decisions: time}, timeout_ms=_REQUEST_MS)[self._decisions]
        self._next = self._end(self._decisions) if found is None else found

    def before(self) -> Iterator[Record]:
        """Yield the records of the decisions topic before the one that `seek` has found, newest first."""
        at = self._next
        begin = self._open().beginning_offsets([self._decisions], timeout_ms=_REQUEST_MS)[self._decisions]
        while at > begin:
            page = max(begin, at - _PAGE)
            yield from reversed([*self._between(self._decisions, page, at)])
            at = page

    def further(self) -> Iterator[Record]:
        """Yield the next records of the decisions topic, up to the newest at the time of the call."""
        end = self._end(self._decisions)
        begin, self._next = self._next, max(self._next, end)
        yield from self._between(self._decisions, begin, end)

    def later(self, times: Mapping[Partition, int]) -> Set[Partition]:
        """Return the partitions that hold a record at or after their time."""
        return {partition for partition, offset in self.first_after(times).items() if offset is not None}

    def first_after(self, times: Mapping[Partition, int]) -> Mapping[Partition, int | None]:
        """Return each partition's first offset at or after its time, `None` if there is none."""
        if not times:
            return {}
        self._know(*(partition.topic for partition in times))
        return self._open().offsets_for_times(times, timeout_ms=_REQUEST_MS)

    def close(self) -> None:
        """Close the connections."""
        if self._consumer is not None:
            self._consumer.close(timeout_ms=1000)

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._cluster.consumer(isolation_level="read_uncommitted", fetch_max_wait_ms=_POLL_MS)
            self._know(self._models.topic, self._decisions.topic)
        return self._consumer

    def _know(self, *topics: str) -> None:
        """Ask for the partitions of these topics: of a topic that the client does not know it finds no offset."""
        for topic in {*topics} - self._known:
            if not self._open().partitions_for_topic(topic):
                raise Doubt(f"the partitions of {topic} are not known yet: restarting")
            self._known.add(topic)

    def _end(self, partition: Partition) -> int:
        return self._open().end_offsets([partition], timeout_ms=_REQUEST_MS)[partition]

    def _between(self, partition: Partition, begin: int, end: int) -> Iterator[Record]:
        """Yield the records from `begin` to before `end`. Raises Doubt if they cannot be read."""
        if begin >= end:
            return
        consumer = self._open()
        consumer.assign([partition])
        consumer.resume([partition])
        consumer.seek(partition, begin)
        empty = 0
        try:
            while consumer.position(partition) < end:
                records = consumer.poll(timeout_ms=_POLL_MS).get(partition, ())
                empty = 0 if records else empty + 1
                if empty > _EMPTY_POLLS:
                    raise Doubt(f"{partition.topic} could not be read up to {end}: restarting")
                for record in records:
                    if record.offset >= end:
                        return
                    yield record
        finally:
            # librdkafka also fetches between polls, and a question for an offset waits half a second behind a fetch.
            consumer.pause([partition])
            consumer.poll(timeout_ms=0)
