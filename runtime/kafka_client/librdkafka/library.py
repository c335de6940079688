"""Construction of librdkafka clients.

The properties replace defaults of librdkafka 2.16 that lose data or time; the reason is beside each.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import Consumer as TheirConsumer
from confluent_kafka import Producer as TheirProducer

from runtime.kafka_client.client import LOGGER, Consumer
from runtime.kafka_client.kafka_python.admin import KafkaPythonAdmin
from runtime.kafka_client.kafka_python.assignor import range_assignor
from runtime.kafka_client.kafka_python.coordinator import wait_for_coordinator
from runtime.kafka_client.kafka_python.library import KafkaPython
from runtime.kafka_client.library_names import LIBRDKAFKA
from runtime.kafka_client.librdkafka.consumer import LibrdkafkaConsumer
from runtime.kafka_client.librdkafka.group_consumer import LibrdkafkaGroupConsumer
from runtime.kafka_client.librdkafka.handle import Handle
from runtime.kafka_client.librdkafka.options import Kind, translated
from runtime.kafka_client.librdkafka.producer import LibrdkafkaProducer

_EVERY_CLIENT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "allow.auto.create.topics": False,
        "reconnect.backoff.ms": 50,
        # The default is 10 s, and outages of seconds are common.
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 10_000,
        "log.connection.close": False,
    }
)
_CONSUMER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EVERY_CLIENT,
        # The client requires a group, and asks for its coordinator. It never joins: partitions are assigned.
        "group.id": "millstream-reader",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A reader whose offset was deleted by retention must not jump silently.
        "auto.offset.reset": "error",
        # A fetch waits at the broker, and ends at once when there is a record: a quiet member sends two a second.
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 500,
        # At 2,000 records read ahead a role handles two thirds of the records of 100,000. The bytes bound the memory.
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 16 << 10,
        "fetch.max.bytes": 16 << 20,
        # By default the client fetches nothing for a second after the records read ahead have reached their bound.
        "fetch.queue.backoff.ms": 20,
        "fetch.error.backoff.ms": 100,
        # Membership is kafka-python's, with its own interval: this client must not stop by itself.
        "max.poll.interval.ms": 86_400_000,
    }
)
_OF_MEMBER: Final[Mapping[str, Any]] = MappingProxyType(
    # So that it tells the ids of topics, in some lines at each refresh of metadata; see `Handle.topic_ids`.
    {"debug": "topic"}
)
_READER_WAIT_MS: Final = 20
"""Time for which a fetch of a reader without a group waits, unless the reader asks for another.

