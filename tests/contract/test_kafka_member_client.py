"""Members of a group tell it which client library each uses, over every implementation of the client."""

from __future__ import annotations

from contextlib import ExitStack, closing

from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka_clients import BEGINS, admin, closed, cluster, joined, library, topic, until
from raw_kafka import raw_consumer

from runtime.kafka_client.client import Admin, Library
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.kafka_python.assignor import range_assignor
from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA, version_of

__all__ = ["admin", "closed", "cluster", "library", "topic"]


def told(admin: Admin, group: str) -> list[str]:
    return [member.client for member in admin.describe_group(group).members]


def test_a_member_tells_its_library_and_version(
    cluster: Cluster, library: Library, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    group = f"{prefix}group"
    joined(cluster, closed, topic, group, **BEGINS)
    until(lambda: told(admin, group) == [f"{library.name} {version_of(library.name)}"], "note of the member")


def test_a_static_member_that_returns_with_another_client_tells_the_new_one(
    cluster: Cluster, library: Library, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    """It gets its earlier assignment without a rebalance, and Kafka keeps its earlier client id: not the note."""
    group = f"{prefix}group"
    other = LIBRDKAFKA if library.name == KAFKA_PYTHON else KAFKA_PYTHON
    settings = {
        "group_id": group,
        "group_instance_id": "static",
        "partition_assignment_strategy": (range_assignor(other),),
    }
    with closing(raw_consumer(cluster, **settings, **BEGINS)) as before:
        before.subscribe([topic])
        until(lambda: before.poll(100) is not None and before.assignment(), "assignment")
        before.close(autocommit=False)
    assert told(admin, group) == [f"{other} {version_of(other)}"]
    joined(cluster, closed, topic, group, group_instance_id="static", **BEGINS)
    assert told(admin, group) == [f"{library.name} {version_of(library.name)}"]


def test_a_member_of_an_earlier_release_tells_none(cluster: Cluster, admin: Admin, topic: str, prefix: str) -> None:
    group = f"{prefix}group"
    plain = {"partition_assignment_strategy": (RangePartitionAssignor,)}
    with closing(raw_consumer(cluster, group_id=group, **plain, **BEGINS)) as member:
        member.subscribe([topic])
        until(lambda: member.poll(100) is not None and member.assignment(), "assignment")
        assert told(admin, group) == [""]
