"""The consumer of the Kafka client's interface against a real broker, over every implementation."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from typing import Any

from kafka_clients import (
    BEGAN_MS,
    BEGINS,
    SECONDS,
    admin,
    closed,
    cluster,
    joined,
    library,
    make,
    polled,
    put,
    reading,
    topic,
    turn,
    until,
)

from runtime.kafka_client.client import Admin, GroupConsumer, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition

__all__ = ["admin", "closed", "cluster", "library", "topic"]


# --- a consumer of ranges --------------------------------------------------------------------------


def test_records_are_read_as_they_were_sent(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    put(cluster, topic, 3)
    consumer = reading(cluster, closed, Partition(topic, 0))
    records = polled(consumer, 3)
    assert [(each.topic, each.partition, each.offset) for each in records] == [(topic, 0, n) for n in range(3)]
    assert [(each.key, each.value) for each in records] == [(b"k", b"v%d" % n) for n in range(3)]
    assert [[tuple(pair) for pair in each.headers] for each in records] == [[("number", b"%d" % n)] for n in range(3)]
    assert [each.timestamp for each in records] == [BEGAN_MS + n * 1000 for n in range(3)]


def test_records_are_found_by_our_partitions(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    partition = Partition(topic, 1)
    put(cluster, topic, 1, partition=1)
    consumer = reading(cluster, closed, partition)
    found: list[Any] = []
    until(lambda: found.extend(consumer.poll(100).get(partition, ())) or found, "record")
    assert found[0].value == b"v0"


def test_reading_goes_on_where_it_is_told_to(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    partition = Partition(topic, 0)
    put(cluster, topic, 5)
    consumer = reading(cluster, closed, partition)
    assert consumer.assignment() == {partition}
    assert consumer.position(partition) == 0
    consumer.seek(partition, 3)
    assert consumer.position(partition) == 3
    assert [each.offset for each in polled(consumer, 2)] == [3, 4]
    assert consumer.position(partition) == 5


def test_a_poll_returns_no_more_than_it_may(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    put(cluster, topic, 10)
    consumer = reading(cluster, closed, Partition(topic, 0))
    sizes: list[int] = []

    def all_read() -> bool:
        sizes.extend(len(records) for records in consumer.poll(100, max_records=4).values())
        return sum(sizes) == 10

    until(all_read, "10 records")
    assert max(sizes) == 4


def test_beginnings_and_ends_are_those_of_the_log(
    cluster: Cluster, admin: Admin, topic: str, closed: ExitStack
) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 5)
    admin.delete_records({one: 2})
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert consumer.beginning_offsets([one, two]) == {one: 2, two: 0}
    assert consumer.end_offsets([one, two], timeout_ms=5_000) == {one: 5, two: 0}
    assert {type(each) for each in consumer.end_offsets([one])} == {Partition}


def test_offsets_are_found_by_time(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 5)
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert consumer.offsets_for_times({one: BEGAN_MS + 1500, two: 0}) == {one: 2, two: None}
    assert consumer.offsets_for_times({one: BEGAN_MS + 60_000}) == {one: None}


def test_a_topic_and_its_partitions_are_known(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert topic in consumer.topics()
    assert consumer.partitions_for_topic(topic) == {0, 1}
    assert consumer.partitions_for_topic(f"{topic}-not-there") == set()


def test_nothing_that_was_aborted_is_read(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"aborted", partition=0).get(SECONDS)
    producer.abort_transaction()
    put(cluster, topic, 1)
    partition = Partition(topic, 0)
    consumer = reading(cluster, closed, partition)
    assert [each.value for each in polled(consumer, 1)] == [b"v0"]
    all_of_it = reading(cluster, closed, partition, isolation_level="read_uncommitted")
    assert [each.value for each in polled(all_of_it, 2)] == [b"aborted", b"v0"]


def test_an_open_transaction_is_the_end_for_who_reads_what_is_committed(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"open", partition=0).get(SECONDS)
    consumer = closed.enter_context(closing(cluster.consumer()))
    all_of_it = closed.enter_context(closing(cluster.consumer(isolation_level="read_uncommitted")))
    assert consumer.end_offsets([partition]) == {partition: 0}
    assert all_of_it.end_offsets([partition]) == {partition: 1}
    producer.commit_transaction()
    until(lambda: consumer.end_offsets([partition]) == {partition: 2}, "marker behind the record")


def test_what_is_paused_rests_and_is_read_on_without_a_gap(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    """Also what the client has fetched already, and while another partition is read."""
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 20)
    put(cluster, topic, 20, partition=1)
    consumer = reading(cluster, closed, one, two, max_poll_records=5)
    seen: dict[Partition, list[int]] = {one: [], two: []}

    def read_until(partition: Partition, count: int) -> None:
        def read() -> bool:
            for at, records in consumer.poll(100).items():
                seen[Partition(*at)] += [each.offset for each in records]
            return len(seen[partition]) >= count

        until(read, f"{count} records of {partition}")

    read_until(one, 5)
    consumer.pause([one])
    assert consumer.paused() == {one}
    rested = len(seen[one])
    read_until(two, 20)
    assert len(seen[one]) == rested
    consumer.resume([one])
    assert consumer.paused() == set()
    put(cluster, topic, 200, partition=1)  # there is always something else to hand out
    read_until(one, 20)
    assert seen[one] == list(range(20))


# --- a member of a group ---------------------------------------------------------------------------


def test_a_member_is_told_of_its_assignment_and_reads(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    put(cluster, topic, 5)
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    assert [each.offset for each in polled(consumer, 5)] == list(range(5))
    metadata = consumer.group_metadata()
    assert (metadata.group_id, metadata.stable) == (f"{prefix}group", True)
    assert metadata.generation_id > 0
    assert consumer.made_assignment()


def test_who_is_no_member_says_so(cluster: Cluster, prefix: str, closed: ExitStack) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    metadata = consumer.group_metadata()
    assert (metadata.group_id, metadata.generation_id, metadata.stable) == (f"{prefix}group", -1, False)
    assert not consumer.made_assignment()


def test_a_second_member_takes_its_part_and_both_are_told(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    told = [threading.Event(), threading.Event()]
    members: list[tuple[GroupConsumer, threading.Event]] = []
    for event in told:
        member = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", **BEGINS)))
        member.subscribe([topic], event.set)
        assert member.wait_for_partitions({topic: 2}, SECONDS)
        members.append((member, event))
        until(lambda: {turn(*each) for each in members} == {True}, "share for each")
    first, second = (each.assignment() for each, _ in members)
    assert (len(first), len(second)) == (1, 1)
    assert first | second == {Partition(topic, 0), Partition(topic, 1)}
    assert all(event.is_set() for event in told)


def test_a_rejoin_that_is_asked_for_comes(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    before = consumer.group_metadata().generation_id
    consumer.request_rejoin()

    def rejoined() -> bool:
        consumer.poll(100)
        return consumer.group_metadata().generation_id > before

    until(rejoined, "new generation")
    assert consumer.assignment() == {Partition(topic, 0), Partition(topic, 1)}


def test_partitions_that_are_not_there_are_not_waited_for_without_end(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.subscribe([topic], lambda: None)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    assert not consumer.wait_for_partitions({topic: 3}, 0.1)


def test_the_end_of_what_is_read_is_told_by_fetches(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    put(cluster, topic, 7)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.assign([partition])
    assert consumer.highwater(partition) is None
    consumer.seek(partition, 5)
    polled(consumer, 2)
    assert consumer.highwater(partition) == 7


def test_what_waits_behind_another_partition_is_known(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 50)
    put(cluster, topic, 50, partition=1)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", max_poll_records=1)))
    consumer.assign([one, two])
    consumer.seek(one, 0)
    consumer.seek(two, 0)
    waited: set[Partition] = set()
    until(lambda: waited.update(consumer.poll(100) and consumer.waiting()) or waited, "partition that waits")
    assert waited <= {one, two}


def test_a_topic_that_is_made_again_has_another_id(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", metadata_max_age_ms=100)))
    consumer.assign([Partition(topic, 0)])
    consumer.seek(Partition(topic, 0), 0)
    until(lambda: consumer.poll(100) or consumer.topic_ids([topic])[topic] is not None, "id")
    [before] = admin.describe_topics([topic])
    known = consumer.topic_ids([topic])
    admin.delete_topics([topic])
    until(lambda: not admin.describe_topics([topic])[0].exists, "deletion")
    make(admin, NewTopic(topic, 2, {}))
    [after] = admin.describe_topics([topic])
    assert before.id != after.id
    until(lambda: consumer.poll(100) or consumer.topic_ids([topic])[topic] not in (None, known[topic]), "other id")


def test_a_position_that_is_not_known_is_none_in_time(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.assign([partition])
    consumer.seek(partition, 4)
    assert consumer.position_within(partition, 1_000) == 4
