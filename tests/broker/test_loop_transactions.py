"""The loop's transactions against a broker that misbehaves: whole and once, or a doubt and nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from kafka import errors as theirs
from kafka.structs import TopicPartition
from loop_helpers import (
    LIMITS,
    SECONDS,
    Copier,
    child,
    ends,
    is_exact,
    numbered,
    places,
    put,
    read,
    running,
    settings,
    until,
)
from proxy import Proxy

from runtime.exits import Doubt, Fenced, RoleFailure, RoleRefused
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.failures import failure_of
from runtime.kafka_client.kafka_python.errors import translated
from runtime.kafka_client.library_names import LIBRDKAFKA
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import TransactionLimits, Transactions

pytestmark = pytest.mark.both_clients

CORRUPT, NOT_LEADER, TIMED_OUT, TOO_LARGE, STORAGE = 2, 6, 7, 10, 56
OUT_OF_ORDER, OLD_EPOCH, BAD_STATE, NO_MAPPING, UNKNOWN_PRODUCER = 45, 47, 48, 49, 59
FENCED_INSTANCE, INVALID_RECORD, FENCED = 82, 87, 90
ILLEGAL_GENERATION, UNKNOWN_MEMBER, NOT_ALLOWED, UNKNOWN_ERROR = 22, 25, 29, -1
SLOW = TransactionLimits(4_000, 4_500, 5_000, 6_000)
LARGE = bytes(100_000)  # so large that each record is a batch, and a request, of its own


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy
        wait_for_abandoned()


def wait_for_abandoned() -> None:
    for thread in threading.enumerate():
        if thread.name == "abandon-producer":
            thread.join(10)
            assert not thread.is_alive()


def outputs(prefix: str, count: int = 3) -> list[Output]:
    return [Output(prefix + "out", 0, b"%d" % number, LARGE) for number in range(count)]


def commit(transactions: Transactions, prefix: str, count: int = 3) -> None:
    """One transaction: some records, and a place that says so."""
    place = {Partition(prefix + "in", 0): CommittedOffset(count, "metadata")}
    transactions.commit(outputs(prefix, count), place, GroupMetadata(prefix + "group"))


def opened(bootstrap: str, prefix: str, limits: TransactionLimits = LIMITS) -> Transactions:
    transactions = Transactions(Cluster(bootstrap), prefix + "id", limits)
    transactions.open()
    return transactions


def written(cluster: Cluster, prefix: str) -> tuple[int, int]:
    """How many records are there for a reader, and how many the committed place says there are."""
    # A successor ends what was left open, so that the answer is final.
    opened(cluster.bootstrap, prefix).close()
    place = places(cluster, prefix + "group").get(TopicPartition(prefix + "in", 0))
    return len(read(cluster, prefix + "out")[0]), 0 if place is None else place.offset


# --- K1, F7 ----------------------------------------------------------------------------------------


def test_k1_an_expired_record_is_a_doubt_and_the_successor_writes_all_once(
    cluster: Cluster, proxy: Proxy, topics: str
) -> None:
    put(cluster, topics + "in", [LARGE] * 3)
    lost = proxy.fail("Produce", NOT_LEADER, times=None, skip=1)
    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
        failure = run.wait()
    assert isinstance(failure, Doubt)
    assert lost.applied > 0
    assert read(cluster, topics + "out")[0] == []
    assert {place.offset for place in places(cluster, topics + "group").values()} <= {0}
    proxy.clear()
    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
        until(lambda: is_exact(cluster, topics), "the copy to be whole")
        run.stop()
    assert is_exact(cluster, topics)


@pytest.mark.fault("F7")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "code",
    [CORRUPT, NOT_LEADER, TIMED_OUT, STORAGE, OUT_OF_ORDER, UNKNOWN_PRODUCER, INVALID_RECORD, NOT_ALLOWED, OLD_EPOCH],
)
def test_f7_a_record_that_was_refused_is_never_committed_without(
    cluster: Cluster, proxy: Proxy, topics: str, code: int, place: int
) -> None:
    """Refused for good: the rule holds until the client gives up, and what comes after it is taken."""
    victim = b"%d" % place
    rule = proxy.fail("Produce", code, times=None, when=lambda request: holds(request, victim))
    transactions = opened(proxy.bootstrap, topics, HASTY)
    with pytest.raises(RoleFailure):
        commit(transactions, topics)
    assert rule.applied > 0
    proxy.clear()
    assert written(cluster, topics) == (0, 0)


# So that a code that the client tries again for is given up on soon.
HASTY = TransactionLimits(request_ms=800, delivery_ms=1_000, deadline_ms=3_000, broker_ms=4_000)


def holds(request: object, key: bytes) -> bool:
    """Say whether a Produce request carries the record with this key: a batch's only one, uncompressed."""
    data = [part.records for topic in request.topic_data for part in topic.partition_data]  # type: ignore[attr-defined]
    # Length 1 (as a zigzag varint, 2), the key, then the length of the value.
    return any(b"\x02" + key + b"\xc0\x9a\x0c" in bytes(each) for each in data)


