"""A range of a topic written again into another one: each record once, whatever ends the process.

The records and the place reached commit in one transaction on the cluster that is written to, so a replay that was
killed goes on without a repeat and without a hole. The place is a committed offset of a group of its own, on the
topic that is written to; its metadata is JSON, ``{"next": [...], "end": [...]}``, by partition of the source.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, for_code
from kafka.structs import ConsumerGroupMetadata

from consumers.processor import Output, Partition, Place
from consumers.transaction import Transactions
from producers.interrupts import stop_on_signals
from schemas.cluster import Cluster, TopicInfo
from schemas.topics import Names, hashed

_RECORDS: Final = 1000  # a transaction
_BYTES: Final = 4 << 20
_SECONDS: Final = 0.5
_POLL_MS: Final = 200
_METADATA: Final = 4000  # Kafka takes 4,096 letters
_SILENT_SECONDS: Final = 60.0


class CannotReplay(Exception):  # noqa: N818
    """A replay that would do harm, or cannot be done; nothing was written."""


Offsets = dict[int, int]  # by partition


@dataclass(frozen=True)
class Job:
    """What is replayed into what.

    Attributes
    ----------
    partitions
        Of the topic that is written to.
    begin, end
        Of each partition of the source; the end is not in it.
    key
        Tells the same replay, begun again, from another one.
    since, until
        Records of another time (ms) are passed over; `None` where offsets say it all.
    stamps
        Whether the topic that is written to puts its own time on records, so that theirs are not kept.
    """

    source: Cluster
    topic: str
    target: Cluster
    into: str
    partitions: int
    begin: Offsets
    end: Offsets
    key: str
    since: int | None = None
    until: int | None = None
    stamps: bool = False

    def wants(self, time_ms: int) -> bool:
        """Tell whether a record of this time is in the range."""
        return (self.since is None or time_ms >= self.since) and (self.until is None or time_ms < self.until)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast records go out.

    Attributes
    ----------
    speed
        Times as fast as their timestamps say they came; `None` is as fast as it goes.
    rate
        Records a second, at most.
    """

    speed: float | None = None
    rate: float | None = None

    def due(self, number: int, timestamp: int, first: int) -> float:
        """Return how many seconds after the first one a record may go out.

        >>> Pace(speed=10).due(3, timestamp=25_000, first=5_000), Pace(rate=2).due(3, 0, 0)
        (2.0, 1.5)
        """
        by_rate = number / self.rate if self.rate else 0.0
        by_time = max(0, timestamp - first) / 1000 / self.speed if self.speed else 0.0
        return max(by_rate, by_time)


@dataclass(frozen=True)
class Replayed:
    """What a replay did: records written by this run, and by earlier ones of the same."""

    written: int
    before: int
    interrupted: bool
    seconds: float


@dataclass
class _Place:
    next: Offsets
    end: Offsets
    written: int = 0

    def left(self) -> int:
        return sum(max(0, self.end[each] - self.next[each]) for each in self.end)

    def encode(self) -> str:
        numbers = sorted(self.end)
        return json.dumps(
            {"next": [self.next[n] for n in numbers], "end": [self.end[n] for n in numbers]}, separators=(",", ":")
        )

    @classmethod
    def decode(cls, metadata: str, written: int) -> _Place:
        told = json.loads(metadata)
        return cls(dict(enumerate(told["next"])), dict(enumerate(told["end"])), written)


