"""What the loop relies on, over every pair of implementations: two libraries in one group, and fencing."""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack, closing

import pytest
from kafka_clients import BEGINS, LIBRARIES, SECONDS, admin, closed, cluster, library, make, polled, topic, turn, until

from runtime.kafka_client.client import Admin, GroupConsumer, GroupMetadata, Library, NewTopic, TransactionalProducer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import FencedError, KafkaError
from runtime.kafka_client.records import CommittedOffset, Output, Partition

__all__ = ["admin", "closed", "cluster", "library", "topic"]

PAIRS = list(itertools.product(LIBRARIES, repeat=2))
ids = [f"{one}, then {two}" for one, two in PAIRS]
pairs = pytest.mark.parametrize(("one", "two"), [(LIBRARIES[a], LIBRARIES[b]) for a, b in PAIRS], ids=ids)


def member(
    cluster: Cluster, closed: ExitStack, topic: str, group: str, instance: str
) -> tuple[GroupConsumer, threading.Event]:
    told = threading.Event()
    consumer = closed.enter_context(
        closing(cluster.consumer(group_id=group, group_instance_id=instance, session_timeout_ms=6_000, **BEGINS))
    )
    consumer.subscribe([topic], told.set)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    return consumer, told


def producing(cluster: Cluster, closed: ExitStack, name: str) -> TransactionalProducer:
    producer = cluster.producer(transactional_id=name)
    closed.callback(producer.abandon, 5)
    producer.init_transactions()
    return producer


def commit(producer: TransactionalProducer, places: dict[Partition, CommittedOffset], group: GroupMetadata) -> None:
    producer.send_offsets_to_transaction(places, group)
    producer.commit_transaction()


@pytest.fixture
def pair_topic(bootstrap: str, prefix: str) -> str:
    """Make a topic with two partitions, once for both libraries of a pair."""
    with Cluster(bootstrap, library=LIBRARIES["kafka-python"]()).admin() as admin:
        make(admin, NewTopic(f"{prefix}pair", 2, {}))
    return f"{prefix}pair"


@pairs
def test_members_of_both_libraries_share_a_group(
    bootstrap: str, pair_topic: str, prefix: str, closed: ExitStack, one: type[Library], two: type[Library]
) -> None:
    first = member(Cluster(bootstrap, library=one()), closed, pair_topic, f"{prefix}group", "one")
    until(lambda: turn(*first) and len(first[0].assignment()) == 2, "both partitions for the first")
    second = member(Cluster(bootstrap, library=two()), closed, pair_topic, f"{prefix}group", "two")

    def shared() -> bool:
        ready = [turn(*each) for each in (first, second)]
        return all(ready) and [len(each.assignment()) for each, _ in (first, second)] == [1, 1]

    until(shared, "a partition for each")
    assert first[0].assignment() | second[0].assignment() == {Partition(pair_topic, 0), Partition(pair_topic, 1)}


@pairs
def test_a_process_of_another_library_takes_over_at_the_committed_offset(
    bootstrap: str, pair_topic: str, prefix: str, closed: ExitStack, one: type[Library], two: type[Library]
) -> None:
    """With the metadata, and with no record lost or repeated. The instance stays the same."""
    group, partition, place = f"{prefix}group", Partition(pair_topic, 0), CommittedOffset(3, "note é")
    old = Cluster(bootstrap, library=one())
    plain = closed.enter_context(closing(old.producer()))
    plain.send_all([Output(pair_topic, 0, b"k", b"%d" % number) for number in range(5)], SECONDS)
    first = member(old, closed, pair_topic, group, "one")
    until(lambda: turn(*first) and len(first[0].assignment()) == 2, "both partitions")
    before = producing(old, closed, f"{prefix}id")
    before.begin_transaction()
    before.send_offsets_to_transaction({partition: place, Partition(pair_topic, 1): place}, first[0].group_metadata())
    before.commit_transaction()

    new = Cluster(bootstrap, library=two())
    second = member(new, closed, pair_topic, group, "one")
    until(lambda: turn(*second) and len(second[0].assignment()) == 2, "both partitions for the second")
    until(lambda: second[0].committed(partition, timeout_ms=5_000) == place, "the place")
    second[0].seek(partition, place.offset)
    second[0].seek(Partition(pair_topic, 1), 0)
    assert [each.value for each in polled(second[0], 2)] == [b"3", b"4"]


