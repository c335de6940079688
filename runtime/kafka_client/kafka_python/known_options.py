"""The options that the Kafka client has, for settings to be checked against."""

from __future__ import annotations

from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.net.sasl import SASL_MECHANISMS

LIBRARY: Final = "kafka-python"
MECHANISMS: Final[tuple[str, ...]] = tuple(sorted(SASL_MECHANISMS))
"""What `sasl_mechanism` can be."""


def defaults() -> dict[str, Any]:
    """Return every option of any client, with its default."""
    known: dict[str, Any] = {}
    for client in (KafkaAdminClient, KafkaProducer, KafkaConsumer):
        known |= client.DEFAULT_CONFIG
    return known