class Replay:
    """One replay, from where an earlier run of the same stopped. Use it in a `with` block.

    Parameters
    ----------
    again
        Begin from the beginning although it was done before; else nothing is left to do then.

    Attributes
    ----------
    before
        How many records earlier runs have written.
    """

    def __init__(self, job: Job, names: Names, *, again: bool = False) -> None:
        self.job = job
        self._group = f"{names.group('replay')}.{job.key}"
        self._where = Partition(job.into, 0)
        with ExitStack() as held:
            # Whoever has this id and still writes is stopped by it; then what they left open is ended.
            self._transactions = Transactions(job.target, names.process("replay", job.key))
            held.callback(self._transactions.close)
            self._transactions.open()
            self._place = self._found(again)
            self.before = self._place.written
            self._held = held.pop_all()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    @property
    def left(self) -> int:
        """How many offsets are still to be read; markers of transactions are among them."""
        return self._place.left()

    def _found(self, again: bool) -> _Place:
        begin, end = dict(self.job.begin), dict(self.job.end)
        consumer = self.job.target.consumer(group_id=self._group)
        try:
            place = consumer.committed(TopicPartition(*self._where), metadata=True, timeout_ms=10_000)
        finally:
            consumer.close()
        if place is None or place.offset < 0:
            return _Place(begin, end)
        found = _Place.decode(place.metadata, place.offset)
        return found if found.left() or not again else _Place(begin, end)

    # --- the work ----------------------------------------------------------------------------------

    def run(
        self,
        pace: Pace,
        progress: Callable[[int, int, float], None] = lambda done, total, left: None,
        stop: threading.Event | None = None,
    ) -> Replayed:
        """Write what is left; `progress` is told offsets done, their number, and about how many seconds are left.

        Raises
        ------
        RoleFailure
            Where it is not certain what arrived, or another run of the same took over; the same command goes on.
        """
        stop = stop or threading.Event()
        began, total, written = time.monotonic(), self._place.left(), self._place.written
        batch: list[Output] = []
        size, since, first = 0, time.monotonic(), None
        with stop_on_signals(stop):
            for record in self._records(ordered=pace.speed is not None, stop=stop):
                first = record.timestamp if first is None else first
                number = self._place.written - written + len(batch)
                wait = began + pace.due(number, record.timestamp, first) - time.monotonic()
                full = len(batch) >= _RECORDS or size >= _BYTES or time.monotonic() - since >= _SECONDS
                if batch and (full or wait > _SECONDS):
                    self._commit(batch)
                    batch, size, since = [], 0, time.monotonic()
                    self._tell(progress, total, began)
                if wait > 0 and stop.wait(wait):
                    break
                batch.append(self._again(record))
                size += len(record.value or b"")
                self._place.next[record.partition] = record.offset + 1
            if not stop.is_set():
                self._place.next = dict(self._place.end)  # past the markers at the end
            if batch or not stop.is_set():
                self._commit(batch)
        self._tell(progress, total, began)
        return Replayed(self._place.written - written, written, self.left > 0, time.monotonic() - began)

    def _tell(self, progress: Callable[[int, int, float], None], total: int, began: float) -> None:
        left = self._place.left()
        done = total - left
        spent = time.monotonic() - began
        progress(done, total, left * spent / done if done else 0.0)

    def _again(self, record: ConsumerRecord) -> Output:
        return Output(
            self.job.into, self._partition(record), record.key, record.value, record.headers, record.timestamp
        )

    def _partition(self, record: ConsumerRecord) -> int:
        """Return the same partition; among another number of them, that of the key, so that its order stays."""
        count = self.job.partitions
        if count == len(self.job.end):
            return int(record.partition)
        return record.partition % count if record.key is None else hashed(record.key, count)

    def _commit(self, batch: list[Output]) -> None:
        self._place.written += len(batch)
        metadata = self._place.encode()
        if len(metadata) > _METADATA:
            raise CannotReplay(f"{self.job.topic} has too many partitions to keep a replay's place in one commit")
        place = Place(self._place.written, metadata)
        self._transactions.commit(batch, {self._where: place}, ConsumerGroupMetadata(self._group))

    # --- reading -----------------------------------------------------------------------------------

    def _records(self, *, ordered: bool, stop: threading.Event) -> Iterator[ConsumerRecord]:
        job, place = self.job, self._place
        todo = {TopicPartition(job.topic, n): place.end[n] for n in place.end if place.next[n] < place.end[n]}
        if not todo:
            return
        consumer = self._held.enter_context(closing(job.source.consumer(max_partition_fetch_bytes=1 << 20)))
        consumer.assign(list(todo))
        for each in todo:
            consumer.seek(each, place.next[each.partition])
        reading = _Reading(consumer, todo)
        for record in reading.by_time(stop) if ordered else reading.as_it_comes(stop):
            if job.wants(record.timestamp):
                yield record
            else:
                place.next[record.partition] = record.offset + 1


