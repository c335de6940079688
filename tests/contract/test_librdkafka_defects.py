"""What librdkafka does wrong or otherwise, each provoked at a real broker, and what its adapter makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest
from broker.proxy import Proxy
from broker.proxy_link import NAMES_BROKERS
from kafka_clients import BEGINS, SECONDS, admin, closed, joined, make, put, reading, topic, until
from kafka_clients import polled as read
from raw_kafka import raw_admin

from millstream.reading.topic_readers import between
from runtime.kafka_client.client import GroupMetadata, NewTopic, TransactionalProducer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.kafka_python.library import KafkaPython
from runtime.kafka_client.librdkafka.library import Librdkafka
from runtime.kafka_client.records import CommittedOffset, Output, Partition

__all__ = ["admin", "closed", "topic"]

LEADER_NOT_AVAILABLE, NOT_LEADER, COORDINATOR_NOT_AVAILABLE, CONCURRENT_TRANSACTIONS = 5, 6, 15, 51


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap, library=Librdkafka())


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


def opened(proxy: Proxy, closed: ExitStack, prefix: str) -> TransactionalProducer:
    cluster = Cluster(proxy.bootstrap, library=Librdkafka())
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    return producer


def transact(producer: TransactionalProducer, topic: str, group: str | GroupMetadata, offset: int = 1) -> None:
    producer.begin_transaction()
    places = {Partition(topic, 0): CommittedOffset(offset, "note é")}
    producer.send_offsets_to_transaction(places, GroupMetadata(group) if isinstance(group, str) else group)
    producer.send_all([Output(topic, 1, b"k", b"v")], SECONDS)
    producer.commit_transaction()


def test_it_writes_a_nul_behind_metadata_which_nobody_is_shown(
    cluster: Cluster, proxy: Proxy, topic: str, prefix: str, closed: ExitStack
) -> None:
    group = f"{prefix}group"
    transact(opened(proxy, closed, prefix), topic, group)
    with raw_admin(cluster) as client:
        until(lambda: client.list_group_offsets([group])[group], "commit")
        [written] = client.list_group_offsets([group])[group].values()
    assert written.metadata == "note é\0"
    member = closed.enter_context(closing(cluster.consumer(group_id=group)))
    assert member.committed(Partition(topic, 0)) == CommittedOffset(1, "note é")
    with cluster.admin() as admin:
        assert admin.list_group_offsets(group) == {Partition(topic, 0): CommittedOffset(1, "note é")}


def test_it_asks_for_nothing_that_it_does_not_need(proxy: Proxy, topic: str, prefix: str, closed: ExitStack) -> None:
    """It would ask for a topic that does not exist, or is hidden, at each retry: 500 times a second in a producer."""
    producer = opened(proxy, closed, prefix)
    consumer = reading(Cluster(proxy.bootstrap, library=Librdkafka()), closed, Partition(topic, 1))
    transact(producer, topic, f"{prefix}group")
    asked = proxy.seen("Metadata")
    began = time.monotonic()
    for number in range(2, 1000):
        transact(producer, topic, f"{prefix}group", number)
        if time.monotonic() - began > 2:
            break
    assert len(read(consumer, number)) >= number
    assert proxy.seen("Metadata") - asked < 20


def test_it_would_ask_300_times_a_second_for_a_partition_without_a_leader(
    proxy: Proxy, topic: str, prefix: str, closed: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question has the back-off of a commit. As soon as there is a leader, the record is written."""
    producer = opened(proxy, closed, prefix)
    transact(producer, topic, f"{prefix}group")
    brokers = NAMES_BROKERS["Metadata"]

    def without_leaders(answer: Any) -> list[Any]:
        for partition in (each for topic in answer.topics for each in topic.partitions):
            partition.error_code, partition.leader_id = LEADER_NOT_AVAILABLE, -1
        return brokers(answer)

    monkeypatch.setitem(NAMES_BROKERS, "Metadata", without_leaders)
    proxy.fail("Produce", NOT_LEADER, times=None)
    producer.begin_transaction()
    asked, began = proxy.seen("Metadata"), time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        producer.send_all([Output(topic, 1, b"k", b"v")], 2)
    assert 10 < proxy.seen("Metadata") - asked < 70 * (time.monotonic() - began)
    monkeypatch.undo()
    proxy.clear()
    producer.flush(SECONDS)
    producer.commit_transaction()


