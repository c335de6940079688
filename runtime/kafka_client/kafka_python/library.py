"""Construction of kafka-python clients.

The settings replace defaults of kafka-python 3.0 that lose data or time; the reason is beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from runtime.kafka_client.kafka_python import quick_records
from runtime.kafka_client.kafka_python.admin import KafkaPythonAdmin
from runtime.kafka_client.kafka_python.assignor import range_assignor
from runtime.kafka_client.kafka_python.consumer import KafkaPythonConsumer
from runtime.kafka_client.kafka_python.errors import translated
from runtime.kafka_client.kafka_python.joins import keep_joins
from runtime.kafka_client.kafka_python.producer import KafkaPythonProducer, Values
from runtime.kafka_client.library_names import KAFKA_PYTHON
from runtime.kafka_client.socket_cleanup import DIRECT

_EVERY_CLIENT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # At the default of 30 s the first acknowledgement after a 4 s outage came 10 s late.
        "reconnect_backoff_max_ms": 1000,
        # At 100 a transaction a batch has a p99 of 212 ms; at 5 it is 33 ms.
        "retry_backoff_ms": 5,
        # A client is only made if the port is open. A listener that has not answered by then is not Kafka, or refuses.
        "bootstrap_timeout_ms": 15_000,
    }
)
_CONSUMER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EVERY_CLIENT,
        "allow_auto_create_topics": False,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        # A reader whose offset was deleted by retention must not jump silently.
        "auto_offset_reset": "none",
        # A group that is joined before all brokers know its topics gets no partitions. It rejoins at the client's
        # next metadata refresh, by default after five minutes.
        "metadata_max_age_ms": 10_000,
        "metrics_enabled": False,
        # A single assignor, so that members of every release and library agree on it.
        "partition_assignment_strategy": (range_assignor(KAFKA_PYTHON),),
    }
)
_PRODUCER: Final[Mapping[str, Any]] = MappingProxyType(
    {**_EVERY_CLIENT, "allow_auto_create_topics": False, "metrics_enabled": False}
)
_ADMIN: Final[Mapping[str, Any]] = MappingProxyType(
    {"reconnect_backoff_max_ms": 1000, "request_timeout_ms": 10_000, "bootstrap_timeout_ms": 15_000}
)


class KafkaPython:
    """A `Library` with kafka-python."""

    name: Final = KAFKA_PYTHON

    def consumer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> KafkaPythonConsumer:
        return KafkaPythonConsumer(_consumer(bootstrap, options, settings))

    def producer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> KafkaPythonProducer:
        return KafkaPythonProducer(_producer(bootstrap, options, {"value_serializer": Values(), **settings}))

    def admin(self, bootstrap: str, options: Mapping[str, Any]) -> KafkaPythonAdmin:
        return KafkaPythonAdmin(_made(KafkaAdminClient, bootstrap, options, _ADMIN))


def _consumer(bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> KafkaConsumer:
    quick_records.install()
    client = _made(KafkaConsumer, bootstrap, options, {**_CONSUMER, **settings})
    # The client does not pass the option allow_auto_create_topics on to the requests that create topics.
    client._client._manager.cluster.config["allow_auto_create_topics"] = False
    keep_joins(client._coordinator)
    return client


def _producer(bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> KafkaProducer:
    client = _made(KafkaProducer, bootstrap, options, {**_PRODUCER, **settings})
    client._metadata.config["allow_auto_create_topics"] = False  # as of a consumer
    return client


def _made(kind: Any, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    # Each client gets the options that it knows: compression only the producer, security options all of them.
    given = {name: value for name, value in options.items() if name in kind.DEFAULT_CONFIG}
    made: list[Any] = []

    def connections(**config: Any) -> Any:
        made.append(KafkaNetClient(**config))
        return made[-1]

    settings = {**settings, **given, "bootstrap_servers": bootstrap.split(","), "kafka_client": connections}
    if not {"proxy_url", "socks5_proxy"} & given.keys():
        settings["proxy_url"] = DIRECT
    try:
        return kind(**settings)
    except KafkaError as error:
        for each in made:
            # If the constructor finds no broker, its caller has no object to close, and files would stay open.
            each.close()
        raise translated(error) from error
