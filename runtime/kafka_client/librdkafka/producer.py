"""Adapter of librdkafka's producer to `client.TransactionalProducer`, with guards for its faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from confluent_kafka import KafkaError as TheirError
from confluent_kafka import KafkaException, Message, TopicPartition

from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.errors import KafkaError, KafkaTimeoutError
from runtime.kafka_client.librdkafka.errors import of_exception, translated
from runtime.kafka_client.librdkafka.group_metadata import encoded
from runtime.kafka_client.librdkafka.handle import Handle
from runtime.kafka_client.records import CommittedOffset, Output, Partition

_LOOK_SECONDS: Final = 0.1


class LibrdkafkaDelivery:
    """A `Delivery` and `Acknowledged`. It is the client's callback itself, so that a record needs one object."""

    __slots__ = ("_error", "_offset", "_producer")

    def __init__(self, producer: LibrdkafkaProducer) -> None:
        self._producer: LibrdkafkaProducer | None = producer
        self._error: KafkaError | None = None
        self._offset = -1

    def __call__(self, error: TheirError | None, message: Message) -> None:
        offset = message.offset()
        if error is not None:
            self._error = translated(error)
        elif offset is None:
            # Only later records were acknowledged, see `max.in.flight` in library.py: this one may not be there.
            self._error = KafkaError("the record was acknowledged without an offset, and may be lost")
        else:
            self._offset = offset
        self._producer = None

    @property
    def is_done(self) -> bool:
        if self._producer is not None:
            self._producer.serve(0)  # the client calls back only in its own calls
        return self._producer is None

    @property
    def exception(self) -> KafkaError | None:
        return self._error

    @property
    def offset(self) -> int:
        return self._offset

    def get(self, timeout: float | None = None) -> LibrdkafkaDelivery:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (producer := self._producer) is not None:
            left = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise KafkaTimeoutError(f"no acknowledgement within {timeout:g} s")
            producer.serve(min(left, _LOOK_SECONDS))
        if self._error is not None:
            raise self._error
        return self


