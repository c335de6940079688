"""The only code that polls, opens a transaction, sends, adds offsets and commits.

A turn: poll, hand the records to the processor, commit what it returns together with how far it has
read. Any doubt about the outcome ends the process with exit code 75; its successor aborts what was open
and rebuilds state by the normal door.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.consumer.group import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from kafka.structs import MemberState

from consumers.failures import Doubt, Fenced, Refused
from consumers.processor import Assignment, Batch, Output, Partition, Place, Positions, Processor, Start
from consumers.transaction import TransactionLimits, Transactions
from consumers.watchdog import ProgressWatch, TurnWatch
from schemas.cluster import Cluster

_IDLE_POLL_MS: Final = 100
_MOST_RECORDS: Final = 2000
_LEAST_RECORDS: Final = 20


@dataclass(frozen=True)
class LoopSettings:
    """What one process's loop is given. Times in ms.

    Attributes
    ----------
    group, instance
        Consumer group, and this process's name in it: group instance id and transactional id.
    commit_idle_ms
        A displaced member of a group is told so only when it commits: so it does, idle or not.
    turn_ms
        How long handling one batch should take; batches are sized for it.
    """

    group: str
    instance: str
    session_ms: int = 15_000
    poll_interval_ms: int = 60_000
    commit_idle_ms: int = 5_000
    turn_ms: int = 150
    stall_ms: int = 60_000
    limits: TransactionLimits = field(default_factory=TransactionLimits)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes that the assignment changed. It runs on the client's IO thread: anything slow here stops heartbeats."""

    def __init__(self) -> None:
        self.happened = threading.Event()

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.happened.set()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.happened.set()

    def on_partitions_lost(self, lost: Any) -> None:
        self.happened.set()


