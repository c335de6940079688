"""Guards that only a broker can tell the use of: each is taken out in turn, and a test of the loop goes red."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import test_loop_transactions as transactions
from kafka.structs import TopicPartition
from loop_helpers import Copier, is_exact, numbered, places, put, read, running, settings, until
from proxy import Proxy
from test_loop_transactions import proxy

from consumers.loop.loop import Loop
from consumers.loop.processor import Assignment, Start
from runtime.exits import Doubt
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.library_names import LIBRDKAFKA
from runtime.kafka_client.librdkafka import library, producer
from runtime.kafka_client.librdkafka.group_metadata import _encoded
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import Transactions

__all__ = ["proxy"]
pytestmark = pytest.mark.both_clients

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("refused", [False, True], ids=["", "refused by the adapter"])
def test_without_the_metadata_of_the_first_poll_a_commit_is_not_fenced(
    cluster: Cluster, proxy: Proxy, topics: str, monkeypatch: Patch, client: str, refused: bool
) -> None:
    """Asked for when it commits, what was thrown out says generation -1, and the broker lets it.

    The adapter of librdkafka refuses to encode it, a second guard.
    """
    if client == LIBRDKAFKA and not refused:
        monkeypatch.setattr(producer, "encoded", unchecked)
    elif client != LIBRDKAFKA and refused:
        pytest.skip("kafka-python takes the metadata as it is")
    poll, commit = Loop._poll, Loop._commit
    consumers: list[Any] = []

    def remember(self: Loop, consumer: Any, records: int) -> Any:
        consumers[:] = [consumer]
        return poll(self, consumer, records)

    def ask_late(self: Loop, *more: Any, **how: Any) -> None:
        changed = self._rebalanced.is_set()
        self._rebalanced.clear()
        self._group = consumers[0].group_metadata()
        commit(self, *more, **how)
        if changed:
            self._rebalanced.set()

    monkeypatch.setattr(Loop, "_poll", remember)
    monkeypatch.setattr(Loop, "_commit", ask_late)
    unfenced = proxy.delay("TxnOffsetCommit", 0, times=None, when=lambda request: request.generation_id < 0)
    put(cluster, topics + "in", numbered(0, 50))

    def lose(batch: Any) -> None:
        if unfenced.applied == 0:
            thrown_out = proxy.fail("Heartbeat", transactions.UNKNOWN_MEMBER)
            assert thrown_out.wait()
            assert not proxy.wait_for("Heartbeat", proxy.seen("Heartbeat") + 1, timeout=1.5)

    copier = Copier(topics, lose)
    copier.overlaps = False
    with running(Cluster(proxy.bootstrap), settings(topics), copier) as run:
        until(lambda: unfenced.applied or run.ended, "a commit of nobody's")
        failure = run.wait() if refused else None
    assert (unfenced.applied == 0) == refused
    assert isinstance(failure, Doubt) == refused


def unchecked(group: GroupMetadata) -> bytes:
    """Encode a membership, whatever its generation."""
    member: Any = group.handle
    return _encoded(member.group_id, member.generation_id, member.member_id, member.group_instance_id)


def test_without_a_new_process_after_a_doubt_what_it_had_handled_is_lost(
    cluster: Cluster, proxy: Proxy, topics: str, monkeypatch: Patch
) -> None:
    """A new producer, and the state as it was: the next place that is committed is beyond what never went out."""
    commit = Loop._commit

    def go_on(self: Loop, transactions: Transactions, *more: Any, **how: Any) -> None:
        try:
            commit(self, transactions, *more, **how)
        except Doubt:
            Transactions.__init__(transactions, self._cluster, self._settings.instance, self._settings.limits)
            transactions.open()

    monkeypatch.setattr(Loop, "_commit", go_on)
    put(cluster, topics + "in", numbered(0, 50))
    failed = proxy.fail("Produce", transactions.INVALID_RECORD)
    copier = Copier(topics)
    copier.overlaps = False
    with running(Cluster(proxy.bootstrap), settings(topics), copier) as run:
        assert failed.wait()
        put(cluster, topics + "in", numbered(50, 100))
        until(lambda: place_of(cluster, topics) == 100, "both halves to be handled")
        run.stop()
    assert not is_exact(cluster, topics)
    assert len(read(cluster, topics + "out")[0]) < 100


def test_without_one_transaction_for_both_places_stay_behind_records(
    cluster: Cluster, proxy: Proxy, topics: str, monkeypatch: Patch
) -> None:
    transact = Transactions._transact

    def apart(
        self: Transactions,
        outputs: Sequence[Output],
        places: Mapping[Partition, CommittedOffset],
        group: GroupMetadata,
    ) -> None:
        transact(self, outputs, {}, group)
        transact(self, [], places, group)

    monkeypatch.setattr(Transactions, "_transact", apart)
    with pytest.raises(AssertionError):
        transactions.test_f7_records_and_places_go_together_whatever_is_refused(
            cluster, proxy, topics, "TxnOffsetCommit", transactions.UNKNOWN_MEMBER, False
        )


def test_without_a_look_at_each_record_a_transaction_is_committed_with_a_hole(
    cluster: Cluster, proxy: Proxy, topics: str, monkeypatch: Patch, client: str
) -> None:
    """K1: nobody asks the futures. With librdkafka the guard is another: one request in flight."""
    if client == LIBRDKAFKA:
        monkeypatch.setattr(library, "_PRODUCER", {**library._PRODUCER, "max.in.flight": 5})
    init = Transactions.__init__

    class Deaf:
        """A producer whose records all seem to have been acknowledged."""

        is_done, exception = True, None

    def deafened(self: Transactions, *more: Any) -> None:
        init(self, *more)
        producer: Any = self._producer
        send: Callable[..., Any] = producer._client.send
        producer._client.send = lambda *record: send(*record) and Deaf()
        producer.flush = lambda timeout: None

    if client != LIBRDKAFKA:
        monkeypatch.setattr(Transactions, "__init__", deafened)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        transactions.test_f7_a_record_that_was_refused_is_never_committed_without(
            cluster, proxy, topics, transactions.NOT_LEADER, 0 if client == LIBRDKAFKA else 1
        )


def test_a_place_goes_back_only_where_the_processor_begins_anew(cluster: Cluster, topics: str) -> None:
    """As a joiner does whose topic has been made again: all is read from the beginning, and committed."""
    put(cluster, topics + "in", numbered(0, 50))
    with running(cluster, settings(topics), Copier(topics)) as run:
        until(lambda: is_exact(cluster, topics), "50 records")
        run.stop()

    class Anew(Copier):
        def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
            super().assigned(assignment)
            self.counts = dict.fromkeys(self.counts, 0)
            return {at: Start(assignment.beginnings[at], back=True) for at in assignment.committed}

        def places(self, read: Any) -> Mapping[Partition, CommittedOffset]:
            return {
                at: CommittedOffset(min(each.offset, 7), each.metadata) for at, each in super().places(read).items()
            }

    with running(cluster, settings(topics), Anew(topics)) as run:
        until(lambda: place_of(cluster, topics) == 7, "the place to go back")
        run.stop()
    assert read(cluster, topics + "out")[0] == 2 * [b"%d %d" % (n, n) for n in range(50)]


def place_of(cluster: Cluster, prefix: str) -> int:
    found = places(cluster, prefix + "group").get(TopicPartition(prefix + "in", 0))
    return 0 if found is None else int(found.offset)