class LibrdkafkaProducer:
    """A `TransactionalProducer` with librdkafka.

    Parameters
    ----------
    block_ms
        Longest wait for a topic's partitions, for room among the records that wait to be sent, and for the end of an
        earlier producer with the transactional id.
    step_ms
        Longest wait for any other step of a transaction.
    find_coordinator
        Waits for a group's coordinator, for at most so many seconds.
    """

    def __init__(
        self, handle: Handle, *, block_ms: int, step_ms: int, find_coordinator: Callable[[str, float], None]
    ) -> None:
        self._handle = handle
        # The client ends when nothing refers to it. So no other name is given to it: an error would keep the name.
        self._client: Any = handle.client
        self._block_seconds = block_ms / 1000
        self._step_seconds = step_ms / 1000
        self._find_coordinator = find_coordinator
        self._answered: dict[str, int] = {}  # by group whose coordinator has answered, the lost connections until then
        self._counts: dict[str, int] = {}  # partitions of each topic that was sent to
        # Held in every call that waits without the interpreter's lock: the client must not be freed under it.
        self._in_use = threading.RLock()
        self._open = True

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> LibrdkafkaDelivery:
        delivery = LibrdkafkaDelivery(self)
        self._produce(topic, partition or 0, key, value, headers, timestamp_ms, delivery)
        return delivery

    def send_all(self, outputs: Sequence[Output], timeout: float) -> None:
        for output in outputs:
            self._produce(*output)
        # No callbacks: if a record fails, the client refuses to commit the transaction.
        self.flush(timeout)

    def send_for_offsets(self, outputs: Sequence[Output], timeout: float) -> list[int]:
        deliveries = [LibrdkafkaDelivery(self) for _ in outputs]
        for output, delivery in zip(outputs, deliveries, strict=True):
            self._produce(*output, delivery)
        self.flush(timeout)
        return [each.get(0).offset for each in deliveries]

    def _produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        timestamp: int | None = None,
        delivery: LibrdkafkaDelivery | None = None,
    ) -> None:
        if not self._open:
            raise KafkaError("this producer was closed")
        if partition >= self._counts.get(topic, 0):
            self._require_partition(topic, partition)
        more: dict[str, Any] = {}
        if timestamp is not None:
            # The client takes a time of 0 to be the current time: the record gets the next millisecond.
            more["timestamp"] = timestamp or 1
        if headers:
            more["headers"] = [(name, b"" if value is None else value) for name, value in headers]
        try:
            self._client.produce(topic, value, key, partition, delivery, **more)
        except BufferError:
            self._make_room()
            self._produce(topic, partition, key, value, headers, timestamp, delivery)
        except KafkaException as error:
            raise of_exception(error) from error

    def _make_room(self) -> None:
        """Wait until the client has fewer records than it may hold. Raises KafkaTimeoutError if that takes too long."""
        held, deadline = len(self._client), time.monotonic() + self._block_seconds
        while len(self._client) >= held:
            self._handle.check()
            if time.monotonic() > deadline:
                raise KafkaTimeoutError(f"no room for another record within {self._block_seconds:g} s")
            self.serve(_LOOK_SECONDS)

    def _require_partition(self, topic: str, partition: int) -> None:
        """Ask for the topic's partitions: the client itself would wait for one that does not exist.

        Raises
        ------
        ValueError
            If the topic has no such partition.
        """
        self._handle.check()
        deadline = time.monotonic() + self._block_seconds
        while (count := self._count(topic)) is None:
            if time.monotonic() > deadline:
                raise KafkaTimeoutError(f"topic {topic} is not known after {self._block_seconds:g} s")
            self.serve(_LOOK_SECONDS)
        self._counts[topic] = count
        if partition >= count:
            raise ValueError(f"topic {topic} has no partition {partition}: it has {count}")

    def _count(self, topic: str) -> int | None:
        with self._using():
            found = self._client.list_topics(topic, timeout=self._block_seconds).topics[topic]
        if found.error is None:
            return len(found.partitions)
        error = translated(found.error)
        if not error.retriable:
            raise error
        return None

    def serve(self, seconds: float) -> None:
        """Let the client report what was delivered, for at most `seconds` if there is nothing."""
        with self._in_use:
            if self._open:
                try:
                    self._client.poll(seconds)
                except (KafkaException, SystemError) as error:  # it has ended for good
                    raise self._told(error) from error

    def flush(self, timeout: float | None = None) -> None:
        with self._using():
            left = self._client.flush(-1 if timeout is None else timeout)
        if left:
            raise KafkaTimeoutError(f"{left} records are not acknowledged within {timeout:g} s")

    def close(self, timeout: float | None = None) -> None:
        with self._in_use:
            if self._open:
                self._open = False
                with suppress(KafkaException, SystemError):
                    self._client.flush(-1 if timeout is None else timeout)
                self._end()

    def abandon(self, timeout: float) -> None:
        """Drop the records, then close, in a thread, because a call that still waits for the broker has to end first.

        If it takes longer than `timeout` s, it closes the client itself when it ends. A second call does nothing.
        """
        if not self._open:
            return
        self._open = False
        self._purge()

        def close() -> None:
            if self._in_use.acquire(timeout=timeout):
                try:
                    self._end()
                finally:
                    self._in_use.release()

        threading.Thread(target=close, name="abandon-producer", daemon=True).start()

    def _purge(self) -> None:
        self._client.purge(in_queue=True, in_flight=True, blocking=False)

    def _end(self) -> None:
        """Free the client, and drop records that it still has: it would wait for them for ever.

        Its own close would first abort an open transaction, and wait for a broker that may be away. The next producer
        with the transactional id aborts it.
        """
        if self._client is not None:
            self._purge()
            with suppress(KafkaException, SystemError):
                self._client.flush(_LOOK_SECONDS)
            self._client = self._handle.client = None

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Keep the client for a call that waits, and translate its errors."""
        with self._in_use:
            if not self._open:
                raise KafkaError("this producer was closed")
            self._handle.check()
            try:
                yield
            except (KafkaException, SystemError) as error:
                raise self._told(error) from error
            finally:
                if not self._open:
                    self._end()

    def _told(self, error: KafkaException | SystemError) -> KafkaError:
        """Return the translation of an error.

        While it raises a fatal error, the client still calls back for records. Python takes such a call for the
        failure, and the error is lost: so it is asked for again.
        """
        if isinstance(error, KafkaException):
            return of_exception(error)
        try:
            self._client.begin_transaction()
        except KafkaException as told:
            return of_exception(told)
        return KafkaError(str(error))

    # --- transactions ------------------------------------------------------------------------------

    def init_transactions(self) -> None:
        with self._using():
            self._client.init_transactions(self._block_seconds)

    def begin_transaction(self) -> None:
        with self._using():
            self._client.begin_transaction()

    def send_offsets_to_transaction(self, offsets: Mapping[Partition, CommittedOffset], group: GroupMetadata) -> None:
        theirs = [
            TopicPartition(*partition, place.offset, metadata=place.metadata) for partition, place in offsets.items()
        ]
        member = encoded(group)
        self._require_coordinator(group)
        with self._using():
            self._client.send_offsets_to_transaction(theirs, member, self._step_seconds)

    def _require_coordinator(self, group: GroupMetadata) -> None:
        """Wait for the group's coordinator before the first commit, and before the next one after a lost connection.

        The client asks three times within milliseconds for it. If it is not there yet, as in a new cluster or in one
        that has just started again, the call never returns, not even at its time-out.
        """
        self.serve(0)  # lets the client report lost connections
        self._handle.check()
        losses = self._handle.losses
        # A member has found it before.
        if self._answered.get(group.group_id, -1 if group.handle is None else 0) != losses:
            self._find_coordinator(group.group_id, self._step_seconds)
            self._answered[group.group_id] = losses

    def commit_transaction(self) -> None:
        with self._using():
            self._client.commit_transaction(self._step_seconds)

    def abort_transaction(self) -> None:
        with self._using():
            self._client.abort_transaction(self._step_seconds)
