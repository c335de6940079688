"""Loop of every role: the only code that polls, opens a transaction, sends, adds offsets and commits.

A turn: poll, pass the records to the processor, commit its outputs together with the offsets that it has read. Any
doubt about the outcome ends the process with exit code 75; the next process aborts the open transaction and rebuilds
its state in the normal way.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.loop.instrumentation import Meter
from consumers.loop.processor import Anew, Processor
from consumers.loop.takeover import Interrupted, Takeover
from consumers.loop.watchdog import ProgressWatch, TurnWatch
from runtime.exits import Doubt, RoleFailure, RoleRefused
from runtime.kafka_client.client import GroupConsumer, GroupMetadata
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, LogTruncatedError, NoOffsetError, OffsetOutOfRangeError
from runtime.kafka_client.failures import failure_of
from runtime.kafka_client.lag import LagWatch
from runtime.kafka_client.membership import Membership, close_consumer
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions
from runtime.kafka_client.transaction import TransactionLimits, Transactions

_LOG: Final = logging.getLogger("millstream")
_POLL_MS: Final = 100
# Used after a while without records: each poll costs 3 ms of CPU time, and a record ends the wait at once anyway.
_QUIET_POLL_MS: Final = 500
_QUIET_SECONDS: Final = 2.0
_MOST_RECORDS: Final = 2000
_LEAST_RECORDS: Final = 20
# A member learns from a heartbeat that the others wait for it to rejoin. With the default of 3 s they wait that long.
_HEARTBEAT_MS: Final = 1000


@dataclass(frozen=True)
class LoopSettings:
    """Settings of one process's loop. Times in ms.

    Attributes
    ----------
    group, instance
        Consumer group, and this process's name in it: group instance id and transactional id.
    commit_idle_ms
        Longest time between two commits. A displaced member learns of it only when it commits, so it commits even if
        idle.
    turn_ms
        Target time for processing one batch; batch sizes are chosen for it.
    stall_ms
        Time after which a partition that does not move, or a group that is not joined, counts as stalled.
    fetch_bytes
        ``fetch.min.bytes`` while records arrive, for 100 ms at most. A transaction costs the same with one record as
        with a hundred, so larger batches cost less CPU time where latency does not matter.
    """

    group: str
    instance: str
    session_ms: int = 15_000
    poll_interval_ms: int = 60_000
    commit_idle_ms: int = 5_000
    turn_ms: int = 150
    stall_ms: int = 60_000
    fetch_bytes: int = 1
    limits: TransactionLimits = field(default_factory=TransactionLimits)


class Loop:
    """Drives one processor against Kafka, exactly once.

    Parameters
    ----------
    settled
        Called with the partitions whenever an assignment is ready to be processed.
    meter
        Called for every turn, batch and commit.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: LoopSettings,
        processor: Processor,
        settled: Callable[[Sequence[Partition]], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._processor = processor
        self._settled = settled or (lambda partitions: None)
        self._meter = meter or Meter()
        self._lag = LagWatch(settings.limits.request_ms)
        self._membership = Membership(cluster, settings.group, settings.instance)
        self._stopping = False  # a plain value, because a signal handler may set it, and must not wait for a lock
        self._rebalanced = threading.Event()  # set by the client's thread
        self._last: dict[Partition, CommittedOffset] = {}
        self._last_commit = time.monotonic()
        self._seconds_a_record = 0.0
        self._partitions: list[Partition] = []
        self._topic_ids: dict[str, object] = {}
        self._fell_out = False
        self._read: Positions = {}
        self._group: GroupMetadata | None = None
        self._watch: TurnWatch | None = None
        self._progress = ProgressWatch(settings.stall_ms / 1000)
        self._unsettled_since = time.monotonic()
        self._active = time.monotonic()  # time of the last record read or sent

    def stop(self) -> None:
        """Request an orderly end: the current turn is finished first. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Work until `stop` is called.

        Raises
        ------
        RoleFailure
            See `runtime.exits`.
        """
        try:
            with contextlib.ExitStack() as stack:
                # Closed in reverse order, each also if closing another fails.
                self._watch = TurnWatch(self._settings.poll_interval_ms / 1000)
                stack.callback(self._watch.close)
                stack.callback(self._processor.close)
                transactions = Transactions(self._cluster, self._settings.instance, self._settings.limits)
                stack.callback(transactions.close)
                consumer = self._consumer()
                stack.callback(close_consumer, consumer)
                self._work(consumer, transactions)
        except RoleRefused:
            self._depart()  # a refused role does not return by itself: the group must not wait for it
            raise
        except NoBroker as error:
            raise Doubt(str(error)) from error
        except KafkaError as error:
            raise failure_of(error, "reading", self._settings.instance) from error
        self._depart()

    def _depart(self) -> None:
        """Leave the group in a daemon thread with a time limit: an unavailable broker must not keep the process."""
        leaving = threading.Thread(target=self._membership.leave, name="leave-group", daemon=True)
        leaving.start()
        leaving.join(self._settings.limits.request_ms / 1000)

    def _work(self, consumer: GroupConsumer, transactions: Transactions) -> None:
        transactions.open()
        consumer.subscribe(self._processor.topics, self._rebalanced.set)
        self._membership.know_topics(consumer, self._processor.topics, self._settings.limits.broker_ms / 1000)
        self._unsettled_since = time.monotonic()
        while self._turns():
            self._turn(consumer, transactions)
        self._finish(transactions)

    def _turns(self) -> bool:
        """Report a turn to the watch; return whether the loop continues."""
        if self._watch is not None:
            self._watch.turned()
        self._meter.turned()
        return not self._stopping

    def _consumer(self) -> GroupConsumer:
        settings = self._settings
        return self._cluster.consumer(
            group_id=settings.group,
            group_instance_id=settings.instance,
            session_timeout_ms=settings.session_ms,
            heartbeat_interval_ms=min(_HEARTBEAT_MS, settings.session_ms // 3),
            max_poll_interval_ms=settings.poll_interval_ms,
            request_timeout_ms=settings.limits.request_ms,
            max_poll_records=_MOST_RECORDS,
            bootstrap_timeout_ms=settings.limits.broker_ms,
            fetch_max_wait_ms=_POLL_MS,
            fetch_min_bytes=settings.fetch_bytes,
            max_partition_fetch_bytes=4 << 20,
        )

    # --- a turn ------------------------------------------------------------------------------------

    def _turn(self, consumer: GroupConsumer, transactions: Transactions) -> None:
        batch = self._poll(consumer)
        self._check_topics(consumer)
        if self._rebalanced.is_set():
            # The polled records are dropped: the new assignment begins at the committed offsets.
            self._join(consumer)
            return
        if not self._partitions:
            return
        try:
            outputs = self._hand_over(batch)
        except Anew:
            self._rebalanced.set()  # the same partitions, taken over like after a rebalance
            return
        self._read = self._positions(consumer)
        self._commit(transactions, outputs)
        self._apply_pauses(consumer)
        self._check_progress(consumer)
        if (lags := self._lag.look(consumer, self._read)) is not None:
            self._meter.lag(lags)

    def _hand_over(self, batch: Batch) -> list[Output]:
        """Return the processor's outputs for these records and for the time that has passed."""
        outputs: list[Output] = []
        if batch:
            began = time.monotonic()
            outputs = self._processor.process(batch)
            seconds = time.monotonic() - began
            self._learn_pace(batch, seconds)
            self._meter.processed(batch, seconds)
        return outputs + self._processor.tick(time.time_ns() // 1_000_000)

    def _poll(self, consumer: GroupConsumer) -> Batch:
        polled: Batch = {}
        try:
            polled = consumer.poll(timeout_ms=self._wait_for_records(consumer), max_records=self._batch_size())
        except (NoOffsetError, OffsetOutOfRangeError, LogTruncatedError):
            # The group never committed, or its offset is no longer in the log. Settling chooses the offset to start at,
            # or reports why there is none and how to continue. Only one attempt: a second would have the same result.
            if not self._rebalanced.is_set():
                if self._fell_out:
                    raise
                self._fell_out = True
                self._rebalanced.set()
        # The membership at the time when these records were read: later it can be a newer one.
        self._group = consumer.group_metadata()
        if self._group.generation_id < 0:
            # The group has removed this member. The broker would not fence its commit, so the loop makes none; the
            # next poll rejoins.
            self._rebalanced.set()
        return polled

    def _wait_for_records(self, consumer: GroupConsumer) -> int:
        """Return the poll time in ms and set the same wait at the broker: longer while the stream is quiet."""
        if time.monotonic() - self._active < _QUIET_SECONDS or self._rebalanced.is_set():
            consumer.wait_for_bytes(self._settings.fetch_bytes, _POLL_MS)
            return _POLL_MS
        # The first record after a quiet time is returned at once, and does not wait for a larger batch.
        consumer.wait_for_bytes(1, _QUIET_POLL_MS)
        return _QUIET_POLL_MS

    def _check_topics(self, consumer: GroupConsumer) -> None:
        """Settle again if a topic was deleted and created again: the offsets belong to the old topic."""
        if self._partitions and self._ids_now(consumer) != self._topic_ids:
            self._rebalanced.set()

    def _ids_now(self, consumer: GroupConsumer) -> dict[str, object]:
        """Return the topics' ids that the client knows."""
        known = consumer.topic_ids(self._processor.topics)
        # Between deletion and creation the client knows no id.
        return {topic: self._topic_ids.get(topic) if now is None else now for topic, now in known.items()}

    def _batch_size(self) -> int:
        """Return the number of records to process in a turn, so that heartbeats and checkpoints do not wait long."""
        if not self._seconds_a_record:
            return _LEAST_RECORDS  # the time for one record is not known yet
        fits = self._settings.turn_ms / 1000 / self._seconds_a_record
        return max(_LEAST_RECORDS, min(_MOST_RECORDS, int(fits)))

    def _learn_pace(self, batch: Batch, seconds: float) -> None:
        pace = seconds / sum(map(len, batch.values()))
        self._seconds_a_record = 0.7 * self._seconds_a_record + 0.3 * pace if self._seconds_a_record else pace

    def _positions(self, consumer: GroupConsumer) -> dict[Partition, int]:
        """Return the next offsets to read, past transaction markers: last offset + 1 would leave a lag of 1."""
        positions = {}
        for partition in self._partitions:
            position = consumer.position_within(partition, self._settings.limits.request_ms)
            if position is None:
                raise Doubt(f"the position in {partition} is not known")
            positions[partition] = position
        return positions

    def _commit(self, transactions: Transactions, outputs: list[Output]) -> None:
        places = self._processor.places(self._read)
        due = (time.monotonic() - self._last_commit) * 1000 >= self._settings.commit_idle_ms
        moved = any(self._last.get(partition) != place for partition, place in places.items())
        if outputs or moved:
            self._active = time.monotonic()
        elif not due:
            return
        if self._rebalanced.is_set():
            # Nothing of this turn was sent; settling the new assignment discards it.
            return
        for partition, place in places.items():
            last = self._last.get(partition)
            if last is not None and place.offset < last.offset:
                raise Doubt(f"{partition} would go back from {last.offset} to {place.offset}")
        began = time.monotonic()
        try:
            transactions.commit(outputs, places, self._group)
        except RoleFailure:
            self._meter.aborted()
            raise
        self._fell_out = False
        self._last.update(places)
        self._last_commit = time.monotonic()
        self._meter.committed(outputs, places, self._last_commit - began)
        self._processor.committed(places)

    def _apply_pauses(self, consumer: GroupConsumer) -> None:
        wanted = self._processor.paused() & consumer.assignment()
        now = consumer.paused()
        if wanted - now:
            consumer.pause(wanted - now)
        if now - wanted:
            consumer.resume(now - wanted)

    def _check_progress(self, consumer: GroupConsumer) -> None:
        # A partition whose fetched records wait for their turn has not stalled. It can wait for minutes behind 1 MB of
        # another partition that is slow to process; that other partition moves.
        resting = consumer.paused() | consumer.waiting()
        reading = {partition: offset for partition, offset in self._read.items() if partition not in resting}
        standing = self._progress.standing(reading, time.monotonic())
        if not standing:
            return
        # With read-committed, another producer's open transaction counts as the end of the log, not as a stall.
        ends = consumer.end_offsets(standing, timeout_ms=self._settings.limits.request_ms)
        stuck = self._progress.stalled(ends, time.monotonic())
        if stuck:
            raise Doubt(f"reading stands still in {stuck[0]} although there is more to read")

    # --- an assignment -----------------------------------------------------------------------------

    def _join(self, consumer: GroupConsumer) -> None:
        """Settle once the group has agreed on an assignment."""
        self._meter.revoked()
        if self._partitions:
            self._partitions = []
            self._unsettled_since = time.monotonic()
        if consumer.group_metadata().stable:
            self._settle(consumer)
            return
        consumer.request_rejoin()
        self._check_patience()

    def _check_patience(self) -> None:
        if (waited := time.monotonic() - self._unsettled_since) * 1000 > self._patience_ms():
            raise Doubt(f"group {self._settings.group} has not let this process in for {waited:.0f} s")

    def _patience_ms(self) -> int:
        """Return how long to wait for the group, which waits for its slowest member for up to a poll interval."""
        return self._settings.poll_interval_ms + self._settings.stall_ms

    def _settle(self, consumer: GroupConsumer) -> None:
        """Give the new assignment to the processor and seek every partition to its start offset."""
        self._rebalanced.clear()
        self._last, self._read = {}, {}
        if left_over := self._membership.left_over(consumer, self._processor.topics):
            _LOG.info("group %s assigns %s to no member: joining it again", self._settings.group, left_over[0])
            self._rebalanced.set()
            self._membership.join_anew(consumer)
            self._check_patience()
            return
        assigned = sorted(consumer.assignment())
        settings = self._settings
        takeover = Takeover(
            consumer,
            self._cluster,
            self._processor,
            request_ms=settings.limits.request_ms,
            stable_seconds=3 * settings.limits.broker_ms / 1000,
            stall_seconds=settings.stall_ms / 1000,
            goes_on=lambda: self._turns() and not self._rebalanced.is_set(),
        )
        try:
            self._topic_ids = self._ids_now(consumer)
            held = takeover.run(assigned)
        except Interrupted:
            return
        except KafkaError:
            if self._rebalanced.is_set():
                return  # the assignment has changed again: the next turn settles the newer one
            raise
        self._apply_pauses(consumer)
        self._last = held
        self._partitions = assigned
        self._unsettled_since = time.monotonic()
        self._last_commit = 0.0 if assigned else time.monotonic()
        self._lag.begin()
        self._meter.assigned(assigned)
        self._settled(assigned)

    # --- the end -----------------------------------------------------------------------------------

    def _finish(self, transactions: Transactions) -> None:
        """Commit the processor's last outputs; nothing if it has not taken its partitions over."""
        if not self._partitions or not self._read or self._rebalanced.is_set():
            return
        self._commit(transactions, self._processor.stopping())
