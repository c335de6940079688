"""Options of the Kafka client, used to check settings."""

from __future__ import annotations

from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.net.sasl import SASL_MECHANISMS

LIBRARY: Final = "kafka-python"
MECHANISMS: Final[tuple[str, ...]] = tuple(sorted(SASL_MECHANISMS))
"""Valid values of `sasl_mechanism`."""


def defaults() -> dict[str, Any]:
    """Return every option of all clients, with its default."""
    known: dict[str, Any] = {}
    for client in (KafkaAdminClient, KafkaProducer, KafkaConsumer):
        known |= client.DEFAULT_CONFIG
    return known
