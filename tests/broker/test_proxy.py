"""The proxy is faithful until told otherwise, and what bites in the bare kafka-python 3.0.12 shows through it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    InvalidRecordError,
    InvalidTxnStateError,
    KafkaError,
    KafkaTimeoutError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumberError,
    TransactionalIdAuthorizationFailedError,
)
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata
from proxy import Proxy

SECONDS = 10.0
INVALID_RECORD, ILLEGAL_GENERATION, NOT_LEADER = 87, 22, 6
OUT_OF_ORDER_SEQUENCE, INVALID_TXN_STATE, TRANSACTIONAL_ID_REFUSED = 45, 48, 53

# Size 10, key 18 in version 0, correlation id 1, no client id.
API_VERSIONS_REQUEST = b"\x00\x00\x00\x0a" + b"\x00\x12\x00\x00" + b"\x00\x00\x00\x01" + b"\xff\xff"


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


@pytest.fixture
def topic(bootstrap: str, prefix: str) -> str:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({prefix + "records": {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    return prefix + "records"


@contextmanager
def transactional(bootstrap: str, name: str, **config: Any) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(
        **{
            "bootstrap_servers": bootstrap,
            "transactional_id": name,
            "transaction_timeout_ms": 20_000,
            "request_timeout_ms": 1_000,
            "delivery_timeout_ms": 1_500,
            "retry_backoff_ms": 20,
            "reconnect_backoff_ms": 20,
            "reconnect_backoff_max_ms": 100,
            "allow_auto_create_topics": False,
        }
        | config
    )
    try:
        producer.init_transactions()
        yield producer
    finally:
        # close(timeout=0) alone raises, and leaves the sender running, when a record has not been sent.
        producer._sender.force_close()
        producer._sender.join(SECONDS)
        producer.close(timeout=0)


def committed(bootstrap: str, topic: str) -> list[bytes]:
    """The values that a read_committed reader finds, partition 0 before partition 1."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    consumer.assign(partitions)
    values: dict[TopicPartition, list[bytes]] = {partition: [] for partition in partitions}
    for partition, end in consumer.end_offsets(partitions).items():
        while consumer.position(partition) < end:
            for at, records in consumer.poll(timeout_ms=100).items():
                values[at] += [record.value for record in records]
    consumer.close()
    return values[partitions[0]] + values[partitions[1]]


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_a_transaction_through_an_idle_proxy_is_what_was_sent(proxy: Proxy, topic: str, prefix: str) -> None:
    sent = [(n % 2, b"%d" % n, bytes(n), (("h", b"%d" % n),)) for n in range(500)]
    with transactional(proxy.bootstrap, prefix + "id", max_in_flight_requests_per_connection=5) as producer:
        producer.begin_transaction()
        for partition, key, value, headers in sent:
            producer.send(topic, value, key=key, partition=partition, headers=list(headers))
        producer.commit_transaction()
        producer.begin_transaction()
        producer.send(topic, b"aborted", partition=0).get(timeout=SECONDS)
        producer.abort_transaction()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=proxy.bootstrap,
        group_id=prefix + "group",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=SECONDS * 1000,
    )
    read = [(r.partition, r.key, r.value, tuple(map(tuple, r.headers))) for r in islice(consumer, len(sent))]
    assert not any(consumer.poll(timeout_ms=500).values())
    consumer.close()
    assert [[r for r in read if r[0] == p] for p in (0, 1)] == [[r for r in sent if r[0] == p] for p in (0, 1)]
    # Every kind of traffic came through here: data, the coordinators of transactions and of groups.
    for api in ("Produce", "Fetch", "EndTxn", "JoinGroup"):
        assert proxy.seen(api) > 0, api
        assert proxy.seen(api, "forwarded") == proxy.seen(api)


def test_an_offset_committed_through_an_idle_proxy_is_read_back(proxy: Proxy, topic: str, prefix: str) -> None:
    partition = TopicPartition(topic, 1)
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            {partition: OffsetAndMetadata(7, "seven", -1)}, ConsumerGroupMetadata(prefix + "group")
        )
        producer.commit_transaction()
    consumer = KafkaConsumer(bootstrap_servers=proxy.bootstrap, group_id=prefix + "group", enable_auto_commit=False)
    assert consumer.committed(partition, metadata=True) == OffsetAndMetadata(7, "seven", -1)
    consumer.close()


def send(producer: KafkaProducer, topic: str, group: str) -> None:
    producer.begin_transaction()
    producer.send(topic, b"value", partition=0).get(timeout=5)
    offsets = {TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)}
    producer.send_offsets_to_transaction(offsets, ConsumerGroupMetadata(group))
    producer.commit_transaction()