class Loop:
    """Drives one processor against Kafka, exactly once.

    Parameters
    ----------
    settled
        Called with the partitions whenever an assignment is ready to be worked on.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: LoopSettings,
        processor: Processor,
        settled: Callable[[Sequence[Partition]], None] | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._processor = processor
        self._settled = settled or (lambda partitions: None)
        self._stop = threading.Event()
        self._rebalances = _Rebalances()
        self._last: dict[Partition, Place] = {}
        self._last_commit = time.monotonic()
        self._seconds_a_record = 0.0
        self._partitions: list[Partition] = []
        self._group: Any = None

    def stop(self) -> None:
        """Ask for an orderly end: the turn under way is finished first. Safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called.

        Raises
        ------
        RoleFailure
            See `consumers.failures`.
        """
        transactions = Transactions(self._cluster, self._settings.instance, self._settings.limits)
        consumer = self._consumer()
        watch = TurnWatch(self._settings.poll_interval_ms / 1000)
        progress = ProgressWatch(self._settings.stall_ms / 1000)
        clean = False
        try:
            transactions.open()
            consumer.subscribe(topics=list(self._processor.topics), listener=self._rebalances)
            while not self._stop.is_set():
                watch.turned()
                self._turn(consumer, transactions)
                self._check_progress(consumer, progress)
            self._finish(transactions)
            clean = True
        finally:
            watch.close()
            self._processor.close()
            _close_consumer(consumer)
            transactions.close()
            if clean:
                self._leave_group()

    def _consumer(self) -> KafkaConsumer:
        return self._cluster.consumer(
            group_id=self._settings.group,
            group_instance_id=self._settings.instance,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=self._settings.session_ms,
            max_poll_interval_ms=self._settings.poll_interval_ms,
            request_timeout_ms=self._settings.limits.request_ms,
            max_poll_records=_MOST_RECORDS,
            fetch_max_wait_ms=_IDLE_POLL_MS,
            max_partition_fetch_bytes=4 << 20,
        )

    # --- a turn ------------------------------------------------------------------------------------

    def _turn(self, consumer: KafkaConsumer, transactions: Transactions) -> None:
        batch = self._poll(consumer)
        if self._rebalances.happened.is_set():
            # What was polled is dropped: the new assignment begins at what is committed.
            if consumer.group_metadata().state == MemberState.STABLE:
                self._settle(consumer)
            return
        group = self._group
        if batch:
            began = time.monotonic()
            outputs = self._processor.process(batch)
            self._learn_pace(batch, time.monotonic() - began)
        else:
            outputs = []
        outputs += self._processor.tick(time.time_ns() // 1_000_000)
        self._commit(consumer, transactions, outputs, group)
        self._apply_pauses(consumer)

    def _poll(self, consumer: KafkaConsumer) -> Batch:
        try:
            polled: Batch = consumer.poll(timeout_ms=_IDLE_POLL_MS, max_records=self._batch_size())
        except NoOffsetForPartitionError:
            # A group that never committed: the rebalance is noted, and settling names the place to start.
            return {}
        except OffsetOutOfRangeError as error:
            raise Refused(
                f"retention has overtaken this role, or a topic was truncated: {error}. "
                "Nothing was skipped; `millstream status` shows the lag"
            ) from error
        except FencedInstanceIdError as error:
            raise self._displaced() from error
        except KafkaError as error:
            raise Doubt(f"reading failed: {type(error).__name__}: {error}") from error
        # Membership as it was when these records were read. Asked later, a member that was thrown out
        # answers with generation -1, which the broker does not fence.
        self._group = consumer.group_metadata()
        return polled

    def _batch_size(self) -> int:
        """So many records as can be handled in a turn: neither heartbeat nor checkpoint waits for long."""
        if not self._seconds_a_record:
            return _MOST_RECORDS // 4
        fits = self._settings.turn_ms / 1000 / self._seconds_a_record
        return max(_LEAST_RECORDS, min(_MOST_RECORDS, int(fits)))

    def _learn_pace(self, batch: Batch, seconds: float) -> None:
        pace = seconds / sum(map(len, batch.values()))
        self._seconds_a_record = 0.7 * self._seconds_a_record + 0.3 * pace if self._seconds_a_record else pace

    def _commit(self, consumer: KafkaConsumer, transactions: Transactions, outputs: list[Output], group: Any) -> None:
        if not self._partitions:
            return
        places = self._processor.places(self._positions(consumer))
        idle_for = time.monotonic() - self._last_commit
        due = idle_for * 1000 >= self._settings.commit_idle_ms
        changed = {partition: place for partition, place in places.items() if self._last.get(partition) != place}
        if not outputs and not changed and not due:
            return
        if self._rebalances.happened.is_set():
            # Nothing of this turn has gone out: it is forgotten when the new assignment is settled.
            return
        if group is None or group.generation_id < 0:
            raise Doubt("this process is no longer a member of its group")
        self._check_forward(places)
        transactions.commit(outputs, places, group)
        self._last.update(places)
        self._last_commit = time.monotonic()
        self._processor.committed(places)

    def _check_forward(self, places: Mapping[Partition, Place]) -> None:
        for partition, place in places.items():
            last = self._last.get(partition)
            if last is not None and place.offset < last.offset:
                raise Doubt(f"{partition} would go back from {last.offset} to {place.offset}")

    def _positions(self, consumer: KafkaConsumer) -> dict[Partition, int]:
        """How far has been read, transaction markers included: last offset + 1 would leave a lag of 1 for ever."""
        positions = {}
        for partition in self._partitions:
            position = consumer.position(TopicPartition(*partition), timeout_ms=self._settings.limits.request_ms)
            if position is None:
                raise Doubt(f"the position in {partition} is not known")
            positions[partition] = position
        return positions

    def _apply_pauses(self, consumer: KafkaConsumer) -> None:
        wanted = {TopicPartition(*partition) for partition in self._processor.paused()} & consumer.assignment()
        now = consumer.paused()
        if wanted - now:
            consumer.pause(*(wanted - now))
        if now - wanted:
            consumer.resume(*(now - wanted))

    def _check_progress(self, consumer: KafkaConsumer, progress: ProgressWatch) -> None:
        paused = consumer.paused()
        reading = [partition for partition in self._partitions if TopicPartition(*partition) not in paused]
        assignment = consumer.assignment()
        reading = [partition for partition in reading if TopicPartition(*partition) in assignment]
        positions = self._positions_of(consumer, reading)
        ends = {partition: consumer.highwater(TopicPartition(*partition)) for partition in reading}
        stuck = progress.stalled(positions, ends, time.monotonic())
        if stuck:
            raise Doubt(f"reading stands still in {stuck[0]} although there is more to read")

    def _positions_of(self, consumer: KafkaConsumer, partitions: Sequence[Partition]) -> dict[Partition, int]:
        found = {}
        for partition in partitions:
            position = consumer.position(TopicPartition(*partition), timeout_ms=0)
            if position is not None:
                found[partition] = position
        return found

    # --- an assignment -----------------------------------------------------------------------------

    def _settle(self, consumer: KafkaConsumer) -> None:
        """Hand the new assignment to the processor and put every partition where it is to be read from."""
        self._rebalances.happened.clear()
        assigned = sorted(Partition(*tp) for tp in consumer.assignment())
        self._partitions = []
        self._last = {}
        try:
            assignment = self._describe(consumer, assigned)
            starts = self._processor.assigned(assignment)
            self._recover(consumer, starts)
            self._processor.recovered()
            for partition, start in starts.items():
                consumer.seek(TopicPartition(*partition), start.live)
                consumer.resume(TopicPartition(*partition))
            # A predictor without a version must not be handed a first batch before it can say so.
            self._apply_pauses(consumer)
        except FencedInstanceIdError as error:
            raise self._displaced() from error
        except KafkaError as error:
            if self._rebalances.happened.is_set():
                return  # it changed again meanwhile: the next turn settles that one
            raise Doubt(f"taking over {assigned} failed: {type(error).__name__}: {error}") from error
        if self._rebalances.happened.is_set() or self._stop.is_set():
            return  # what was half recovered is nobody's to commit
        self._last = {partition: place for partition, place in assignment.committed.items() if place is not None}
        self._partitions = assigned
        self._last_commit = 0.0 if assigned else time.monotonic()
        self._settled(assigned)

    def _describe(self, consumer: KafkaConsumer, assigned: Sequence[Partition]) -> Assignment:
        partitions = [TopicPartition(*partition) for partition in assigned]
        wait_ms = self._settings.limits.broker_ms
        committed: dict[Partition, Place | None] = {}
        for partition in partitions:
            found = consumer.committed(partition, metadata=True, timeout_ms=wait_ms)
            committed[Partition(*partition)] = None if found is None else Place(found.offset, found.metadata or "")
        beginnings = consumer.beginning_offsets(partitions) if partitions else {}
        ends = consumer.end_offsets(partitions) if partitions else {}
        infos = self._cluster.topic_info(*self._processor.topics)
        missing = set(self._processor.topics) - set(infos)
        if missing:
            raise Refused(f"topic {min(missing)} does not exist: `millstream topics create STREAM` makes it")
        return Assignment(
            committed,
            {Partition(*partition): offset for partition, offset in beginnings.items()},
            {Partition(*partition): offset for partition, offset in ends.items()},
            {name: info.id for name, info in infos.items()},
        )

    def _recover(self, consumer: KafkaConsumer, starts: Mapping[Partition, Start]) -> None:
        """Read again what is behind `live`, through the processor's own door, without sending anything."""
        todo = self._recovery_starts(consumer, starts)
        everything = [TopicPartition(*partition) for partition in starts]
        consumer.pause(*everything)
        for partition, offset in todo.items():
            consumer.seek(TopicPartition(*partition), offset)
            consumer.resume(TopicPartition(*partition))
        while todo and not self._rebalances.happened.is_set() and not self._stop.is_set():
            polled = consumer.poll(timeout_ms=_IDLE_POLL_MS, max_records=_MOST_RECORDS)
            batch: dict[Partition, list[Any]] = {}
            for tp, records in polled.items():
                live = starts[Partition(*tp)].live
                batch[Partition(*tp)] = [record for record in records if record.offset < live]
            if any(batch.values()):
                self._processor.recover(batch)
            for partition in list(todo):
                tp = TopicPartition(*partition)
                if consumer.position(tp, timeout_ms=0) >= starts[partition].live:
                    consumer.pause(tp)
                    del todo[partition]

    def _recovery_starts(self, consumer: KafkaConsumer, starts: Mapping[Partition, Start]) -> dict[Partition, int]:
        todo = {}
        since = {
            TopicPartition(*partition): start.recover_since
            for partition, start in starts.items()
            if start.recover_since is not None
        }
        found = consumer.offsets_for_times(since) if since else {}
        for partition, start in starts.items():
            place = found.get(TopicPartition(*partition))
            offset = place.offset if place is not None else start.recover_from
            if offset is not None and offset < start.live:
                todo[partition] = offset
        return todo

    # --- the end -----------------------------------------------------------------------------------

    def _finish(self, transactions: Transactions) -> None:
        if not self._partitions or self._rebalances.happened.is_set() or self._group is None:
            return
        outputs = self._processor.stopping()
        read: Positions = {partition: place.offset for partition, place in self._last.items()}
        places = {**self._last, **self._processor.places(read)}
        if outputs or places != self._last:
            self._check_forward(places)
            transactions.commit(outputs, places, self._group)
            self._processor.committed(places)

    def _leave_group(self) -> None:
        """A static member's partitions would stay with it until its session ends: say that it is gone."""
        from kafka.admin import MemberToRemove

        try:
            with self._cluster.admin() as admin:
                admin.remove_group_members(
                    self._settings.group, [MemberToRemove(group_instance_id=self._settings.instance)]
                )
        except Exception as error:  # noqa: BLE001 - the session's end does the same, later
            print(f"leaving group {self._settings.group} by time-out: {type(error).__name__}: {error}")

    def _displaced(self) -> Fenced:
        return Fenced(f"another process works as {self._settings.instance}: give this one its own --instance")


def _close_consumer(consumer: KafkaConsumer) -> None:
    try:
        consumer.close(autocommit=False, timeout_ms=2000)
    except KafkaError as error:
        print(f"closing the consumer: {type(error).__name__}: {error}")
