"""Guards against faults of kafka-python that the contract of a client does not name, on a real Kafka."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest
from kafka_clients import BEGINS, SECONDS, admin, closed, joined, topic, until

from runtime.kafka_client.client import Admin
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.kafka_python.library import KafkaPython
from runtime.kafka_client.records import Partition

__all__ = ["admin", "closed", "topic"]


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap, library=KafkaPython())


def turns(consumer: Any) -> Callable[[], set[Partition]]:
    """Return what polls for a moment, waits until the join that is under way has ended, and returns the assignment.

    So each join ends between two polls, as where a member polls seldom or the machine is busy.
    """

    def turned() -> set[Partition]:
        consumer.poll(1)
        task = consumer._client._coordinator._join_task
        until(lambda: task is None or task.is_done, "end of the join")
        return set(consumer.assignment())

    return turned


def test_a_join_that_ends_between_two_polls_counts(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", **BEGINS)))
    consumer.subscribe([topic], lambda: None)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    until(turns(consumer), "assignment")
    assert consumer.group_metadata().generation_id == 1


def test_a_join_for_a_topic_that_grew_counts_too(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = joined(cluster, closed, topic, f"{prefix}group", metadata_max_age_ms=500, **BEGINS)
    admin.create_partitions(topic, 3)
    turned = turns(consumer)
    until(lambda: len(turned()) == 3, "third partition")
    assert consumer.group_metadata().generation_id == 2