def test_before_a_first_commit_it_would_never_return_without_a_coordinator(
    proxy: Proxy, topic: str, prefix: str, closed: ExitStack
) -> None:
    producer = opened(proxy, closed, prefix)
    refused = proxy.fail("DescribeGroups", COORDINATOR_NOT_AVAILABLE, times=3)
    transact(producer, topic, f"{prefix}group")
    assert refused.applied == 3


def test_after_an_outage_a_commit_would_never_return(
    cluster: Cluster, proxy: Proxy, topic: str, prefix: str, closed: ExitStack
) -> None:
    """It would forget every broker, and no longer know the coordinator of its transactions.

    And it waits for the group's coordinator, which a broker that has just started may not know yet.
    """
    producer: Any = opened(proxy, closed, prefix)
    member = joined(cluster, closed, topic, f"{prefix}group", **BEGINS).group_metadata()
    transact(producer, topic, member)
    proxy.refuse()

    def noticed() -> int:
        producer.serve(0.1)
        producer._handle.check()
        return int(producer._handle.losses)

    until(noticed, "end of the connection")
    missing = proxy.fail("DescribeGroups", COORDINATOR_NOT_AVAILABLE, times=3)
    proxy.refuse(False)
    began = time.monotonic()
    transact(producer, topic, member, 2)
    assert missing.applied == 3
    transact(producer, topic, member, 3)
    assert time.monotonic() - began < 10
    assert proxy.seen("DescribeGroups") == 4  # once for the outage


def test_it_would_wait_100_ms_and_more_for_the_transaction_before(
    proxy: Proxy, topic: str, prefix: str, closed: ExitStack
) -> None:
    """Six answers that it is too early took 3 s and more with its own back-off."""
    producer = opened(proxy, closed, prefix)
    transact(producer, topic, f"{prefix}group")
    early = proxy.fail("AddOffsetsToTxn", CONCURRENT_TRANSACTIONS, times=6)
    began = time.monotonic()
    transact(producer, topic, f"{prefix}group", 2)
    assert early.applied == 6
    assert time.monotonic() - began < 2


def test_it_would_wait_for_as_many_records_as_a_poll_may_return(
    cluster: Cluster, topic: str, closed: ExitStack
) -> None:
    put(cluster, topic, 3)
    consumer = reading(cluster, closed, Partition(topic, 0))
    began = time.monotonic()
    assert len(consumer.poll(60_000, 500)[Partition(topic, 0)]) <= 3
    assert time.monotonic() - began < 30


def test_every_few_clients_it_would_connect_a_second_late(cluster: Cluster) -> None:
    """Of forty clients a quarter waited for a second: for the next stroke of the client's own clock."""
    began = time.monotonic()
    for _ in range(40):
        cluster.consumer().close()
    assert time.monotonic() - began < 5


def test_its_questions_would_wait_for_fetches_beyond_what_is_read(
    cluster: Cluster, admin: Any, prefix: str, closed: ExitStack
) -> None:
    """A reader that went from partition to partition waited 1.5 s at each."""
    make(admin, NewTopic(f"{prefix}wide", 8, {"retention.ms": "-1"}))
    partitions = [Partition(f"{prefix}wide", number) for number in range(8)]
    for each in partitions:
        put(cluster, each.topic, 3, each.partition)
    consumer = closed.enter_context(closing(cluster.consumer()))
    began = time.monotonic()
    for each in partitions:
        end = consumer.end_offsets([each])[each]
        assert len(list(between(consumer, each, consumer.beginning_offsets([each])[each], end))) == 3
    assert time.monotonic() - began < 4


def test_a_reader_without_partitions_would_fetch_on(proxy: Proxy, cluster: Cluster, topic: str) -> None:
    put(cluster, topic, 3)
    with closing(Cluster(proxy.bootstrap, library=Librdkafka()).consumer()) as consumer:
        place = Partition(topic, 0)
        assert list(between(consumer, place, 0, consumer.end_offsets([place])[place]))

        def rests() -> bool:
            return not proxy.wait_for("Fetch", proxy.seen("Fetch") + 1, timeout=0.7)

        until(rests, "end of fetching")


def test_it_would_take_a_time_of_0_for_now(cluster: Cluster, admin: Any, prefix: str, closed: ExitStack) -> None:
    topic = f"{prefix}timed"
    with raw_admin(cluster) as client:
        spec = {"num_partitions": 1, "replication_factor": 1, "configs": {"message.timestamp.type": "CreateTime"}}
        client.create_topics({topic: spec}, wait_for_metadata=True)
    producer = closed.enter_context(closing(cluster.producer()))
    producer.send(topic, b"old", partition=0, timestamp_ms=0).get(SECONDS)
    [record] = read(reading(cluster, closed, Partition(topic, 0)), 1)
    assert record.timestamp == 1


