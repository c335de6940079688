"""What the contract tests of the Kafka client share: every implementation, a topic, and members of a group."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from runtime.kafka_client.client import Admin, Consumer, GroupConsumer, Library, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.kafka_python.library import KafkaPython
from runtime.kafka_client.librdkafka.library import Librdkafka
from runtime.kafka_client.records import Partition, Record

SECONDS = 120.0  # until what must come has come; most of it takes a second, on busy machines many
BEGAN_MS = 1_700_000_000_000


LIBRARIES: dict[str, type[Library]] = {each.name: each for each in (KafkaPython, Librdkafka)}  # type: ignore[type-abstract]


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    made: Library = request.param()
    return made


@pytest.fixture
def cluster(library: Library, bootstrap: str) -> Cluster:
    return Cluster(bootstrap, library=library)


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Admin]:
    with cluster.admin() as admin:
        yield admin


@pytest.fixture
def topic(admin: Admin, prefix: str) -> str:
    """Make a topic with two partitions."""
    make(admin, NewTopic(f"{prefix}records", 2, {}))
    return f"{prefix}records"


@pytest.fixture
def closed() -> Iterator[ExitStack]:
    """Close at the end what a test opens."""
    with ExitStack() as stack:
        yield stack


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {SECONDS:g} s"


def make(admin: Admin, *topics: NewTopic) -> None:
    assert admin.create_topics(topics, timeout_ms=10_000) == {each.name: None for each in topics}
    names = [each.name for each in topics]
    until(
        lambda: all(each.exists and min(each.leaders.values()) >= 0 for each in admin.describe_topics(names)), "leaders"
    )


def put(cluster: Cluster, topic: str, count: int, partition: int = 0) -> None:
    """Write `count` records a second apart."""
    with closing(cluster.producer()) as producer:
        for number in range(count):
            headers = [("number", b"%d" % number)]
            producer.send(topic, b"v%d" % number, b"k", headers, partition, BEGAN_MS + number * 1000)
        producer.flush(SECONDS)


def polled(consumer: Consumer, count: int) -> list[Record]:
    """Poll until so many records have come."""
    found: list[Record] = []

    def enough() -> bool:
        found.extend(record for records in consumer.poll(100).values() for record in records)
        return len(found) >= count

    until(enough, f"{count} records")
    return found


def reading(cluster: Cluster, closed: ExitStack, *partitions: Partition, **settings: Any) -> Consumer:
    """Return a consumer that is at the beginning of some partitions."""
    consumer = closed.enter_context(closing(cluster.consumer(**settings)))
    consumer.assign(partitions)
    consumer.seek_to_beginning(partitions)
    return consumer


def turn(member: GroupConsumer, told: threading.Event) -> bool:
    """Poll and ask for a rejoin as the loop does; tell whether the member has its share."""
    member.poll(100)
    if told.is_set() and not member.group_metadata().stable:
        member.request_rejoin()
    return member.group_metadata().stable and bool(member.assignment())


def joined(cluster: Cluster, closed: ExitStack, topic: str, group: str, **settings: Any) -> GroupConsumer:
    """Return a member that has the topic to itself, at the beginning, and has been told so."""
    told = threading.Event()
    consumer = closed.enter_context(closing(cluster.consumer(group_id=group, **settings)))
    consumer.subscribe([topic], told.set)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    partitions = {Partition(topic, 0), Partition(topic, 1)}

    def settled() -> bool:
        return turn(consumer, told) and consumer.assignment() == partitions

    until(settled, "assignment")
    assert told.is_set()
    for partition in partitions:
        consumer.seek(partition, 0)
    return consumer


# Until it is told where to read, a new member of a new group would raise: that is asked for in the tests of errors.
BEGINS = {"auto_offset_reset": "earliest"}
