"""Takeover of partitions: committed offsets, topic ids, and recovery before the first live record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumers.loop.processor import Assignment, Processor, Start
from runtime.exits import Doubt
from runtime.kafka_client.client import GroupConsumer
from runtime.kafka_client.cluster import Cluster, TopicInfo, existing_topics
from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.records import Batch, CommittedOffset, Partition, Record

_POLL_MS: Final = 100
_MOST_RECORDS: Final = 2000
_BREATH_SECONDS: Final = 0.2


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The assignment changed again, or the role must end: the takeover is dropped."""


def _others(committed: Mapping[Partition, CommittedOffset | None], infos: Mapping[str, TopicInfo]) -> list[Partition]:
    """Return the unassigned partitions of topics in which an assigned partition has no committed offset."""
    new = sorted({partition.topic for partition, place in committed.items() if place is None})
    every = [Partition(topic, number) for topic in new for number in range(infos[topic].partitions)]
    return [partition for partition in every if partition not in committed]


@dataclass(frozen=True)
class Takeover:
    """Hands an assignment to a processor.

    Attributes
    ----------
    request_ms
        Limit of one request.
    stable_seconds
        Limit of the wait for undecided offsets, which a process that died in a transaction leaves until the broker
        aborts it.
    stall_seconds
        Time after which a recovery that does not move has failed.
    goes_on
        Called between any two steps: returns whether to continue, and reports to the watch that this process lives.
    """

    consumer: GroupConsumer
    cluster: Cluster
    processor: Processor
    request_ms: int
    stable_seconds: float
    stall_seconds: float
    goes_on: Callable[[], bool]

    def run(self, assigned: Sequence[Partition]) -> dict[Partition, CommittedOffset]:
        """Bring the processor to the group's committed offsets, and leave each partition at its first live record.

        Returns the offsets that no commit may go back behind.

        Raises
        ------
        Interrupted
            If the takeover is incomplete; the only call the processor then accepts is `assigned`.
        """
        assignment = replace(self._describe(assigned), breathe=self._breath(assigned))
        starts = self.processor.assigned(assignment)
        self._recover(starts)
        self._check()
        self.processor.recovered()
        for partition, start in starts.items():
            self.consumer.seek(partition, start.live)
        self.consumer.resume(starts)
        return {
            partition: place
            for partition, place in assignment.committed.items()
            if place is not None and not starts[partition].back
        }

    def _breath(self, assigned: Sequence[Partition]) -> Callable[[], None]:
        """Return a function that keeps the membership while the processor is busy, by polls that read nothing."""
        last = time.monotonic()
        held = False

        def breathe() -> None:
            nonlocal last, held
            if time.monotonic() - last < _BREATH_SECONDS:
                return
            if not held:
                self.consumer.pause(assigned)
                for partition in assigned:
                    # Without a position, poll looks for one, and raises if there is none.
                    self.consumer.seek(partition, 0)
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
        return Assignment(
            committed,
            consumer.beginning_offsets(assigned, timeout_ms=self.request_ms) if assigned else {},
            consumer.end_offsets(assigned, timeout_ms=self.request_ms) if assigned else {},
            {name: info.id for name, info in infos.items()},
            others={partition: self._committed(partition, deadline) for partition in _others(committed, infos)},
        )

    def _committed(self, partition: Partition, deadline: float) -> CommittedOffset | None:
        while True:
            self._check()
            try:
                return self.consumer.committed(partition, timeout_ms=min(self.request_ms, 1000))
            except KafkaTimeoutError as error:
                if time.monotonic() > deadline:
                    raise Doubt(
                        f"Kafka has not said for {self.stable_seconds:g} s where the group stands in {partition.topic} "
                        f"{partition.partition}: its coordinator is not there yet, or believes that a transaction is "
                        "still open (`kafka-transactions.sh find-hanging` shows such transactions; a restarted "
                        "coordinator reads the current state again)"
                    ) from error

    def _recover(self, starts: Mapping[Partition, Start]) -> None:
        """Read the records before `live` again, through the processor's `recover`, without sending anything."""
        consumer = self.consumer
        todo = self._recovery_starts(starts)
        consumer.pause(starts)
        for partition, start in starts.items():
            # Also for partitions without recovery: without a position, poll looks for one, and raises if the group has
            # none, as in a partition that was added while the role was down.
            consumer.seek(partition, todo.get(partition, start.live))
        consumer.resume(todo)
        moved, before = time.monotonic(), dict(todo)
        while todo:
            polled = consumer.poll(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            # The poll may have changed the assignment: then these records do not belong to this processor.
            self._check()
            self._apply(polled, starts)
            positions = {partition: self._position(partition) for partition in todo}
            for partition, position in positions.items():
                if position >= starts[partition].live:
                    consumer.pause([partition])
                    del todo[partition]
            if positions != before:
                moved, before = time.monotonic(), positions
            elif time.monotonic() - moved > self.stall_seconds:
                raise Doubt(f"reading {min(todo)} again stands still at {positions[min(todo)]}")

    def _apply(self, polled: Batch, starts: Mapping[Partition, Start]) -> None:
        batch: dict[Partition, list[Record]] = {}
        for partition, records in polled.items():
            live = starts[partition].live
            behind = [record for record in records if record.offset < live]
            if behind:
                batch[partition] = behind
        if batch:
            self.processor.recover(batch)

    def _position(self, partition: Partition) -> int:
        position = self.consumer.position_within(partition, self.request_ms)
        if position is None:
            raise Doubt(f"the position in {partition} is not known")
        return position

    def _recovery_starts(self, starts: Mapping[Partition, Start]) -> dict[Partition, int]:
        since = {
            partition: start.recover_since for partition, start in starts.items() if start.recover_since is not None
        }
        found = self.consumer.offsets_for_times(since, timeout_ms=self.request_ms) if since else {}
        todo = {}
        for partition, start in starts.items():
            later = found.get(partition)
            offset = later if later is not None else start.recover_from
            if offset is not None and max(offset, start.least) < start.live:
                todo[partition] = max(offset, start.least)
        return todo