@pytest.mark.fault("F7")
@pytest.mark.parametrize("forward", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(
    ("api", "code"),
    [
        ("AddPartitionsToTxn", FENCED),
        ("AddPartitionsToTxn", BAD_STATE),
        ("AddPartitionsToTxn", NO_MAPPING),
        ("AddOffsetsToTxn", OLD_EPOCH),
        ("AddOffsetsToTxn", NO_MAPPING),
        ("TxnOffsetCommit", ILLEGAL_GENERATION),
        ("TxnOffsetCommit", UNKNOWN_MEMBER),
        ("TxnOffsetCommit", FENCED_INSTANCE),
        ("EndTxn", BAD_STATE),
        ("EndTxn", UNKNOWN_ERROR),
    ],
)
def test_f7_records_and_places_go_together_whatever_is_refused(
    cluster: Cluster, proxy: Proxy, topics: str, api: str, code: int, forward: bool
) -> None:
    proxy.fail(api, code, forward=forward)
    transactions = opened(proxy.bootstrap, topics)
    with pytest.raises((Doubt, Fenced)):
        commit(transactions, topics)
    # An EndTxn that was done and said to have failed is the one case in which all of it is there.
    assert written(cluster, topics) == ((3, 3) if api == "EndTxn" and forward else (0, 0))


@pytest.mark.fault("F7")
@pytest.mark.parametrize("api", ["AddPartitionsToTxn", "Produce", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn"])
def test_f7_a_lost_answer_is_asked_for_again_and_nothing_is_there_twice(
    cluster: Cluster, proxy: Proxy, topics: str, api: str
) -> None:
    lost = proxy.drop_responses(api, cut=True)
    transactions = opened(proxy.bootstrap, topics)
    commit(transactions, topics)
    transactions.close()
    assert lost.applied == 1
    assert written(cluster, topics) == (3, 3)


# --- K2 --------------------------------------------------------------------------------------------


def test_k2_a_commit_that_the_client_dropped_is_a_doubt_within_the_deadline(
    cluster: Cluster, proxy: Proxy, topics: str, client: str
) -> None:
    """An outage between the records and the commit: the client forgets its EndTxn and waits for ever."""
    transactions = opened(proxy.bootstrap, topics)
    producer = transactions._producer
    end = producer.commit_transaction

    def outage_then_end() -> None:
        attempt = proxy.drop_requests("ApiVersions", times=None, cut=True)
        proxy.cut()
        if client == LIBRDKAFKA:
            assert attempt.wait()
        else:
            coordinator = producer._client._transaction_manager._transaction_coordinator
            until(lambda: not producer._client._sender._client.is_ready(coordinator), "the producer to notice")
        end()

    producer.commit_transaction = outage_then_end
    began = time.monotonic()
    with pytest.raises(Doubt, match=r"no answer to a transaction of .* within 3 s|Timed out waiting"):
        commit(transactions, topics)
    assert time.monotonic() - began < LIMITS.deadline_ms / 1000 + 10  # the outage has no end
    proxy.clear()
    assert written(cluster, topics) == (0, 0)


def test_k2_a_process_whose_commit_never_returns_can_end(cluster: Cluster, topics: str, bootstrap: str) -> None:
    put(cluster, topics + "in", numbered(0, 10))
    with child(bootstrap, topics, "stuck=commit_transaction") as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 75
    assert "no answer to a transaction" in said
    assert len(said.splitlines()) == 1
    with running(cluster, settings(topics), Copier(topics)) as run:
        until(lambda: is_exact(cluster, topics), "the copy to be whole")
        run.stop()


def test_k2_each_time_limit_is_shorter_than_the_next() -> None:
    with pytest.raises(ValueError, match="shorter"):
        TransactionLimits(deadline_ms=10_000)


# --- K3, F8 ----------------------------------------------------------------------------------------


@pytest.mark.fault("F8")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("code", [OUT_OF_ORDER, UNKNOWN_PRODUCER, NO_MAPPING])
def test_k3_nothing_of_a_dead_transaction_is_in_a_later_one(
    cluster: Cluster, proxy: Proxy, topics: str, code: int, place: int
) -> None:
    """The client bumps its epoch in mid-transaction and keeps the unsent records for the next."""
    proxy.hold("Produce", times=1)
    failed = proxy.fail("Produce", code, skip=place)
    threading.Thread(target=lambda: proxy.wait_for("Produce") and proxy.release()).start()
    transactions = opened(proxy.bootstrap, topics)
    senders = [thread for thread in threading.enumerate() if thread.name.endswith("network-thread")]
    with pytest.raises(Doubt):
        commit(transactions, topics)
    assert failed.applied == 1
    with pytest.raises(Doubt, match="not used again"):
        commit(transactions, topics, 1)
    wait_for_abandoned()
    assert not any(sender.is_alive() for sender in senders)
    sent = proxy.seen("Produce")
    successor = opened(proxy.bootstrap, topics)
    commit(successor, topics, 1)
    successor.close()
    assert proxy.seen("Produce") == sent + 1
    assert written(cluster, topics) == (1, 1)


# --- K7 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "code"),
    [
        ("InitProducerId", FENCED),
        ("AddPartitionsToTxn", OLD_EPOCH),
        ("AddOffsetsToTxn", FENCED),
        ("TxnOffsetCommit", FENCED_INSTANCE),
        ("TxnOffsetCommit", FENCED),
        ("EndTxn", OLD_EPOCH),
    ],
)
def test_k7_being_fenced_says_so_wherever_it_shows(proxy: Proxy, topics: str, api: str, code: int) -> None:
    proxy.fail(api, code, times=None)
    with pytest.raises(Fenced, match="give this one its own --instance") as caught:
        commit(opened(proxy.bootstrap, topics), topics)
    assert caught.value.exit_code == 75


def test_k7_a_second_process_of_the_same_name_fences_the_first(cluster: Cluster, topics: str, bootstrap: str) -> None:
    first = opened(bootstrap, topics)
    second = opened(bootstrap, topics)
    with pytest.raises(Fenced, match="another process works as"):
        commit(first, topics)
    commit(second, topics)
    second.close()
    assert written(cluster, topics) == (3, 3)


def test_k7_fenced_between_the_records_of_a_transaction(proxy: Proxy, topics: str, bootstrap: str) -> None:
    proxy.hold("Produce", times=1)
    first = opened(proxy.bootstrap, topics, SLOW)

    def take_the_name() -> None:
        assert proxy.wait_for("Produce")
        opened(bootstrap, topics).close()
        proxy.release()

    thread = threading.Thread(target=take_the_name)
    thread.start()
    with pytest.raises(Fenced, match="another process works as"):
        commit(first, topics)
    thread.join()


@pytest.mark.parametrize(
    "error", [theirs.ProducerFencedError(), theirs.FencedInstanceIdError(), theirs.InvalidProducerEpochError()]
)
def test_k7_fenced_is_found_behind_other_errors(error: theirs.KafkaError) -> None:
    outer = theirs.KafkaError("cannot perform send")
    outer.__cause__ = error
    assert isinstance(failure_of(translated(outer), "a transaction", "x"), Fenced)
    assert isinstance(failure_of(translated(error), "a transaction", "x"), Fenced)
    assert isinstance(failure_of(KafkaError(repr(error)), "a transaction", "x"), Fenced)
    assert not isinstance(failure_of(KafkaError("else"), "a transaction", "x"), (Fenced, RoleRefused))


# --- K8 --------------------------------------------------------------------------------------------


def test_k8_no_more_is_read_while_a_transaction_is_under_way(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    """What is unacknowledged is the answer to one batch, and never more; if commits overlap, to two."""
    put(cluster, topics + "in", numbered(0, 3000))
    taken: list[int] = []
    chosen = settings(topics, limits=SLOW)
    copier = Copier(topics, lambda batch: taken.append(sum(map(len, batch.values()))))
    copier.overlaps = False
    held = proxy.hold("Produce")
    with running(Cluster(proxy.bootstrap), chosen, copier) as run:
        assert held.wait()
        assert proxy.wait_for("Heartbeat", proxy.seen("Heartbeat") + 1)
        assert len(taken) == 1
        assert taken[0] <= 2000
        proxy.release()
        until(lambda: sum(taken) == 3000, "all to be read")
        run.stop()
    assert ends(cluster, topics + "in")[TopicPartition(topics + "in", 0)] == 3000
    assert is_exact(cluster, topics)
