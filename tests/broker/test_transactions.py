"""Transactions as imports, replays and restores use them: spanning calls, for a group by name, in split batches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from kafka.structs import TopicPartition
from loop_helpers import LIMITS, ends, places, read
from proxy import Proxy
from raw_kafka import raw_admin, raw_consumer
from test_loop_transactions import HASTY, LARGE, NOT_LEADER, proxy

from runtime.exits import Doubt, Fenced
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.failures import cause_of
from runtime.kafka_client.library_names import KAFKA_PYTHON
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import Transactions

pytestmark = pytest.mark.both_clients

__all__ = ["proxy"]


@pytest.fixture
def transactions(cluster: Cluster, topics: str) -> Iterator[Transactions]:
    with closing(Transactions(cluster, topics + "id", LIMITS, compression="lz4")) as transactions:
        transactions.open()
        yield transactions


def outputs(prefix: str, count: int, value: bytes = b"value") -> list[Output]:
    return [Output(prefix + "out", 0, b"%d" % number, value) for number in range(count)]


def test_records_of_several_calls_are_there_once_all_of_them_are_committed(
    cluster: Cluster, topics: str, transactions: Transactions
) -> None:
    transactions.begin()
    assert transactions.send(outputs(topics, 2)) == [0, 1]
    assert transactions.send([]) == []
    assert transactions.send(outputs(topics, 1)) == [2]
    assert read(cluster, topics + "out")[0] == []
    transactions.commit(outputs(topics, 1))
    assert len(read(cluster, topics + "out")[0]) == 4
    transactions.commit(outputs(topics, 1))
    assert len(read(cluster, topics + "out")[0]) == 5


def test_an_aborted_transaction_leaves_a_hole_and_the_next_one_is_another(
    cluster: Cluster, topics: str, transactions: Transactions
) -> None:
    transactions.begin()
    assert transactions.send(outputs(topics, 3)) == [0, 1, 2]
    transactions.abort()
    assert read(cluster, topics + "out")[0] == []
    transactions.commit(outputs(topics, 1))
    assert len(read(cluster, topics + "out")[0]) == 1
    assert ends(cluster, topics + "out")[TopicPartition(topics + "out", 0)] == 6, "each has a marker"


def test_a_transaction_that_was_left_open_is_ended_by_the_next_of_its_name(cluster: Cluster, topics: str) -> None:
    with closing(Transactions(cluster, topics + "id", LIMITS)) as first:
        first.open()
        first.begin()
        first.send(outputs(topics, 2))
    with closing(Transactions(cluster, topics + "id", LIMITS)) as second:
        second.open()
        assert ends(cluster, topics + "out")[TopicPartition(topics + "out", 0)] == 3
    assert read(cluster, topics + "out")[0] == []


@pytest.mark.parametrize("call", ["send", "commit", "abort"])
def test_one_that_spans_calls_is_fenced_by_another_of_its_name(
    cluster: Cluster, topics: str, transactions: Transactions, call: str
) -> None:
    transactions.begin()
    transactions.send(outputs(topics, 2))
    with closing(Transactions(cluster, topics + "id", LIMITS)) as other:
        other.open()
        with pytest.raises(Fenced, match="another process works as"):
            transactions.send(outputs(topics, 1)) if call == "send" else getattr(transactions, call)()
    with pytest.raises(Doubt, match="not used again"):
        transactions.begin()
    assert read(cluster, topics + "out")[0] == []


def test_a_record_that_expires_ends_the_transaction_at_the_call_that_sent_it(
    cluster: Cluster, proxy: Proxy, topics: str
) -> None:
    transactions = Transactions(Cluster(proxy.bootstrap), topics + "id", HASTY)
    transactions.open()
    transactions.begin()
    transactions.send(outputs(topics, 2))
    lost = proxy.fail("Produce", NOT_LEADER, times=None)
    with pytest.raises(Doubt, match=r"a transaction of .* failed") as caught:
        transactions.send(outputs(topics, 1))
    assert lost.applied > 0
    assert isinstance(cause_of(caught.value), KafkaError)
    proxy.clear()
    with pytest.raises(Doubt, match="not used again"):
        transactions.commit()
    with closing(Transactions(cluster, topics + "id", LIMITS)) as successor:
        successor.open()
    assert read(cluster, topics + "out")[0] == []


def test_offsets_go_before_the_records(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    """A removed member is refused before it has sent a record. And right after a transaction the broker is often not
    ready for the next one, for which librdkafka waits 20 ms if a record is the first.
    """
    held = proxy.hold("TxnOffsetCommit", times=1)
    transactions = Transactions(Cluster(proxy.bootstrap), topics + "id", LIMITS)
    with closing(transactions), ThreadPoolExecutor() as pool:
        transactions.open()
        place = {Partition(topics + "in", 0): CommittedOffset(1, "")}
        commit = pool.submit(transactions.commit, outputs(topics, 1), place, GroupMetadata(topics + "group"))
        assert held.wait()
        assert proxy.seen("AddOffsetsToTxn") == 1
        assert proxy.seen("AddPartitionsToTxn") == proxy.seen("Produce") == 0
        proxy.release()
        commit.result()
    assert proxy.seen("AddPartitionsToTxn") == proxy.seen("Produce") == 1


@pytest.mark.client(KAFKA_PYTHON)
def test_a_place_goes_to_a_group_named_or_shown_by_its_member(
    cluster: Cluster, topics: str, transactions: Transactions
) -> None:
    with closing(raw_consumer(cluster, group_id=topics + "group")) as member:
        shown = member.group_metadata()
    handle = GroupMetadata(topics + "group", handle=shown)
    for number, group in enumerate((GroupMetadata(topics + "group"), handle)):
        transactions.commit(outputs(topics, 1), {Partition(topics + "in", 0): CommittedOffset(number, "note")}, group)
        place = places(cluster, topics + "group")[TopicPartition(topics + "in", 0)]
        assert (place.offset, place.metadata) == (number, "note")


@pytest.mark.client(KAFKA_PYTHON)
def test_a_batch_that_is_larger_than_the_topic_takes_is_split_and_whole(cluster: Cluster, topics: str) -> None:
    """The client sends it again in two parts, and ends the wait for it before they are acknowledged."""
    topic = topics + "narrow"
    with raw_admin(cluster) as admin:
        spec = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "20000"}}
        admin.create_topics({topic: spec}, wait_for_metadata=True)
    with closing(Transactions(cluster, topics + "id", LIMITS)) as transactions:
        transactions.open()
        transactions.commit([Output(topic, 0, b"%d" % number, LARGE[:5000]) for number in range(12)])
    assert len(read(cluster, topic)[0]) == 12
