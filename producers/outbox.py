"""Sending records so that each is acknowledged, in order, through outages: at least once.

An idempotent producer of kafka-python that once let a batch expire never sends again: futures stay
open for ever and memory grows. So every record is kept here until the broker has acknowledged it. When one
fails or its acknowledgement is overdue, the producer is thrown away and all that is kept goes out again, in
order, through a new one. What the old one had delivered without our knowing is then there twice, under
the same event id.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from runtime.kafka_client.client import Delivery, Producer
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, RefusedError, error_name

_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.2
_ABANDON_SECONDS: Final = 5.0


class UndeliverableError(Exception):
    """A record that the broker will never take, or a broker silent for too long; the message says which."""


@dataclass(frozen=True, kw_only=True)
class OutboxLimits:
    """How long and how much to wait for.

    Parameters
    ----------
    request_ms, delivery_ms
        The client's time-outs. `delivery_ms` is also the age at which an acknowledgement is overdue.
    unacknowledged_bytes
        At most so much is under way: kafka-python itself has no bound.
    give_up_seconds
        Without any acknowledgement for so long, sending ends with an error.
    stop_seconds
        For so long after being told to stop, acknowledgements are still waited for.
    """

    request_ms: int = 30_000
    delivery_ms: int = 120_000
    unacknowledged_bytes: int = 8 << 20
    give_up_seconds: float = 600.0
    stop_seconds: float = 30.0


class _Record:
    __slots__ = ("bytes", "future", "key", "kind", "partition", "since", "topic", "value")

    def __init__(self, topic: str, partition: int, key: bytes, value: bytes, kind: str) -> None:
        self.topic = topic
        self.partition = partition
        self.key = key
        self.value = value
        self.kind = kind
        self.bytes = len(key) + len(value)
        self.future: Delivery | None = None
        self.since = 0.0

    @property
    def is_delivered(self) -> bool:
        """The broker has acknowledged it."""
        future = self.future
        return future is not None and future.is_done and future.exception is None

    @property
    def failure(self) -> BaseException | None:
        """Why it was not delivered, if it was not."""
        future = self.future
        return future.exception if future is not None and future.is_done else None


class Outbox:
    """A producer with what it has not yet delivered.

    Parameters
    ----------
    on_wait
        Called every so often (10 s apart at most) while something is waited for, with the seconds since
        the broker last acknowledged anything.
    stop
        Set when the user has had enough: waiting then ends `stop_seconds` later.

    Attributes
    ----------
    acknowledged
        By kind, how many records the broker has acknowledged.
    settled
        How many of the first records are acknowledged without a gap.
    resent
        How many went out a second time.
    """

    def __init__(
        self,
        cluster: Cluster,
        limits: OutboxLimits | None = None,
        on_wait: Callable[[float], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._cluster = cluster
        self._limits = limits or OutboxLimits()
        self._on_wait = on_wait or (lambda _seconds: None)
        self._stop = stop or threading.Event()
        self._stopped_at: float | None = None
        self._waiting: deque[_Record] = deque()
        self._bytes = 0
        self._progress_at = time.monotonic()
        self.acknowledged: Counter[str] = Counter()
        self.settled = 0
        self.sent = 0
        self.resent = 0
        self._producer = self._new_producer()

    def send(self, topic: str, partition: int, key: bytes, value: bytes, kind: str) -> int:
        """Hand a record over and return its number, from 0; wait while too much is under way.

        Raises
        ------
        UndeliverableError
            Where this record, or one before it, can never be delivered.
        """
        while self._bytes > self._limits.unacknowledged_bytes:
            self.wait()
        if not self._waiting:
            self._progress_at = time.monotonic()
        record = _Record(topic, partition, key, value, kind)
        self._waiting.append(record)
        self._bytes += record.bytes
        number = self.sent
        self.sent += 1
        if not self._hand_over(record):
            self._start_over()
        return number

    def settle(self) -> None:
        """Take note of what was acknowledged; start over with a new producer where one failed or is overdue."""
        waiting = self._waiting
        settled = 0
        while waiting:
            if not waiting[0].is_delivered:
                break
            record = waiting.popleft()
            self._bytes -= record.bytes
            self.acknowledged[record.kind] += 1
            settled += 1
        if settled:
            self.settled += settled
            self._progress_at = time.monotonic()
        if not waiting:
            return
        head = waiting[0]
        if (failure := head.failure) is not None:
            self._refuse_fatal(head, failure)
            self._start_over()
        elif time.monotonic() - head.since > self._limits.delivery_ms / 1000:
            self._start_over()

    def wait(self) -> None:
        """Wait for the oldest acknowledgement, for a moment, and take note of what came."""
        future = self._waiting[0].future if self._waiting else None
        if future is not None:
            # A time-out of ours or a failure of the record's: settle() tells them apart.
            with suppress(KafkaError):
                future.get(timeout=_LOOK_SECONDS)
        self.settle()
        self.check_patience()

    def drain(self, seconds: float | None = None) -> bool:
        """Wait until everything is acknowledged, for at most `seconds`; tell whether it is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._waiting and (deadline is None or time.monotonic() < deadline):
            self.wait()
        return not self._waiting

    def counted(self) -> Counter[str]:
        """Return by kind how many records are acknowledged, also those behind one that is not."""
        behind = Counter(record.kind for record in self._waiting if record.is_delivered)
        return self.acknowledged + behind

    def close(self) -> None:
        """Let go of the producer; what is not acknowledged by now is given up."""
        if self._waiting:
            self._producer.abandon(_ABANDON_SECONDS)
        else:
            self._producer.close(timeout=5)

    def _hand_over(self, record: _Record) -> bool:
        """Give a record to the producer; tell whether it took it."""
        record.future = None
        record.since = time.monotonic()
        try:
            record.future = self._producer.send(record.topic, record.value, record.key, None, record.partition)
        except KafkaError as error:
            self._refuse_fatal(record, error)
            return False
        except ValueError as error:
            raise UndeliverableError(f"topic {record.topic} is not as it was when sending began: {error}") from error
        return True

    def _start_over(self) -> None:
        """Throw the producer away and send what is not acknowledged through a new one, in order."""
        while True:
            self._producer.abandon(_ABANDON_SECONDS)
            try:
                self._producer = self._new_producer()
            except NoBroker:
                self._pause()
                continue
            # What was acknowledged behind a gap stays in its place, as delivered.
            kept = [record for record in self._waiting if not record.is_delivered]
            self.resent += len(kept)
            if all(self._hand_over(record) for record in kept):
                return
            self._pause()

    def _pause(self) -> None:
        self.check_patience()
        # There is nothing to await here: a port that listens may belong to a broker that does not answer yet.
        time.sleep(_RETRY_SECONDS)

    def check_patience(self) -> None:
        now = time.monotonic()
        silent = now - self._progress_at if self._waiting else 0.0
        self._on_wait(silent)
        if self._stop.is_set():
            self._stopped_at = now if self._stopped_at is None else self._stopped_at
            if now - self._stopped_at > self._limits.stop_seconds:
                raise UndeliverableError(
                    f"stopped: Kafka at {self._cluster.bootstrap} did not acknowledge {len(self._waiting)} records "
                    f"within {self._limits.stop_seconds:g} s"
                )
        if silent > self._limits.give_up_seconds:
            raise UndeliverableError(
                f"Kafka at {self._cluster.bootstrap} has acknowledged nothing for {silent:.0f} s: "
                f"{len(self._waiting)} records are not delivered"
            )

    def _refuse_fatal(self, record: _Record, error: BaseException) -> None:
        if isinstance(error, RefusedError):  # sending it again gives the same answer
            key = record.key.decode(errors="replace")
            raise UndeliverableError(
                f"Kafka does not take {record.kind} of event {key!r} on {record.topic} ({record.bytes} bytes): "
                f"{error_name(error)}"
            ) from error

    def _new_producer(self) -> Producer:
        return self._cluster.producer(
            enable_idempotence=True,
            request_timeout_ms=self._limits.request_ms,
            delivery_timeout_ms=self._limits.delivery_ms,
            max_block_ms=10_000,
            bootstrap_timeout_ms=10_000,
            linger_ms=5,
            batch_size=1 << 17,
            compression_type="lz4",
        )