def test_it_would_read_ahead_100_000_records_of_any_size(
    cluster: Cluster, proxy: Proxy, topic: str, closed: ExitStack
) -> None:
    """It asks for a record of nearly 1 MB at a time, and stops when it has 16 MB, with 64 MB to read."""
    producer = closed.enter_context(closing(cluster.producer()))
    producer.send_all([Output(topic, 0, None, bytes(900_000))] * 64, SECONDS)
    consumer = reading(Cluster(proxy.bootstrap, library=Librdkafka()), closed, Partition(topic, 0))
    assert consumer.poll(60_000, 1)

    def rests() -> bool:
        return not proxy.wait_for("Fetch", proxy.seen("Fetch") + 1, timeout=0.7) or proxy.seen("Fetch") > 60

    until(rests, "end of reading ahead")
    assert 10 < proxy.seen("Fetch", "answered") < 40


def test_it_would_read_beyond_the_end_of_metadata_of_kafka_python(
    cluster: Cluster, admin: Any, prefix: str, closed: ExitStack
) -> None:
    """Each length is read as it was written: what comes after it in the answer is no part of it."""
    make(admin, NewTopic(f"{prefix}many", 40, {}))
    group = f"{prefix}group"
    places = {Partition(f"{prefix}many", n): CommittedOffset(n, "é" * (n // 2) + "x" * (n % 2)) for n in range(40)}
    producer = closed.enter_context(
        closing(replace(cluster, library=KafkaPython()).producer(transactional_id=f"{prefix}id"))
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction(places, GroupMetadata(group))
    producer.commit_transaction()
    member = closed.enter_context(closing(cluster.consumer(group_id=group)))
    assert {each: member.committed(each, 60_000) for each in places} == places


def test_it_goes_on_at_the_same_offset_in_another_topic_of_the_name(
    cluster: Cluster, admin: Any, topic: str, prefix: str, closed: ExitStack
) -> None:
    """A record of the other topic never comes before its id, also if the member has not heard of it."""
    member: Any = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    put(cluster, topic, 3)
    assert len(read(member, 3)) == 3
    [before] = member.topic_ids([topic]).values()
    known = member._membership.topic_ids([topic])
    member._membership.topic_ids = lambda topics: known
    assert str(before) == admin.describe_topics([topic])[0].id
    # Not while the new topic has no record yet: offset 3 would be outside it.
    member.pause(member.assignment())
    assert not member.poll(0)  # a pause begins with a poll
    admin.delete_topics([topic])
    until(lambda: not admin.describe_topics([topic])[0].exists, "end of the topic")
    make(admin, NewTopic(topic, 2, {}))
    put(cluster, topic, 6)
    member.resume(member.assignment())
    assert [each.offset for each in read(member, 3)] == [3, 4, 5]
    assert member.topic_ids([topic]) == {topic: (before, admin.describe_topics([topic])[0].id)}


def test_an_end_would_wait_for_a_broker_that_is_away(proxy: Proxy, topic: str, prefix: str, closed: ExitStack) -> None:
    """It would abort the open transaction first, and there is nobody to abort it with."""
    producer = opened(proxy, closed, prefix)
    consumer = reading(Cluster(proxy.bootstrap, library=Librdkafka()), closed, Partition(topic, 0))
    producer.begin_transaction()
    producer.send_all([Output(topic, 1, b"k", b"v")], SECONDS)
    proxy.refuse()
    began = time.monotonic()
    producer.close(1)
    consumer.close(1_000)
    assert time.monotonic() - began < 5


def test_its_position_is_behind_the_markers_of_transactions(
    cluster: Cluster, proxy: Proxy, topic: str, prefix: str, closed: ExitStack
) -> None:
    producer = opened(proxy, closed, prefix)
    for number in range(1, 4):
        transact(producer, topic, f"{prefix}group", number)
    partition = Partition(topic, 1)
    consumer = reading(cluster, closed, partition)
    assert [each.offset for each in read(consumer, 3)] == [0, 2, 4]

    def behind_the_last_marker() -> bool:
        consumer.poll(100)
        return consumer.position(partition) == 6

    until(behind_the_last_marker, "position behind the last marker")
