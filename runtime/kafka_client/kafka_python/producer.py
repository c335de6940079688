"""Adapter of kafka-python's producer to `client.TransactionalProducer`, with guards for its faults."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.serializer import Serializer
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from runtime.kafka_client import errors as ours
from runtime.kafka_client.client import Acknowledged, GroupMetadata
from runtime.kafka_client.kafka_python.errors import translated, translating
from runtime.kafka_client.records import CommittedOffset, Output, Partition

_NOTHING: Final = object()


class Values(Serializer):  # type: ignore[misc]
    """Passes bytes unchanged. This hides records without key and value, which Kafka accepts but the client refuses."""

    def serialize(self, topic: str, headers: Any, data: Any) -> Any:
        return None if data is _NOTHING else data


class _Delivery:
    """A `Delivery`: the client's future, with translated errors."""

    __slots__ = ("_future",)

    def __init__(self, future: Any) -> None:
        self._future = future

    @property
    def is_done(self) -> bool:
        return bool(self._future.is_done)

    @property
    def exception(self) -> BaseException | None:
        error = self._future.exception
        return None if error is None else translated(error)

    @translating
    def get(self, timeout: float | None = None) -> Acknowledged:
        return cast(Acknowledged, self._future.get(timeout))


class KafkaPythonProducer:
    """A `TransactionalProducer` with kafka-python."""

    def __init__(self, client: KafkaProducer) -> None:
        self._client = client

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> _Delivery:
        given: Any = _NOTHING if value is None and key is None else value
        try:
            return _Delivery(self._client.send(topic, given, key, _writable(headers), partition, timestamp_ms))
        except KafkaError as error:
            raise translated(error) from error

    def send_all(self, outputs: Sequence[Output], timeout: float) -> None:
        self._acknowledged(outputs, timeout)

    def send_for_offsets(self, outputs: Sequence[Output], timeout: float) -> list[int]:
        return [each.value.offset for each in self._acknowledged(outputs, timeout)]

    def _acknowledged(self, outputs: Sequence[Output], timeout: float) -> list[Any]:
        """Send records and return the client's futures once all are acknowledged."""
        if not outputs:
            return []
        send = self._client.send
        try:
            futures = [
                send(
                    topic,
                    _NOTHING if value is None and key is None else value,
                    key,
                    _writable(headers) if headers else None,
                    partition,
                    timestamp,
                )
                for topic, partition, key, value, headers, timestamp in outputs
            ]
        except KafkaError as error:
            raise translated(error) from error
        until = time.monotonic() + timeout
        # Sends without the linger time. It fails if a batch was too large for the topic and was sent again in two
        # parts: each record is waited for below.
        with contextlib.suppress(ours.KafkaError):
            self.flush(timeout=timeout)
        for future in futures:
            if not future.is_done:
                _Delivery(future).get(timeout=max(0.0, until - time.monotonic()))
            # A record can expire, and commit_transaction() would return as if nothing were missing.
            if future.exception is not None:
                raise translated(future.exception)
        return futures

    @translating
    def flush(self, timeout: float | None = None) -> None:
        self._client.flush(timeout=timeout)

    @translating
    def close(self, timeout: float | None = None) -> None:
        self._client.close(timeout=timeout)

    def abandon(self, timeout: float) -> None:
        """Stop the sender, then close, in a thread.

        close(timeout=0) alone flushes first, raises if records are unacknowledged, and leaves the sender thread
        running, which continues to send. So the sender is stopped first.
        """

        def close() -> None:
            sender = self._client._sender
            sender.force_close()
            sender.join(timeout)
            # The producer is discarded, so a close that fails changes nothing.
            with contextlib.suppress(KafkaError):
                self._client.close(timeout=1)

        threading.Thread(target=close, name="abandon-producer", daemon=True).start()

    # --- transactions ------------------------------------------------------------------------------

    @translating
    def init_transactions(self) -> None:
        self._client.init_transactions()

    @translating
    def begin_transaction(self) -> None:
        self._client.begin_transaction()

    @translating
    def send_offsets_to_transaction(self, offsets: Mapping[Partition, CommittedOffset], group: GroupMetadata) -> None:
        theirs = {
            TopicPartition(*partition): OffsetAndMetadata(place.offset, place.metadata, -1)
            for partition, place in offsets.items()
        }
        handle = ConsumerGroupMetadata(group.group_id) if group.handle is None else group.handle
        self._client.send_offsets_to_transaction(theirs, handle)

    @translating
    def commit_transaction(self) -> None:
        self._client.commit_transaction()

    @translating
    def abort_transaction(self) -> None:
        self._client.abort_transaction()


def _writable(headers: Sequence[tuple[str, bytes | None]] | None) -> list[tuple[str, bytes]] | None:
    """Return headers for the client, which knows no header without a value: those get an empty one."""
    return [(name, b"" if value is None else value) for name, value in headers] if headers else None