@pytest.mark.parametrize(
    ("api", "code", "error"),
    [
        ("AddPartitionsToTxn", TRANSACTIONAL_ID_REFUSED, TransactionalIdAuthorizationFailedError),
        ("Produce", INVALID_RECORD, InvalidRecordError),
        ("AddOffsetsToTxn", TRANSACTIONAL_ID_REFUSED, TransactionalIdAuthorizationFailedError),
        ("TxnOffsetCommit", ILLEGAL_GENERATION, CommitFailedError),
        ("EndTxn", INVALID_TXN_STATE, InvalidTxnStateError),
    ],
)
def test_an_error_code_is_found_where_the_client_looks_for_it(
    proxy: Proxy, bootstrap: str, topic: str, prefix: str, api: str, code: int, error: type[KafkaError]
) -> None:
    rule = proxy.fail(api, code)
    with transactional(proxy.bootstrap, prefix + "id") as producer, pytest.raises(error):
        send(producer, topic, prefix + "group")
    assert rule.applied == 1
    assert proxy.seen(api, "forwarded") == 0
    assert committed(bootstrap, topic) == []


def test_a_failed_init_producer_id_is_reported(proxy: Proxy, prefix: str) -> None:
    proxy.fail("InitProducerId", TRANSACTIONAL_ID_REFUSED)
    with (
        pytest.raises(TransactionalIdAuthorizationFailedError),
        transactional(proxy.bootstrap, prefix + "id"),
    ):
        pass


def test_a_failure_can_lie_about_what_the_broker_did(proxy: Proxy, bootstrap: str, topic: str, prefix: str) -> None:
    rule = proxy.fail("EndTxn", INVALID_TXN_STATE, forward=True)
    with transactional(proxy.bootstrap, prefix + "id") as producer, pytest.raises(InvalidTxnStateError):
        send(producer, topic, prefix + "group")
    assert rule.applied == 1
    assert committed(bootstrap, topic) == [b"value"]


@pytest.mark.parametrize("cut", [True, False])
def test_an_eaten_answer_is_asked_for_again(proxy: Proxy, bootstrap: str, topic: str, prefix: str, cut: bool) -> None:
    rule = proxy.drop_responses("Produce", cut=cut)
    with transactional(proxy.bootstrap, prefix + "id", delivery_timeout_ms=5_000) as producer:
        send(producer, topic, prefix + "group")
    assert rule.applied == 1
    assert proxy.seen("Produce", "forwarded") == 2
    assert committed(bootstrap, topic) == [b"value"]


def test_a_lost_request_never_reaches_the_broker(proxy: Proxy, bootstrap: str, topic: str, prefix: str) -> None:
    other = proxy.drop_requests("Produce", when=lambda request: request.transactional_id == "of someone else")
    rule = proxy.drop_requests("Produce", skip=1, cut=True)
    with transactional(proxy.bootstrap, prefix + "id", delivery_timeout_ms=5_000) as producer:
        send(producer, topic, prefix + "group")
        send(producer, topic, prefix + "group")
    assert (rule.applied, other.applied) == (1, 0)
    assert (proxy.seen("Produce"), proxy.seen("Produce", "forwarded")) == (3, 2)
    assert committed(bootstrap, topic) == [b"value", b"value"]


def test_what_is_held_back_goes_on_after_release(proxy: Proxy, topic: str, prefix: str) -> None:
    rule = proxy.hold("Produce")
    with transactional(proxy.bootstrap, prefix + "id", request_timeout_ms=4_000, delivery_timeout_ms=5_000) as producer:
        producer.begin_transaction()
        future = producer.send(topic, b"value", partition=0)
        assert rule.wait(timeout=SECONDS)
        assert proxy.seen("Produce", "forwarded") == 0
        assert not future.is_done
        proxy.release("Produce")
        future.get(timeout=SECONDS)
        producer.commit_transaction()


def test_a_late_commit_reaches_the_broker_after_its_client_is_gone(
    proxy: Proxy, bootstrap: str, topic: str, prefix: str
) -> None:
    proxy.hold("EndTxn")
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0).get(timeout=SECONDS)

        def commit() -> None:
            with pytest.raises(KafkaError):
                producer.commit_transaction()

        commits = in_thread(commit)
        assert proxy.wait_for("EndTxn")
        commits.join(SECONDS)
    assert committed(bootstrap, topic) == []
    proxy.release()
    assert proxy.wait_for("EndTxn", stage="forwarded")
    wait_until_committed(bootstrap, topic, [b"value"])


def wait_until_committed(bootstrap: str, topic: str, expected: list[bytes]) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    consumer.assign([TopicPartition(topic, 0)])
    values = [record.value for records in consumer.poll(timeout_ms=SECONDS * 1000).values() for record in records]
    consumer.close()
    assert values == expected


def test_a_delayed_answer_is_late_and_whole(proxy: Proxy, topic: str, prefix: str) -> None:
    rule = proxy.delay("EndTxn", 0.4, way="response")
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0).get(timeout=SECONDS)
        commits = in_thread(producer.commit_transaction)
        assert rule.wait(timeout=SECONDS)
        assert proxy.wait_for("EndTxn", stage="forwarded")
        assert proxy.seen("EndTxn", "answered") == 0
        commits.join(SECONDS)
        assert proxy.seen("EndTxn", "answered") == 1


