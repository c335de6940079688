"""Loop of every role: the only code that polls, opens a transaction, sends, adds offsets and commits.

A turn: poll, pass the records to the processor, commit its outputs together with the offsets that it has read. Any
doubt about the outcome ends the process with exit code 75; the next process aborts the open transaction and rebuilds
its state in the normal way.

While the role is behind, and if its processor allows it, the commit of a turn runs in a thread while the next turn is
polled and processed. "Overlapping commits" in docs/architecture.md says why that loses and repeats nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.loop.commit_in_flight import CommitInFlight, Turn
from consumers.loop.instrumentation import Meter
from consumers.loop.processor import Anew, Processor
from consumers.loop.reading import POLL_MS, PollTime, apply_pauses, positions, topic_ids, unread
from consumers.loop.takeover import Interrupted, Takeover
from consumers.loop.turns import MOST_RECORDS, TurnSizes
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
    most_behind
        Most records of a batch while the role is behind; see `consumers.loop.turns`.
    stall_ms
        Time after which a partition that does not move, or a group that is not joined, counts as stalled.
    fetch_bytes, fetch_wait_ms
        ``fetch.min.bytes`` while records arrive, and how long the broker waits for them. A transaction costs the same
        with one record as with a hundred, so larger batches cost less CPU time where latency does not matter.
    """

    group: str
    instance: str
    session_ms: int = 15_000
    poll_interval_ms: int = 60_000
    commit_idle_ms: int = 5_000
    turn_ms: int = 150
    most_behind: int = MOST_RECORDS
    stall_ms: int = 60_000
    fetch_bytes: int = 1
    fetch_wait_ms: int = POLL_MS
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
        self._sizes = TurnSizes(settings.turn_ms, settings.most_behind, settings.limits.deadline_ms)
        self._in_flight = CommitInFlight()
        self._partitions: list[Partition] = []
        self._topic_ids: dict[str, object] = {}
        self._fell_out = False
        self._read: Positions = {}
        self._group: GroupMetadata | None = None
        self._watch: TurnWatch | None = None
        self._progress = ProgressWatch(settings.stall_ms / 1000)
        self._unsettled_since = time.monotonic()
        self._poll_time = PollTime(settings.fetch_bytes, settings.fetch_wait_ms)

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
        consumer.subscribe(self._processor.topics, self._assignment_changes)
        self._membership.know_topics(consumer, self._processor.topics, self._settings.limits.broker_ms / 1000)
        self._unsettled_since = time.monotonic()
        try:
            while self._turns():
                self._turn(consumer, transactions)
            self._finish(transactions)
        finally:
            # An error in a turn must not hide that the commit before it has failed.
            self._land()

    def _assignment_changes(self) -> None:
        """Note that the assignment changes; the client calls this before it joins the group again.

        The commit in flight is waited for, because the group's next generation would refuse it. Heartbeats wait, too,
        so the wait is shorter than a session.
        """
        self._rebalanced.set()
        self._in_flight.wait(self._settings.session_ms / 3000)

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
            max_poll_records=MOST_RECORDS,
            bootstrap_timeout_ms=settings.limits.broker_ms,
            fetch_max_wait_ms=POLL_MS,
            fetch_min_bytes=settings.fetch_bytes,
            max_partition_fetch_bytes=4 << 20,
        )

    # --- a turn ------------------------------------------------------------------------------------

    def _turn(self, consumer: GroupConsumer, transactions: Transactions) -> None:
        asked = self._sizes.size()
        batch = self._poll(consumer, asked)
        self._check_topics(consumer)
        if self._rebalanced.is_set():
            # The polled records are dropped: the new assignment begins at the committed offsets.
            self._land()
            self._join(consumer)
            return
        if not self._partitions:
            return
        try:
            outputs = self._hand_over(batch)
        except Anew:
            self._rebalanced.set()  # the same partitions, taken over like after a rebalance
            return
        self._read = positions(consumer, self._partitions, self._settings.limits.request_ms)
        records = sum(map(len, batch.values()))
        self._sizes.polled(asked, records, unread(consumer, self._read) if records else 0)
        self._commit(transactions, outputs, records, overlaps=self._may_overlap(consumer))
        apply_pauses(consumer, self._processor.paused())
        self._progress.check(consumer, self._read, self._settings.limits.request_ms)
        if (lags := self._lag.look(consumer, self._read)) is not None:
            self._meter.lag(lags)

    def _hand_over(self, batch: Batch) -> list[Output]:
        """Return the processor's outputs for these records and for the time that has passed.

        The turn before is committed when this returns: only `process` overlaps with its commit.
        """
        outputs: list[Output] = []
        if batch:
            began = time.monotonic()
            outputs = self._processor.process(batch)
            seconds = time.monotonic() - began
            self._sizes.processed(batch, outputs, seconds)
            if self._land():
                self._meter.overlapped()
            self._meter.processed(batch, seconds)
        self._land()
        return outputs + self._processor.tick(time.time_ns() // 1_000_000)

    def _poll(self, consumer: GroupConsumer, records: int) -> Batch:
        polled: Batch = {}
        try:
            joining = self._rebalanced.is_set()
            timeout_ms = self._poll_time.choose(consumer, joining=joining, behind=self._sizes.behind)
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=records)
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

    def _check_topics(self, consumer: GroupConsumer) -> None:
        """Settle again if a topic was deleted and created again: the offsets belong to the old topic."""
        if self._partitions and topic_ids(consumer, self._processor.topics, self._topic_ids) != self._topic_ids:
            self._rebalanced.set()

    def _may_overlap(self, consumer: GroupConsumer) -> bool:
        """Return whether the next turn may begin before this one is committed."""
        return (
            self._processor.overlaps
            and self._sizes.behind
            and self._processor.paused() & consumer.assignment() == consumer.paused()
        )

    def _commit(
        self, transactions: Transactions, outputs: list[Output], records: int = 0, *, overlaps: bool = False
    ) -> None:
        """Commit a turn of so many records, or, if it overlaps, begin to; `_land` ends it."""
        places = self._processor.places(self._read)
        due = (time.monotonic() - self._last_commit) * 1000 >= self._settings.commit_idle_ms
        moved = any(self._last.get(partition) != place for partition, place in places.items())
        if outputs or moved:
            self._poll_time.active()
        elif not due:
            return
        if self._rebalanced.is_set():
            # Nothing of this turn was sent; settling the new assignment discards it.
            return
        for partition, place in places.items():
            last = self._last.get(partition)
            if last is not None and place.offset < last.offset:
                raise Doubt(f"{partition} would go back from {last.offset} to {place.offset}")
        turn = Turn(outputs, places, self._group, records)
        if overlaps:
            self._in_flight.start(transactions, turn)
        else:
            self._in_flight.run(transactions, turn)
            self._land()

    def _land(self) -> bool:
        """Wait for the commit in flight and pass on its success, or raise its failure; return whether there was one."""
        try:
            committed = self._in_flight.land()
        except RoleFailure:
            self._meter.aborted()
            raise
        if committed is None:
            return False
        turn = committed.turn
        self._fell_out = False
        self._last.update(turn.places)
        self._last_commit = committed.ended
        self._sizes.committed(turn.records, committed.seconds)
        self._meter.committed(turn.outputs, turn.places, committed.seconds)
        self._processor.committed(turn.places)
        return True

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
            self._topic_ids = topic_ids(consumer, self._processor.topics, self._topic_ids)
            held = takeover.run(assigned)
        except Interrupted:
            return
        except KafkaError:
            if self._rebalanced.is_set():
                return  # the assignment has changed again: the next turn settles the newer one
            raise
        apply_pauses(consumer, self._processor.paused())
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
        self._land()
        if not self._partitions or not self._read or self._rebalanced.is_set():
            return
        self._commit(transactions, self._processor.stopping())
