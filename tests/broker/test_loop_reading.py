"""The loop as a reader: where it begins, what it commits, and that it neither jumps nor stands still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from loop_helpers import (
    SECONDS,
    Copier,
    Running,
    ends,
    expected,
    is_exact,
    make_topics,
    numbered,
    places,
    put,
    read,
    running,
    settings,
    until,
)
from proxy import Proxy
from raw_kafka import raw_admin, raw_producer

from consumers.loop.processor import Assignment, Start
from consumers.loop.takeover import Takeover
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Batch, CommittedOffset, Partition
from runtime.kafka_client.transaction import TransactionLimits, Transactions

UNKNOWN_MEMBER = 25


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


def place(cluster: Cluster, prefix: str) -> tuple[int, str]:
    found = places(cluster, prefix + "group").get(TopicPartition(prefix + "in", 0))
    return (0, "") if found is None else (found.offset, found.metadata)


# --- K4 --------------------------------------------------------------------------------------------


def test_k19_a_partition_that_was_paused_with_records_in_hand_is_read_on(cluster: Cluster, prefix: str) -> None:
    """The client sets them aside, and with another partition to read never takes them up again."""
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 8000), 2)
    first, second = (Partition(prefix + "in", number) for number in (0, 1))

    def hold(batch: Batch) -> None:
        if first in batch and not held:
            held.append(len(batch[first]))
            copier.hold = frozenset({first})

    held: list[int] = []
    copier = Copier(prefix, hold)
    with running(cluster, settings(prefix), copier) as run:
        until(lambda: copier.counts.get(second.partition) == 4000, "all of the other partition")
        assert copier.counts[first.partition] == held[0] < 4000
        copier.hold = frozenset()
        until(lambda: copier.counts[first.partition] == 4000, "the rest of the one that was held")
        run.stop()
    assert is_exact(cluster, prefix)


def test_k4_who_was_thrown_out_commits_nothing_and_joins_again(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    """The broker does not fence a commit that says generation -1: none may ever be sent."""
    unfenced = proxy.delay("TxnOffsetCommit", 0, times=None, when=lambda request: request.generation_id < 0)
    put(cluster, topics + "in", numbered(0, 50))
    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
        until(lambda: run.processor.counts == {0: 50}, "50 records")
        thrown_out = proxy.fail("Heartbeat", UNKNOWN_MEMBER)
        assert thrown_out.wait()
        put(cluster, topics + "in", numbered(50, 100))
        until(lambda: len(run.processor.assignments) == 2 and run.processor.counts == {0: 100}, "joining again")
        run.stop()
    assert unfenced.applied == 0
    assert proxy.seen("TxnOffsetCommit") > 1
    assert is_exact(cluster, topics)


def test_k4_who_is_thrown_out_while_at_work_commits_as_the_member_that_read(
    cluster: Cluster, proxy: Proxy, topics: str
) -> None:
    unfenced = proxy.delay("TxnOffsetCommit", 0, times=None, when=lambda request: request.generation_id < 0)
    put(cluster, topics + "in", numbered(0, 50))

    def lose(batch: Batch) -> None:
        thrown_out = proxy.fail("Heartbeat", UNKNOWN_MEMBER)
        assert thrown_out.wait()
        # The answer has been dealt with when nothing more is heard of this member.
        assert not proxy.wait_for("Heartbeat", proxy.seen("Heartbeat") + 1, timeout=1.5)

    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics, lose)) as run:
        until(lambda: len(run.processor.assignments) == 2, "joining again")
        until(lambda: is_exact(cluster, topics), "the copy to be whole")
        run.stop()
    assert unfenced.applied == 0


def test_a_place_that_stays_undecided_is_said(cluster: Cluster, topics: str) -> None:
    """As by a transaction of somebody who never came back, or one that the broker wrongly believes to be open."""
    group = topics + "group"
    producer = raw_producer(cluster, transactional_id=topics + "gone")
    with closing(producer):
        producer.init_transactions()
        producer.begin_transaction()
        places = {TopicPartition(topics + "in", 0): OffsetAndMetadata(0, "", -1)}
        producer.send_offsets_to_transaction(places, ConsumerGroupMetadata(group, -1, "", None))
        limits = TransactionLimits(request_ms=800, delivery_ms=1_000, deadline_ms=1_200, broker_ms=1_500)
        with running(cluster, settings(topics, limits=limits), Copier(topics)) as run:
            ended = run.wait()
        assert isinstance(ended, Doubt)
        assert f"has not said for 4.5 s where the group stands in {topics}in 0" in str(ended)
        producer.abort_transaction()


def test_k4_a_change_of_assignment_before_the_commit_drops_what_was_done(cluster: Cluster, topics: str) -> None:
    put(cluster, topics + "in", numbered(0, 50))
    seen: list[Any] = []

    def change(batch: Batch) -> None:
        if not seen:
            seen.append([dict(each) for each in run.processor.commits])
            run.loop._rebalanced.set()

    class Watched(Copier):
        def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
            if len(seen) == 1:
                seen.append([dict(each) for each in self.commits])
            return super().assigned(assignment)

    run = Running(cluster, settings(topics), Watched(topics, change))
    until(lambda: len(seen) == 2 and run.processor.counts == {0: 50}, "the second attempt")
    run.stop()
    assert seen[0] == seen[1]
    assert is_exact(cluster, topics)


def test_k4_a_place_never_goes_back(cluster: Cluster, topics: str) -> None:
    put(cluster, topics + "in", numbered(0, 50))

    class Backwards(Copier):
        def places(self, read: Any) -> Any:
            back = 10 if self.counts == {0: 51} else 0
            return {
                at: each._replace(offset=each.offset - back)
                if hasattr(each, "_replace")
                else replace(each, offset=each.offset - back)
                for at, each in super().places(read).items()
            }

    with running(cluster, settings(topics), Backwards(topics)) as run:
        until(lambda: run.processor.commits and run.processor.counts == {0: 50}, "50 records")
        until(lambda: place(cluster, topics)[0] == 50, "their commit")
        put(cluster, topics + "in", numbered(50, 51))
        failure = run.wait()
    assert isinstance(failure, Doubt)
    assert "would go back from 50 to 41" in str(failure)
    assert place(cluster, topics) == (50, "50")


# --- K6 --------------------------------------------------------------------------------------------


def test_k6_heartbeats_go_on_while_an_assignment_is_taken_over(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    beats: list[bool] = []

    class Slow(Copier):
        def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
            beats.append(proxy.wait_for("Heartbeat", proxy.seen("Heartbeat") + 2, timeout=5))
            return super().assigned(assignment)

    with running(Cluster(proxy.bootstrap), settings(topics), Slow(topics)) as run:
        run.stop()
    assert beats == [True]


# --- K9 --------------------------------------------------------------------------------------------


def test_k9_lag_returns_to_0_behind_markers_and_the_metadata_stays(cluster: Cluster, topics: str) -> None:
    writer = raw_producer(cluster, transactional_id=topics + "writer")
    writer.init_transactions()
    with running(cluster, settings(topics), Copier(topics)) as run:
        for number, end in enumerate((writer.commit_transaction, writer.abort_transaction) * 2):
            writer.begin_transaction()
            writer.send(topics + "in", b"%d" % number, partition=0).get(timeout=SECONDS)
            end()
            until(
                lambda: place(cluster, topics)[0] == ends(cluster, topics + "in")[TopicPartition(topics + "in", 0)],
                "lag to be 0",
            )
        until(lambda: place(cluster, topics) == (8, "2"), "two records and all four markers to be behind it")
        idle = len(run.processor.commits)
        until(lambda: len(run.processor.commits) > idle + 2, "idle commits")
        assert place(cluster, topics) == (8, "2")
        run.stop()
    writer.close()
    assert place(cluster, topics) == (8, "2")


# --- K11, K12 --------------------------------------------------------------------------------------


def test_k11_a_new_group_begins_at_the_beginning(cluster: Cluster, prefix: str) -> None:
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 100), 2)
    with running(cluster, settings(prefix), Copier(prefix)) as run:
        until(lambda: sum(run.processor.counts.values()) == 100, "100 records")
        run.stop()
    assert is_exact(cluster, prefix)


def delete_before(cluster: Cluster, topic: str, offset: int) -> None:
    with raw_admin(cluster) as admin:
        admin.delete_records({TopicPartition(topic, 0): offset})


def commit(cluster: Cluster, prefix: str, places: Mapping[Partition, CommittedOffset]) -> None:
    transactions = Transactions(cluster, prefix + "elsewhere")
    with closing(transactions):
        transactions.open()
        transactions.commit([], places, GroupMetadata(prefix + "group"))


@pytest.mark.fault("F19")
def test_who_takes_over_a_partition_without_a_place_hears_where_the_rest_of_the_group_stands(
    cluster: Cluster, prefix: str
) -> None:
    make_topics(cluster, prefix, 3)
    known, mine, new = (Partition(prefix + "in", number) for number in range(3))
    heard: list[Assignment] = []

    class Listens(Copier):
        def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
            heard.append(assignment)
            return super().assigned(assignment)

    with closing(cluster.consumer(group_id=prefix + "group")) as consumer:
        consumer.assign([mine])
        takeover = Takeover(consumer, cluster, Listens(prefix), 5_000, SECONDS, SECONDS, lambda: True)
        commit(cluster, prefix, {known: CommittedOffset(0, "7")})
        takeover.run([mine])
        commit(cluster, prefix, {mine: CommittedOffset(0, "8")})
        takeover.run([mine])
    assert [each.others for each in heard] == [{known: CommittedOffset(0, "7"), new: None}, {}]


def test_k11_who_falls_off_retention_stops_and_never_jumps(cluster: Cluster, topics: str) -> None:
    put(cluster, topics + "in", numbered(0, 50))
    with running(cluster, settings(topics), Copier(topics)) as run:
        until(lambda: place(cluster, topics) == (50, "50"), "50 records")
        run.stop()
    put(cluster, topics + "in", numbered(50, 100))
    delete_before(cluster, topics + "in", 80)
    for _ in range(2):
        with running(cluster, settings(topics), Copier(topics)) as run:
            failure = run.wait()
        assert isinstance(failure, RoleRefused)
        assert "retention has overtaken" in str(failure)
    assert place(cluster, topics) == (50, "50")
    assert len(read(cluster, topics + "out")[0]) == 50


def test_k11_falling_off_while_paused_is_noticed_too(cluster: Cluster, topics: str) -> None:
    copier = Copier(topics)
    copier.hold = frozenset({Partition(topics + "in", 0)})
    put(cluster, topics + "in", numbered(0, 50))
    with running(cluster, settings(topics), copier) as run:
        until(lambda: len(copier.commits) > 1, "turns in which nothing is read")
        delete_before(cluster, topics + "in", 30)
        copier.hold = frozenset()
        failure = run.wait()
    # What the client had fetched before may be read; what it had not is not jumped over.
    assert isinstance(failure, RoleRefused) or is_exact_prefix(cluster, topics)


def is_exact_prefix(cluster: Cluster, prefix: str) -> bool:
    return read(cluster, prefix + "out") == expected({0: numbered(0, 50)})


def asks_to_make(request: Any) -> bool:
    return bool(request.allow_auto_topic_creation and request.topics)


def test_k12_no_topic_is_made_by_accident(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    """Asking a broker about a topic makes it, unless the question says that it must not."""
    makes = proxy.delay("Metadata", 0, times=None, when=asks_to_make)
    put(cluster, topics + "in", numbered(0, 10))
    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
        until(lambda: is_exact(cluster, topics), "the copy")
        run.stop()
    with running(Cluster(proxy.bootstrap), settings(topics + "no-"), Copier(topics + "no-")) as run:
        failure = run.wait()
    assert isinstance(failure, RoleRefused)
    assert f"topic {topics}no-in does not exist: `millstream topics create" in str(failure)
    assert proxy.seen("Metadata") > 0
    assert makes.applied == 0
    assert cluster.topic_info(topics + "no-in", topics + "no-out") == {}


# --- K17, K18 --------------------------------------------------------------------------------------


def test_k17_every_member_is_static(cluster: Cluster, proxy: Proxy, topics: str) -> None:
    dynamic = proxy.delay("JoinGroup", 0, times=None, when=lambda request: not request.group_instance_id)
    for _ in range(2):
        with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
            run.stop()
    assert proxy.seen("JoinGroup") >= 2
    assert dynamic.applied == 0


def test_k18_each_codec_is_read(cluster: Cluster, topics: str) -> None:
    for number, codec in enumerate((None, "gzip", "snappy", "lz4", "zstd")):
        put(cluster, topics + "in", numbered(number * 100, number * 100 + 100), compression_type=codec)
    with running(cluster, settings(topics), Copier(topics)) as run:
        until(lambda: run.processor.counts == {0: 500}, "500 records")
        run.stop()
    assert read(cluster, topics + "out") == expected({0: numbered(0, 500)})


# --- taking over -----------------------------------------------------------------------------------


def test_nothing_is_read_of_what_is_paused_from_the_start(cluster: Cluster, topics: str) -> None:
    copier = Copier(topics)
    copier.hold = frozenset({Partition(topics + "in", 0)})
    put(cluster, topics + "in", numbered(0, 50))
    with running(cluster, settings(topics), copier) as run:
        until(lambda: len(copier.commits) > 2, "a few commits")
        assert copier.counts == {0: 0}
        copier.hold = frozenset()
        until(lambda: copier.counts == {0: 50}, "50 records")
        run.stop()
    assert is_exact(cluster, topics)


class Rebuilding(Copier):
    """A copier that must read all that is behind it again."""

    def __init__(self, prefix: str, while_recovering: Any = lambda batch: None) -> None:
        super().__init__(prefix)
        self.again: list[bytes] = []
        self.recoveries: list[list[bytes]] = []
        self._while_recovering = while_recovering

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self.again = []
        starts = super().assigned(assignment)
        return {at: Start(live=start.live, recover_from=assignment.beginnings[at]) for at, start in starts.items()}

    def recover(self, batch: Batch) -> None:
        self.again += [record.value or b"" for records in batch.values() for record in records]
        self._while_recovering(batch)

    def recovered(self) -> None:
        if self.again:
            self.recoveries.append(self.again)


@pytest.fixture
def half_read(cluster: Cluster, topics: str) -> str:
    """Let a group read 5,000 records, and put 100 more behind them."""
    put(cluster, topics + "in", numbered(0, 5000))
    with running(cluster, settings(topics), Copier(topics)) as run:
        until(lambda: place(cluster, topics) == (5000, "5000"), "5,000 records")
        run.stop()
    put(cluster, topics + "in", numbered(5000, 5100))
    return topics


@pytest.mark.fault("F18")
def test_a_rebuild_may_take_longer_than_the_poll_interval(
    cluster: Cluster, half_read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("consumers.loop.watchdog._exit", said.append)
    slow = Rebuilding(half_read, lambda batch: __import__("time").sleep(1.2))
    chosen = settings(half_read, poll_interval_ms=2_500)
    with running(cluster, chosen, slow) as run:
        until(lambda: is_exact(cluster, half_read), "the copy")
        run.stop()
    assert slow.recoveries == [numbered(0, 5000)]
    assert said == []


def test_told_to_end_while_it_rebuilds_it_commits_nothing(cluster: Cluster, half_read: str) -> None:
    rebuilding = Rebuilding(half_read, lambda batch: run.loop.stop())
    run = Running(cluster, settings(half_read), rebuilding)
    assert run.wait() is None
    assert 0 < len(rebuilding.again) < 5000
    assert (rebuilding.recoveries, rebuilding.commits) == ([], [])
    assert place(cluster, half_read) == (5000, "5000")


def test_an_assignment_that_changes_during_a_rebuild_begins_it_anew(cluster: Cluster, half_read: str) -> None:
    changes = [1]

    def change(batch: Batch) -> None:
        if changes:
            changes.pop()
            run.loop._rebalanced.set()

    rebuilding = Rebuilding(half_read, change)
    run = Running(cluster, settings(half_read), rebuilding)
    until(lambda: is_exact(cluster, half_read), "the copy")
    run.stop()
    assert rebuilding.recoveries == [numbered(0, 5000)]
    assert len(rebuilding.assignments) == 2