class _Reading:
    """Committed records of some partitions, each up to an end, each in order."""

    def __init__(self, consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._ends = dict(ends)
        self._moved = time.monotonic()

    def _poll(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        found = self._consumer.poll(timeout_ms=_POLL_MS)
        if found:
            self._moved = time.monotonic()
        elif time.monotonic() - self._moved > _SILENT_SECONDS:
            raise KafkaError(f"nothing to be read for {_SILENT_SECONDS:g} s")
        return {
            partition: [record for record in records if record.offset < self._ends[partition]]
            for partition, records in found.items()
        }

    def _open(self) -> list[TopicPartition]:
        """Return the partitions that have more; those that have none are read no further."""
        there = [each for each in self._ends if self._consumer.position(each) < self._ends[each]]
        done = [each for each in self._ends if each not in there and each not in self._consumer.paused()]
        if done:
            self._consumer.pause(*done)
        return there

    def as_it_comes(self, stop: threading.Event) -> Iterator[ConsumerRecord]:
        while self._open() and not stop.is_set():
            for records in self._poll().values():
                yield from records

    def by_time(self, stop: threading.Event) -> Iterator[ConsumerRecord]:
        """Yield records of all partitions in the order of their times, as far as each partition's order lets."""
        waiting: dict[TopicPartition, list[ConsumerRecord]] = {each: [] for each in self._ends}
        while not stop.is_set():
            there = self._open()
            if any(not waiting[each] for each in there):
                for partition, records in self._poll().items():
                    waiting[partition] += records
                continue
            heads = [each for each in waiting if waiting[each]]
            if not heads:
                return
            first = min(heads, key=lambda each: (waiting[each][0].timestamp, each.partition))
            yield waiting[first].pop(0)


# --- what is to be done ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """Where a range begins or ends: a time in ms, an offset of each partition, or of those that are named.

    `text` is what was typed: the same command is the same replay, whenever it is run.
    """

    text: str = ""
    time_ms: int | None = None
    offset: int | None = None
    by_partition: Offsets | None = None


def plan(source: Cluster, topic: str, begin: Edge, end: Edge, target: Cluster, into: str) -> Job:
    """Look at both topics, and return what is to be done; a topic that is not there to be written to is made.

    Raises
    ------
    CannotReplay
        Where there is no such source, it would be written into itself, or a partition is named that is not there.
    """
    found = source.topic_info(topic).get(topic)
    if found is None:
        raise CannotReplay(f"there is no topic {topic} on {source.bootstrap}")
    with closing(source.consumer()) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(found.partitions)]
        begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        firsts = _offsets(consumer, begin, begins)
        lasts = _offsets(consumer, end, ends)
    edges = [(each, int(begins[each]), int(ends[each])) for each in partitions]
    firsts = {each.partition: min(max(firsts[each.partition], low), high) for each, low, high in edges}
    lasts = {each.partition: max(min(lasts[each.partition], high), firsts[each.partition]) for each, low, high in edges}
    there = target.topic_info(into).get(into)
    # Two names of one cluster give its topics the same ids.
    if there is not None and there.id == found.id:
        raise CannotReplay(f"{topic} would be written into itself: name another topic with --into")
    if there is None:
        there = _make(target, into, found.partitions)
    key = hashlib.blake2b(json.dumps([found.id, there.id, begin.text, end.text]).encode(), digest_size=8).hexdigest()
    stamps = _stamps(target, into)
    # Where senders say the time, later records may be of an earlier time: each is looked at.
    since, until = (None, None) if _stamps(source, topic) else (begin.time_ms, end.time_ms)
    if until is not None:
        lasts = {each.partition: int(ends[each]) for each in partitions}
    return Job(source, topic, target, into, there.partitions, firsts, lasts, key, since, until, stamps)


def _offsets(consumer: KafkaConsumer, edge: Edge, otherwise: Mapping[TopicPartition, int]) -> Offsets:
    partitions = list(otherwise)
    if edge.time_ms is not None:
        found: dict[TopicPartition, Any] = consumer.offsets_for_times(dict.fromkeys(partitions, edge.time_ms))
        ends = consumer.end_offsets(partitions)
        return {each.partition: ends[each] if found.get(each) is None else found[each].offset for each in partitions}
    if edge.by_partition is not None:
        unknown = set(edge.by_partition) - {each.partition for each in partitions}
        if unknown:
            raise CannotReplay(f"{partitions[0].topic} has no partition {min(unknown)}")
        return {each.partition: edge.by_partition.get(each.partition, int(otherwise[each])) for each in partitions}
    return {each.partition: int(otherwise[each]) if edge.offset is None else edge.offset for each in partitions}


def _make(target: Cluster, topic: str, partitions: int) -> TopicInfo:
    with target.admin() as admin:
        wanted = {"num_partitions": partitions, "configs": dict(_SETTINGS)}
        answer = admin.create_topics({topic: wanted}, timeout_ms=10_000, raise_errors=False)
    for each in answer["topics"]:
        if each["error_code"] != 0:
            kind = for_code(each["error_code"])
            raise CannotReplay(f"{topic} cannot be made: {each.get('error_message') or kind.description}")
    deadline = time.monotonic() + _SILENT_SECONDS
    while (made := target.topic_info(topic).get(topic)) is None:
        if time.monotonic() > deadline:
            raise CannotReplay(f"{topic} was made and is not there after {_SILENT_SECONDS:g} s")
        time.sleep(0.05)
    return made


# By any retention in time, records that keep their old times would be deleted as soon as they are there.
_SETTINGS: Final = MappingProxyType(
    {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(8 << 20)}
)


def _stamps(target: Cluster, topic: str) -> bool:
    name = "message.timestamp.type"
    with target.admin() as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
        told = admin.describe_configs([resource], config_filter="all")
    return any(str(configs[topic][name]["value"]) == "LogAppendTime" for configs in told.values() if topic in configs)
