"""Clients of kafka-python as they are, made as the product makes its own: tests write, read and look on with these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.kafka_python.library import KafkaPython


def raw_consumer(cluster: Cluster, **settings: Any) -> KafkaConsumer:
    client: Any = replace(cluster, library=KafkaPython()).consumer(**settings)
    return client._client


def raw_producer(cluster: Cluster, **settings: Any) -> KafkaProducer:
    client: Any = replace(cluster, library=KafkaPython()).producer(**settings)
    return client._client


@contextmanager
def raw_admin(cluster: Cluster) -> Iterator[KafkaAdminClient]:
    with cluster.admin() as admin:
        client: Any = admin
        yield client._client


def raw_member(consumer: Any) -> KafkaConsumer:
    """Return kafka-python's client of a consumer of the product: with librdkafka, too, it is the group's member."""
    return getattr(consumer, "_membership", consumer)._client