def test_a_position_is_behind_the_marker_of_a_transaction(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    producer = producing(cluster, closed, f"{prefix}id")
    producer.begin_transaction()
    producer.send_all([Output(topic, 0, None, b"%d" % number) for number in range(3)], SECONDS)
    producer.commit_transaction()
    partition = Partition(topic, 0)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.assign([partition])
    consumer.seek(partition, 0)
    assert len(polled(consumer, 3)) == 3
    until(lambda: consumer.poll(50) or consumer.position_within(partition, 1_000) == 4, "position behind the marker")
    # Back, and on again: a position is never that of the time before.
    consumer.seek(partition, 1)
    assert consumer.position(partition) == 1
    consumer.poll(0)
    assert consumer.position(partition) in (1, 3, 4)
    consumer.pause([partition])
    at = consumer.position(partition)
    consumer.poll(50)
    assert consumer.position(partition) == at


def test_records_that_are_sought_again_are_the_same(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    partition = Partition(topic, 0)
    producer = closed.enter_context(closing(cluster.producer()))
    producer.send_all([Output(topic, 0, None, b"%d" % number) for number in range(20)], SECONDS)
    consumer = closed.enter_context(closing(cluster.consumer()))
    consumer.assign([partition])
    for begin in (0, 15, 3, 19):
        consumer.seek(partition, begin)
        assert [each.offset for each in polled(consumer, 20 - begin)] == list(range(begin, 20))


def test_a_member_of_an_older_generation_commits_nothing(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    one = member(cluster, closed, topic, f"{prefix}group", "one")
    until(lambda: turn(*one), "assignment")
    old = one[0].group_metadata()
    one[0].request_rejoin()
    until(lambda: turn(*one) and one[0].group_metadata().generation_id > old.generation_id, "newer generation")
    producer = producing(cluster, closed, f"{prefix}id")
    producer.begin_transaction()
    with pytest.raises(KafkaError, match=r"(?i)generation"):
        commit(producer, {Partition(topic, 0): CommittedOffset(1, "")}, old)
    assert one[0].committed(Partition(topic, 0), timeout_ms=10_000) is None


def test_a_displaced_member_commits_nothing(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    one = member(cluster, closed, topic, f"{prefix}group", "one")
    until(lambda: turn(*one), "assignment")
    zombie = one[0].group_metadata()
    other = member(cluster, closed, topic, f"{prefix}group", "one")
    until(lambda: turn(*other), "assignment of its successor")
    producer = producing(cluster, closed, f"{prefix}id")
    producer.begin_transaction()
    with pytest.raises(FencedError):
        commit(producer, {Partition(topic, 0): CommittedOffset(1, "")}, zombie)


@pairs
def test_a_successor_of_either_library_aborts_the_open_transaction(
    bootstrap: str, pair_topic: str, prefix: str, closed: ExitStack, one: type[Library], two: type[Library]
) -> None:
    old, new = Cluster(bootstrap, library=one()), Cluster(bootstrap, library=two())
    first = producing(old, closed, f"{prefix}id")
    first.begin_transaction()
    first.send_all([Output(pair_topic, 0, None, b"open")], SECONDS)
    second = producing(new, closed, f"{prefix}id")
    second.begin_transaction()
    second.send_all([Output(pair_topic, 0, None, b"second")], SECONDS)
    second.commit_transaction()
    consumer = closed.enter_context(closing(new.consumer()))
    consumer.assign([Partition(pair_topic, 0)])
    consumer.seek(Partition(pair_topic, 0), 0)
    assert [each.value for each in polled(consumer, 1)] == [b"second"]
    with pytest.raises(FencedError):
        first.commit_transaction()


def test_a_topic_is_created_by_no_client(cluster: Cluster, admin: Admin, prefix: str, closed: ExitStack) -> None:
    make(admin, NewTopic(f"{prefix}other", 1, {}))
    missing = f"{prefix}missing"
    producer = cluster.producer(max_block_ms=500)
    closed.callback(producer.abandon, 5)
    with pytest.raises((KafkaError, ValueError)):
        producer.send(missing, b"x", partition=0).get(2)
    consumer = closed.enter_context(closing(cluster.consumer()))
    consumer.assign([Partition(missing, 0)])
    consumer.seek(Partition(missing, 0), 0)
    consumer.poll(300)
    assert consumer.partitions_for_topic(missing) == set()
    assert not admin.describe_topics([missing])[0].exists