A broker answers the requests of a connection one after the other, and the client fetches beyond what is read. So the
next question of a reader, such as for the end of the next partition, would wait for half a second.
"""
_PRODUCER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EVERY_CLIENT,
        "enable.idempotence": True,
        # With more, a record can be lost unnoticed: a broker that refuses a producer's first batch for a moment (it is
        # about to lead) accepts the second one, and the client then takes the first one to be delivered, too. A broker
        # handles one request of a connection at a time anyway.
        "max.in.flight": 1,
        # Of the same size as kafka-python's. A batch above the topic's limit is refused whole, and the default is 1 MB.
        "batch.size": 1 << 17,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 64 << 10,
    }
)
_TRANSACTIONAL: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # At the default of 100 ms, transactions one after the other took 86 ms each; with these, 6 ms.
        "retry.backoff.ms": 1,
        # Each wait is twice as long as the one before. The largest is also that between two questions for a partition
        # without a leader: at 2 ms a producer asked 280 times a second, at 20 ms it asks fewer than 50 times.
        "retry.backoff.max.ms": 20,
        # When no broker answers for a moment, the client would forget all brokers, and with them the coordinator of its
        # transactions: the next call then never returned. A process that can reach none of them ends, and the next one
        # begins with the configured addresses.
        "metadata.recovery.strategy": "none",
    }
)
_OWN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acks": "acks",
        "enable_idempotence": "enable.idempotence",
        "isolation_level": "isolation.level",
        "transactional_id": "transactional.id",
    }
)
"""Settings of the calling code that users cannot set."""
_NOT_THEIRS: Final = frozenset(
    {
        "auto_offset_reset",
        "bootstrap_timeout_ms",
        # A member's fetch waits as set above: the client cannot change it later, as `wait_for_bytes` would.
        "fetch_max_wait_ms",
        "fetch_min_bytes",
        "group_id",
        "group_instance_id",
        "heartbeat_interval_ms",
        "max_block_ms",
        "max_poll_interval_ms",
        "max_poll_records",
        "session_timeout_ms",
    }
)
"""Settings of the calling code that kafka-python gets for the membership, or that the adapters apply."""
_FIRST_ANSWER_MS: Final = 15_000
_REQUEST_MS: Final = 30_000
_MOST_RECORDS: Final = 500
_BLOCK_MS: Final = 60_000


class Librdkafka:
    """A `Library` with librdkafka.

    kafka-python keeps the membership of groups and administers. So members of both libraries can be in one group: they
    join, assign and name themselves alike.
    """

    name: Final = LIBRDKAFKA

    def consumer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Consumer:
        member = settings.get("group_id") is not None
        wait_ms = settings.get("fetch_max_wait_ms", _READER_WAIT_MS)
        defaults = {**_CONSUMER, **(_OF_MEMBER if member else {"fetch.wait.max.ms": wait_ms})}
        handle = _handle("consumer", bootstrap, options, settings, defaults)
        fetcher = LibrdkafkaConsumer(
            handle,
            request_ms=_chosen("request_timeout_ms", options, settings, _REQUEST_MS),
            most_records=_chosen("max_poll_records", options, settings, _MOST_RECORDS),
        )
        if not member:
            _require_answer(fetcher, handle, options, settings)
            return fetcher
        note = {"partition_assignment_strategy": (range_assignor(LIBRDKAFKA),)}
        try:
            membership = KafkaPython().consumer(bootstrap, options, {**settings, **note})
        except BaseException:
            fetcher.close()
            raise
        return LibrdkafkaGroupConsumer(membership, fetcher)

    def producer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> LibrdkafkaProducer:
        properties = {**_PRODUCER, **(_TRANSACTIONAL if "transactional_id" in settings else {})}
        handle = _handle("producer", bootstrap, options, settings, properties)

        def find_coordinator(group: str, seconds: float) -> None:
            patience = {"bootstrap_timeout_ms": int(1000 * seconds)}
            with closing(self.admin(bootstrap, {**options, **patience})) as admin:
                wait_for_coordinator(admin, group, seconds)

        block_ms = _chosen("max_block_ms", options, settings, _BLOCK_MS)
        # As long as for a record, so that the client gives a step up before its caller gives the client up.
        step_ms = _chosen("delivery_timeout_ms", options, settings, block_ms)
        producer = LibrdkafkaProducer(handle, block_ms=block_ms, step_ms=step_ms, find_coordinator=find_coordinator)
        _require_answer(producer, handle, options, settings)
        return producer

    def admin(self, bootstrap: str, options: Mapping[str, Any]) -> KafkaPythonAdmin:
        return KafkaPython().admin(bootstrap, options)


def _chosen(name: str, options: Mapping[str, Any], settings: Mapping[str, Any], default: int) -> int:
    return int(options.get(name) or settings.get(name) or default)


def _handle(
    kind: Kind, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Handle:
    own = {_OWN[name]: value for name, value in settings.items() if name in _OWN}
    given = {name: value for name, value in settings.items() if name not in _OWN and name not in _NOT_THEIRS}
    properties = {**defaults, **own, **translated({**given, **options}, kind), "bootstrap.servers": bootstrap}
    make = TheirConsumer if kind == "consumer" else TheirProducer
    return Handle(make, properties, logging.getLogger(LOGGER))


def _require_answer(
    client: LibrdkafkaConsumer | LibrdkafkaProducer,
    handle: Handle,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Wait for a broker's first answer; close the client and raise KafkaError if there is none in time."""
    try:
        handle.require_answer(_chosen("bootstrap_timeout_ms", options, settings, _FIRST_ANSWER_MS) / 1000)
    except BaseException:
        client.close(0)
        raise
