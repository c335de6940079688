"""Producers and administration of the Kafka client's interface at a real broker, over every implementation."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing

import pytest
from kafka_clients import (
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
    until,
)

from runtime.kafka_client.client import Admin, GroupMetadata, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.records import CommittedOffset, Partition

__all__ = ["admin", "closed", "cluster", "library", "topic"]


# --- producers -------------------------------------------------------------------------------------


def test_a_record_without_key_and_value_is_a_record(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    assert producer.send(topic, partition=0).get(SECONDS).offset == 0
    assert producer.send(topic, b"", b"", [("empty", None)], 0).get(SECONDS).offset == 1
    records = polled(reading(cluster, closed, Partition(topic, 0)), 2)
    assert [(each.key, each.value) for each in records] == [(None, None), (b"", b"")]
    assert [tuple(pair) for pair in records[1].headers] == [("empty", b"")]


def test_what_was_delivered_says_so(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    sent = [producer.send(topic, b"%d" % number, partition=1) for number in range(3)]
    producer.flush(SECONDS)
    assert all(each.is_done and each.exception is None for each in sent)
    assert [each.get().offset for each in sent] == [0, 1, 2]


def test_a_partition_that_is_not_there_is_refused_at_once(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    with pytest.raises(ValueError, match="partition"):
        producer.send(topic, b"x", partition=2)


def test_an_abandoned_producer_sends_no_more(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = cluster.producer(linger_ms=60_000)
    sent = producer.send(topic, b"never", partition=0)
    producer.abandon(5)
    until(lambda: sent.is_done or not _abandoning(), "end of the sender")
    producer.abandon(5)  # again, as where no successor can be made yet
    put(cluster, topic, 1)
    assert [each.value for each in polled(reading(cluster, closed, Partition(topic, 0)), 1)] == [b"v0"]


def _abandoning() -> bool:
    return any(thread.name == "abandon-producer" for thread in threading.enumerate())


def test_records_and_offsets_are_committed_together(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, one, two = f"{prefix}group", Partition(topic, 0), Partition(topic, 1)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    member = closed.enter_context(closing(cluster.consumer(group_id=group)))
    assert member.committed(one) is None

    for end, place in ((producer.abort_transaction, 1), (producer.commit_transaction, 2)):
        producer.begin_transaction()
        producer.send(topic, b"%d" % place, partition=1)
        producer.send_offsets_to_transaction({one: CommittedOffset(place, f"note {place}")}, GroupMetadata(group))
        end()
    until(lambda: member.committed(one) is not None, "commit")
    assert member.committed(one) == CommittedOffset(2, "note 2")
    assert member.committed(two) is None
    assert admin.list_group_offsets(group) == {one: CommittedOffset(2, "note 2")}
    assert [each.value for each in polled(reading(cluster, closed, two), 1)] == [b"2"]


def test_a_member_commits_with_its_metadata(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    partition = Partition(topic, 0)
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: CommittedOffset(0, "")}, consumer.group_metadata())
    producer.commit_transaction()
    until(lambda: consumer.committed(partition, timeout_ms=5_000) is not None, "commit")
    assert consumer.committed(partition) == CommittedOffset(0, "")


def test_an_offset_that_a_transaction_holds_back_is_waited_for_in_vain(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, partition = f"{prefix}group", Partition(topic, 0)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: CommittedOffset(3, "")}, GroupMetadata(group))
    consumer = closed.enter_context(closing(cluster.consumer(group_id=group)))
    with pytest.raises(KafkaTimeoutError):
        consumer.committed(partition, timeout_ms=500)
    producer.commit_transaction()
    until(lambda: consumer.committed(partition) == CommittedOffset(3, ""), "commit")


# --- administration --------------------------------------------------------------------------------


def test_topics_are_described_also_those_that_are_not_there(admin: Admin, topic: str) -> None:
    found = {each.name: each for each in admin.describe_topics([topic, f"{topic}-not-there"])}
    there, missing = found[topic], found[f"{topic}-not-there"]
    assert there.exists
    assert sorted(there.leaders) == [0, 1]
    assert there.id.count("-") == 4
    assert (missing.exists, missing.id, missing.leaders) == (False, "", {})
    assert missing.error is not None
    assert missing.error.name == "UnknownTopicOrPartitionError"


def test_a_topic_grows_is_set_otherwise_and_goes(admin: Admin, prefix: str) -> None:
    topic = f"{prefix}settings"
    make(admin, NewTopic(topic, 1, {"retention.ms": "1000"}))
    asked = ("retention.ms", "cleanup.policy")
    assert admin.topic_configs([topic], asked) == {topic: {"retention.ms": "1000", "cleanup.policy": "delete"}}
    admin.alter_topic_config(topic, "cleanup.policy", "compact")
    wanted = {topic: {"retention.ms": "1000", "cleanup.policy": "compact"}}
    until(lambda: admin.topic_configs([topic], asked) == wanted, "change of one setting alone")
    admin.create_partitions(topic, 3)
    until(lambda: len(admin.describe_topics([topic])[0].leaders) == 3, "three partitions")
    admin.delete_topics([topic])
    until(lambda: not admin.describe_topics([topic])[0].exists, "deletion")


def test_a_group_is_described_a_member_taken_out_and_the_group_deleted(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, partitions = f"{prefix}group", frozenset({Partition(topic, 0), Partition(topic, 1)})
    joined(cluster, closed, topic, group, group_instance_id="one", **BEGINS)
    found = admin.describe_group(group)
    assert found.stable
    assert [(each.instance_id, each.assigned) for each in found.members] == [("one", partitions)]
    assert [(bool(each.member_id), bool(each.host)) for each in found.members] == [(True, True)]
    assert not admin.delete_group(group)
    admin.remove_group_members(group, ["one"])
    until(lambda: not admin.describe_group(group).members, "member's end")
    until(lambda: admin.delete_group(group), "group's end")


def test_a_member_that_is_no_static_one_has_no_instance(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    [member] = admin.describe_group(f"{prefix}group").members
    assert member.instance_id is None
