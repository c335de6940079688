"""Producer that retries: delivers records at least once and in order, across outages.

After a batch has expired, an idempotent producer of kafka-python never sends again: its futures stay open for ever and
memory grows. So this class keeps every record until the broker has acknowledged it. If one fails or its acknowledgement
is overdue, it discards the producer and sends all kept records again, in order, through a new one. Records that
the old producer had delivered without an acknowledgement then exist twice, under the same event id.
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
    """The broker will never accept a record, or has been silent for too long; the message says which."""


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    """Limits of time and memory for unacknowledged records.

    Parameters
    ----------
    request_ms, delivery_ms
        The client's time-outs. `delivery_ms` is also the age at which an acknowledgement is overdue.
    unacknowledged_bytes
        Maximum size of unacknowledged records; kafka-python itself has no limit.
    give_up_seconds
        Time without any acknowledgement after which sending ends with an error.
    stop_seconds
        Time to wait for acknowledgements after a request to stop.
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


class RetryingProducer:
    """A producer and its undelivered records.

    Parameters
    ----------
    on_wait
        Called at least every 10 s while waiting, with the seconds since the broker's last acknowledgement.
    stop
        Set when the user stops the program: waiting then ends `stop_seconds` later.

    Attributes
    ----------
    acknowledged
        Number of acknowledged records by kind.
    settled
        Number of records acknowledged from the first one without a gap.
    resent
        Number of records that were sent a second time.
    """

    def __init__(
        self,
        cluster: Cluster,
        limits: RetryLimits | None = None,
        on_wait: Callable[[float], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._cluster = cluster
        self._limits = limits or RetryLimits()
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
        """Send a record and return its number, from 0; wait while too many bytes are unacknowledged.

        Raises
        ------
        UndeliverableError
            If this record, or one before it, can never be delivered.
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
        """Process acknowledgements; start again with a new producer if a record failed or is overdue."""
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
        """Wait briefly for the oldest acknowledgement, and process those that came."""
        future = self._waiting[0].future if self._waiting else None
        if future is not None:
            # This is our own time-out or the record's failure: settle() distinguishes them.
            with suppress(KafkaError):
                future.get(timeout=_LOOK_SECONDS)
        self.settle()
        self.check_patience()

    def drain(self, seconds: float | None = None) -> bool:
        """Wait until everything is acknowledged, for at most `seconds`; return whether it is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._waiting and (deadline is None or time.monotonic() < deadline):
            self.wait()
        return not self._waiting

    def counted(self) -> Counter[str]:
        """Return the number of acknowledged records by kind, including those after an unacknowledged one."""
        behind = Counter(record.kind for record in self._waiting if record.is_delivered)
        return self.acknowledged + behind

    def close(self) -> None:
        """Close the producer and give up unacknowledged records."""
        if self._waiting:
            self._producer.abandon(_ABANDON_SECONDS)
        else:
            self._producer.close(timeout=5)

    def _hand_over(self, record: _Record) -> bool:
        """Pass a record to the producer; return whether it accepted it."""
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
        """Discard the producer and send unacknowledged records through a new one, in order."""
        while True:
            # What it still holds is sent by its successor.
            self._producer.abandon(_ABANDON_SECONDS)
            try:
                self._producer = self._new_producer()
            except NoBroker:
                self._pause()
                continue
            # Records acknowledged after a gap stay in the queue, marked as delivered.
            kept = [record for record in self._waiting if not record.is_delivered]
            self.resent += len(kept)
            if all(self._hand_over(record) for record in kept):
                return
            self._pause()

    def _pause(self) -> None:
        self.check_patience()
        # No condition could replace this pause: a port may be open before its broker answers.
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