def test_an_outage_refuses_connections_until_it_ends(proxy: Proxy, topic: str, prefix: str) -> None:
    host, _, port = proxy.bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as before:
        before.sendall(API_VERSIONS_REQUEST)
        assert proxy.wait_for("ApiVersions", stage="answered")
        proxy.refuse()
        while before.recv(4096):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=SECONDS)
    proxy.refuse(False)
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        send(producer, topic, prefix + "group")
        proxy.cut()
        send(producer, topic, prefix + "group")


def test_nothing_is_left_behind(bootstrap: str, topic: str, prefix: str) -> None:
    process = psutil.Process()
    threads, handles = threading.active_count(), process.num_fds()
    proxy = Proxy(bootstrap)
    proxy.hold("Produce")
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0)
        assert proxy.wait_for("Produce")
        proxy.close()
        proxy.close()
    deadline = time.monotonic() + SECONDS  # what else this process has may close or collect something meanwhile
    while (left := (threading.active_count(), process.num_fds())) > (threads, handles) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left[0] <= threads
    assert left[1] <= handles


def test_mistakes_of_a_test_are_not_taken_for_faults_of_the_broker(bootstrap: str) -> None:
    proxy = Proxy(bootstrap)
    with pytest.raises(ValueError, match="no Kafka request is called Prodcue"):
        proxy.hold("Prodcue")
    with pytest.raises(ValueError, match="cannot fail Fetch"):
        proxy.fail("Fetch", NOT_LEADER)
    proxy.hold("ApiVersions", when=lambda request: request.no_such_field)
    host, _, port = proxy.bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(API_VERSIONS_REQUEST)
        assert client.recv(1) == b""
    with pytest.raises(AttributeError, match="no_such_field"):
        proxy.close()


def test_bare_client_k1_commits_a_transaction_with_a_hole(
    proxy: Proxy, bootstrap: str, topic: str, prefix: str
) -> None:
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send(topic, b"first", partition=0).get(timeout=SECONDS)
        proxy.fail("Produce", NOT_LEADER, times=None)
        lost = producer.send(topic, b"second", partition=0)
        producer.commit_transaction()
        assert isinstance(lost.exception, KafkaTimeoutError | NotLeaderForPartitionError)
    assert committed(bootstrap, topic) == [b"first"]


def test_bare_client_k2_waits_for_ever_for_a_commit_that_it_dropped(proxy: Proxy, topic: str, prefix: str) -> None:
    with transactional(proxy.bootstrap, prefix + "id") as producer:
        producer.begin_transaction()
        producer.send(topic, b"value", partition=0).get(timeout=SECONDS)
        # An outage in which the port still answers and every connection is hung up on.
        hung_up = proxy.drop_requests("ApiVersions", times=None, cut=True)
        proxy.cut()
        wait_until_disconnected(producer)
        commits = in_thread(producer.commit_transaction)
        commits.join(0.5)
        assert hung_up.applied > 0
        proxy.clear()
        # Three request timeouts after the end of the outage there is no EndTxn on its way.
        commits.join(3.0)
        assert commits.is_alive()
        assert proxy.seen("EndTxn") == 0
        producer.close(timeout=0)
        assert commits.is_alive()
        with transactional(proxy.bootstrap, prefix + "id") as successor:
            send(successor, topic, prefix + "group")


def test_bare_client_k3_commits_a_record_of_a_dead_transaction_in_the_next(
    proxy: Proxy, bootstrap: str, topic: str, prefix: str
) -> None:
    with transactional(proxy.bootstrap, prefix + "id", max_in_flight_requests_per_connection=1) as producer:
        producer.begin_transaction()
        proxy.hold("Produce", times=1)
        proxy.fail("Produce", OUT_OF_ORDER_SEQUENCE)
        failed = producer.send(topic, b"dead, failed", partition=0)
        assert proxy.wait_for("Produce")
        unsent = producer.send(topic, b"dead, unsent", partition=0)
        proxy.release()
        with pytest.raises(OutOfOrderSequenceNumberError):
            failed.get(timeout=SECONDS)
        for end in (producer.commit_transaction, producer.abort_transaction):
            with pytest.raises(KafkaError, match="Invalid transition"):
                end()
        begin_when_bumped(producer)
        assert not unsent.is_done
        producer.send(topic, b"alive", partition=0)
        producer.commit_transaction()
    assert committed(bootstrap, topic) == [b"dead, unsent", b"alive"]


def wait_until_disconnected(producer: KafkaProducer) -> None:
    """Only a commit that finds its coordinator gone is dropped; one whose request was under way is sent again."""
    coordinator = producer._transaction_manager._transaction_coordinator
    for _ in range(200):
        if not producer._sender._client.is_ready(coordinator):
            return
        threading.Event().wait(0.02)
    pytest.fail("the producer never noticed that it was cut off")


def begin_when_bumped(producer: KafkaProducer) -> None:
    """What a loop that tries again does: refused while the epoch is being bumped, then taken."""
    for _ in range(200):
        try:
            producer.begin_transaction()
        except KafkaError:
            threading.Event().wait(0.05)
        else:
            return
    pytest.fail("the producer never became ready again")
