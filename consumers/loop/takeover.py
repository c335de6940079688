"""Taking partitions over: what the group knows of them, and what must be read again, before the first live record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka import TopicPartition
from kafka.consumer.group import KafkaConsumer
from kafka.errors import KafkaTimeoutError

from consumers.loop.processor import Assignment, Processor, Start
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.cluster import Cluster, TopicInfo
from runtime.kafka_client.pauses import pause, resume
from runtime.kafka_client.records import CommittedOffset, Partition

_POLL_MS: Final = 100
_MOST_RECORDS: Final = 2000
_BREATH_SECONDS: Final = 0.2


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The assignment changed again, or the role is to end: what was begun is dropped."""


def existing_topics(cluster: Cluster, topics: Sequence[str]) -> dict[str, TopicInfo]:
    """Return what the broker says of these topics; refuse where one is missing."""
    infos = cluster.topic_info(*topics)
    missing = set(topics) - set(infos)
    if missing:
        raise RoleRefused(f"topic {min(missing)} does not exist: `millstream topics create STREAM` makes it")
    return infos


def _others(committed: Mapping[Partition, CommittedOffset | None], infos: Mapping[str, TopicInfo]) -> list[Partition]:
    """Return what is not assigned of those topics in which an assigned partition has no place: seldom anything."""
    new = sorted({partition.topic for partition, place in committed.items() if place is None})
    every = [Partition(topic, number) for topic in new for number in range(infos[topic].partitions)]
    return [partition for partition in every if partition not in committed]


@dataclass(frozen=True)
class Takeover:
    """Hands an assignment to a processor.

    Attributes
    ----------
    request_ms
        One request may take so long.
    stable_seconds
        A predecessor that died in a transaction leaves offsets that are not decided until the broker
        aborts it: so long they are waited for.
    stall_seconds
        Reading again that does not move for so long has failed.
    goes_on
        Asked between any two steps; also tells the watch that this process lives.
    """

    consumer: KafkaConsumer
    cluster: Cluster
    processor: Processor
    request_ms: int
    stable_seconds: float
    stall_seconds: float
    goes_on: Callable[[], bool]

    def run(self, assigned: Sequence[Partition]) -> dict[Partition, CommittedOffset]:
        """Bring the processor to where the group stands, and leave each partition at its first live record.

        Returns the places that no commit may go back behind.

        Raises
        ------
        Interrupted
            The processor is half-way; only `assigned` may be called on it.
        """
        assignment = replace(self._describe(assigned), breathe=self._breath(assigned))
        starts = self.processor.assigned(assignment)
        self._recover(starts)
        self._check()
        self.processor.recovered()
        for partition, start in starts.items():
            self.consumer.seek(TopicPartition(*partition), start.live)
        resume(self.consumer, starts)
        return {
            partition: place
            for partition, place in assignment.committed.items()
            if place is not None and not starts[partition].back
        }

    def _breath(self, assigned: Sequence[Partition]) -> Callable[[], None]:
        """Return what keeps the membership while the processor is busy: polls that read nothing."""
        last = time.monotonic()
        held = False

        def breathe() -> None:
            nonlocal last, held
            if time.monotonic() - last < _BREATH_SECONDS:
                return
            if not held:
                pause(self.consumer, assigned)
                for partition in assigned:
                    # Without a position, polling looks for one, and raises where there is none.
                    self.consumer.seek(TopicPartition(*partition), 0)
                held = True
            self.consumer.poll(timeout_ms=0)
            self._check()
            last = time.monotonic()

        return breathe

    def _check(self) -> None:
        if not self.goes_on():
            raise Interrupted

    def _describe(self, assigned: Sequence[Partition]) -> Assignment:
        consumer = self.consumer
        infos = existing_topics(self.cluster, self.processor.topics)
        deadline = time.monotonic() + self.stable_seconds
        committed = {partition: self._committed(partition, deadline) for partition in assigned}
        partitions = [TopicPartition(*partition) for partition in assigned]
        beginnings = consumer.beginning_offsets(partitions, timeout_ms=self.request_ms) if partitions else {}
        ends = consumer.end_offsets(partitions, timeout_ms=self.request_ms) if partitions else {}
        return Assignment(
            committed,
            {Partition(*partition): offset for partition, offset in beginnings.items()},
            {Partition(*partition): offset for partition, offset in ends.items()},
            {name: info.id for name, info in infos.items()},
            others={partition: self._committed(partition, deadline) for partition in _others(committed, infos)},
        )

    def _committed(self, partition: Partition, deadline: float) -> CommittedOffset | None:
        while True:
            self._check()
            try:
                found = self.consumer.committed(
                    TopicPartition(*partition), metadata=True, timeout_ms=min(self.request_ms, 1000)
                )
            except KafkaTimeoutError as error:
                if time.monotonic() > deadline:
                    raise Doubt(
                        f"Kafka has not said for {self.stable_seconds:g} s where the group stands in {partition.topic} "
                        f"{partition.partition}: its coordinator is not there yet, or believes that a transaction is "
                        "still open (`kafka-transactions.sh find-hanging` shows those; a coordinator that starts again "
                        "reads anew what is so)"
                    ) from error
                continue
            return None if found is None else CommittedOffset(found.offset, found.metadata or "")

    def _recover(self, starts: Mapping[Partition, Start]) -> None:
        """Read again what is behind `live`, through the processor's own door, without sending anything."""
        consumer = self.consumer
        todo = self._recovery_starts(starts)
        pause(consumer, starts)
        for partition, start in starts.items():
            # Also where nothing is read again: without a position, polling looks for one, and raises where the group
            # has none, as in a partition that was added while it was down.
            consumer.seek(TopicPartition(*partition), todo.get(partition, start.live))
        resume(consumer, todo)
        moved, before = time.monotonic(), dict(todo)
        while todo:
            polled = consumer.poll(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            # Polling may have changed the assignment: then these records are not this processor's.
            self._check()
            self._apply(polled, starts)
            positions = {partition: self._position(partition) for partition in todo}
            for partition, position in positions.items():
                if position >= starts[partition].live:
                    pause(consumer, [partition])
                    del todo[partition]
            if positions != before:
                moved, before = time.monotonic(), positions
            elif time.monotonic() - moved > self.stall_seconds:
                raise Doubt(f"reading {min(todo)} again stands still at {positions[min(todo)]}")

    def _apply(self, polled: Mapping[Any, Sequence[Any]], starts: Mapping[Partition, Start]) -> None:
        batch: dict[Partition, list[Any]] = {}
        for tp, records in polled.items():
            live = starts[Partition(*tp)].live
            behind = [record for record in records if record.offset < live]
            if behind:
                batch[Partition(*tp)] = behind
        if batch:
            self.processor.recover(batch)

    def _position(self, partition: Partition) -> int:
        position = self.consumer.position(TopicPartition(*partition), timeout_ms=self.request_ms)
        if position is None:
            raise Doubt(f"the position in {partition} is not known")
        return int(position)

    def _recovery_starts(self, starts: Mapping[Partition, Start]) -> dict[Partition, int]:
        since = {
            TopicPartition(*partition): start.recover_since
            for partition, start in starts.items()
            if start.recover_since is not None
        }
        found = self.consumer.offsets_for_times(since, timeout_ms=self.request_ms) if since else {}
        todo = {}
        for partition, start in starts.items():
            place = found.get(TopicPartition(*partition))
            offset = place.offset if place is not None else start.recover_from
            if offset is not None and max(offset, start.least) < start.live:
                todo[partition] = max(offset, start.least)
        return todo
