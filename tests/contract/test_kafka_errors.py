"""Each error that callers tell apart, provoked at a real broker, over every implementation of the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from broker.proxy import Proxy
from broker.secure_kafka import SecureKafka, secure_kafka
from kafka_clients import BEGINS, SECONDS, admin, closed, cluster, joined, library, make, put, topic, until

from runtime.kafka_client.client import Admin, GroupMetadata, Library, NewTopic
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import (
    AuthenticationError,
    CoordinatorNotAvailableError,
    FencedError,
    InvalidReplicationFactorError,
    KafkaTimeoutError,
    NoOffsetError,
    NotAuthorizedError,
    OffsetOutOfRangeError,
    RefusedError,
    TopicExistsError,
    UnknownGroupError,
    UnknownMemberError,
    described,
)
from runtime.kafka_client.records import CommittedOffset, Partition

__all__ = ["admin", "closed", "cluster", "library", "topic"]

COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, LOADING = 15, 16, 14
INVALID_REPLICATION_FACTOR = 38


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        with Cluster(kafka.plain).admin() as admin:
            make(admin, NewTopic("hidden", 1, {}))
        kafka.add("nobody")
        yield kafka


@pytest.fixture
def nobody(secure: SecureKafka, library: Library) -> Cluster:
    """Return a cluster as a user sees it who may do nothing."""
    return Cluster(secure.scram, secure.by_password("nobody"), library)


# --- reading ---------------------------------------------------------------------------------------


def test_a_group_that_never_committed_has_no_offset_to_read_from(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.subscribe([topic], lambda: None)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)  # a group that is joined earlier gets none
    with pytest.raises(NoOffsetError):
        until(lambda: consumer.poll(100), "error")


@pytest.mark.parametrize("offset", [1, 8], ids=["before the first", "after the last"])
def test_an_offset_that_is_not_in_the_log_is_out_of_range(
    cluster: Cluster, admin: Admin, topic: str, closed: ExitStack, offset: int
) -> None:
    partition = Partition(topic, 0)
    put(cluster, topic, 5)
    admin.delete_records({partition: 3})
    consumer = closed.enter_context(closing(cluster.consumer()))
    consumer.assign([partition])
    consumer.seek(partition, offset)
    with pytest.raises(OffsetOutOfRangeError):
        until(lambda: consumer.poll(100), "error")


# --- writing ---------------------------------------------------------------------------------------


def test_a_record_that_is_too_large_is_refused_with_its_name(cluster: Cluster, admin: Admin, prefix: str) -> None:
    make(admin, NewTopic(f"{prefix}small", 1, {"max.message.bytes": "1000"}))
    with closing(cluster.producer()) as producer:
        sent = producer.send(f"{prefix}small", b"x" * 5000, partition=0)
        with pytest.raises(RefusedError, match=r"(?i)message ?size ?too ?large") as raised:
            sent.get(SECONDS)
        assert isinstance(sent.exception, RefusedError)
    error = raised.value
    assert (error.name, error.from_broker, error.retriable) == ("MessageSizeTooLargeError", True, False)
    assert described(error) == f"MessageSizeTooLargeError: {error}"
    assert error.__cause__ is not None


def test_an_acknowledgement_that_is_not_there_in_time_is_a_time_out(cluster: Cluster, topic: str) -> None:
    producer = cluster.producer(linger_ms=60_000)
    try:
        sent = producer.send(topic, b"late", partition=0)
        assert (sent.is_done, sent.exception) == (False, None)
        with pytest.raises(KafkaTimeoutError) as raised:
            sent.get(0.05)
        assert not raised.value.from_broker
    finally:
        producer.abandon(5)


@pytest.mark.parametrize("at_commit", [True, False], ids=["while it commits", "while it adds offsets"])
def test_a_successor_fences_who_had_the_name(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack, at_commit: bool
) -> None:
    first = cluster.producer(transactional_id=f"{prefix}id")
    closed.callback(first.abandon, 5)
    first.init_transactions()
    first.begin_transaction()
    first.send(topic, b"first", partition=0).get(SECONDS)
    second = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    second.init_transactions()

    def commit() -> None:
        if not at_commit:
            offsets = {Partition(topic, 0): CommittedOffset(1, "")}
            first.send_offsets_to_transaction(offsets, GroupMetadata(f"{prefix}group"))
        first.commit_transaction()

    with pytest.raises(FencedError):
        commit()


# --- groups ----------------------------------------------------------------------------------------


def test_a_group_that_is_not_there_is_unknown(admin: Admin, prefix: str) -> None:
    found = admin.describe_group(f"{prefix}none")
    assert (found.stable, found.members) == (False, [])
    assert isinstance(found.error, UnknownGroupError)
    assert found.error.name == "GroupIdNotFoundError"


def test_a_member_that_is_not_there_is_unknown(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    joined(cluster, closed, topic, f"{prefix}group", group_instance_id="one", **BEGINS)
    answer = admin.remove_group_members(f"{prefix}group", ["one", "two"])
    assert answer["one"] is None
    assert isinstance(answer["two"], UnknownMemberError)


@pytest.mark.parametrize("code", [COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, LOADING])
def test_a_coordinator_that_is_not_there_yet_is_told_apart(
    proxy: Proxy, library: Library, prefix: str, code: int
) -> None:
    proxy.fail("DescribeGroups", code)
    with Cluster(proxy.bootstrap, library=library).admin() as admin:
        found = admin.describe_group(f"{prefix}group")
    assert isinstance(found.error, CoordinatorNotAvailableError)
    assert found.error.retriable


# --- topics ----------------------------------------------------------------------------------------


def test_a_topic_that_exists_is_not_created_again(admin: Admin, topic: str, prefix: str) -> None:
    wanted = [NewTopic(topic, 2, {}), NewTopic(f"{prefix}new", 1, {})]
    answer = admin.create_topics(wanted, timeout_ms=10_000)
    assert isinstance(answer[topic], TopicExistsError)
    assert answer[f"{prefix}new"] is None


def test_a_name_that_no_topic_may_have_is_refused_with_the_reason(admin: Admin) -> None:
    refusal = admin.create_topics([NewTopic("no/topic", 1, {})], timeout_ms=10_000)["no/topic"]
    assert isinstance(refusal, RefusedError)
    assert refusal.name == "InvalidTopicError"
    assert "no/topic" in str(refusal)


def test_too_few_brokers_for_the_copies_are_said_in_the_brokers_words(
    proxy: Proxy, library: Library, prefix: str
) -> None:
    proxy.fail("CreateTopics", INVALID_REPLICATION_FACTOR)
    with Cluster(proxy.bootstrap, library=library).admin() as admin:
        refusal = admin.create_topics([NewTopic(f"{prefix}new", 1, {})], timeout_ms=10_000)[f"{prefix}new"]
    assert isinstance(refusal, InvalidReplicationFactorError)
    assert "currently fenced" in str(refusal)


# --- rights ----------------------------------------------------------------------------------------


def test_who_may_not_see_a_topic_is_told_so(nobody: Cluster) -> None:
    with nobody.admin() as admin:
        [found] = admin.describe_topics(["hidden"])
    assert not found.exists
    assert isinstance(found.error, NotAuthorizedError)
    assert found.error.name == "TopicAuthorizationFailedError"


def test_who_may_not_see_a_group_is_told_so(nobody: Cluster) -> None:
    with nobody.admin() as admin, pytest.raises(NotAuthorizedError):
        admin.list_group_offsets("group")


def test_who_may_not_write_is_refused_for_good(nobody: Cluster) -> None:
    producer = nobody.producer(enable_idempotence=False, max_block_ms=10_000)
    try:
        with pytest.raises(NotAuthorizedError) as raised:
            producer.send("hidden", b"x", partition=0).get(SECONDS)
        assert isinstance(raised.value, RefusedError)
    finally:
        producer.abandon(5)


def test_a_wrong_password_lets_nobody_in(secure: SecureKafka, library: Library) -> None:
    options = {**secure.by_password("nobody"), "sasl_plain_password": "wrong"}
    with pytest.raises(NoBroker) as raised:
        Cluster(secure.scram, options, library).consumer(bootstrap_timeout_ms=2_000)
    assert isinstance(raised.value.__cause__, (AuthenticationError, KafkaTimeoutError))
