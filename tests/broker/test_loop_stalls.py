"""The loop's watches: who hangs or stands still is noticed, and who only has to wait is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.consumer.fetcher import Fetcher
from loop_helpers import (
    SECONDS,
    Copier,
    child,
    make_topics,
    numbered,
    put,
    running,
    settings,
    until,
)
from proxy import Proxy
from raw_kafka import raw_member, raw_producer

from consumers.loop.loop import Loop
from consumers.loop.watchdog import ProgressWatch
from runtime.exits import Doubt
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.library_names import LIBRDKAFKA
from runtime.kafka_client.librdkafka.consumer import LibrdkafkaConsumer
from runtime.kafka_client.records import Batch, Partition

pytestmark = pytest.mark.both_clients


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


def test_k5_a_process_that_hangs_ends_itself(cluster: Cluster, topics: str, bootstrap: str) -> None:
    with child(bootstrap, topics, "hang=7", "poll_interval_ms=3000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        put(cluster, topics + "in", numbered(0, 10))
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 75
    assert "has not turned for" in said


def test_k10_a_client_that_stalls_without_a_word_is_noticed(
    cluster: Cluster, topics: str, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    with running(cluster, settings(topics, stall_ms=1_000), Copier(topics)) as run:
        put(cluster, topics + "in", numbered(0, 10))
        until(lambda: run.processor.counts == {0: 10}, "10 records")
        if client == LIBRDKAFKA:
            monkeypatch.setattr(LibrdkafkaConsumer, "_messages", lambda *args: [])
        else:
            monkeypatch.setattr(Fetcher, "fetch_records", lambda *args, **kwargs: ({}, True))
        put(cluster, topics + "in", numbered(10, 20))
        failure = run.wait()
    assert isinstance(failure, Doubt)
    assert "stands still in" in str(failure)


def test_k10_nothing_to_read_is_no_stall(cluster: Cluster, topics: str) -> None:
    """Neither silence, nor a pause, nor somebody's open transaction."""
    writer = raw_producer(cluster, transactional_id=topics + "writer")
    writer.init_transactions()
    writer.begin_transaction()
    writer.send(topics + "in", b"0", partition=0).get(timeout=SECONDS)
    with running(cluster, settings(topics, stall_ms=400), Copier(topics)) as run:
        idle = len(run.processor.commits)
        until(lambda: len(run.processor.commits) > idle + 6 or run.ended, "many times the limit to pass")
        run.processor.hold = frozenset({Partition(topics + "in", 0)})
        idle = len(run.processor.commits)
        until(lambda: len(run.processor.commits) > idle + 1, "the pause")
        writer.commit_transaction()
        idle = len(run.processor.commits)
        until(lambda: len(run.processor.commits) > idle + 6 or run.ended, "many times the limit to pass")
        assert run.processor.counts == {0: 0}
        run.processor.hold = frozenset()
        until(lambda: run.processor.counts == {0: 1} or run.ended, "the record")
        run.stop()
    writer.close()


def test_k10_a_partition_whose_records_wait_behind_anothers_is_not_stuck(cluster: Cluster, prefix: str) -> None:
    """The client hands out all that it has fetched of one partition before it comes to the next."""
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 600), 2)
    turns: list[int] = []

    def slow(batch: Batch) -> None:
        """Take a tenth of a second for each record: 30 s for those of one partition."""
        turns.extend(partition.partition for partition in batch)
        time.sleep(0.1 * sum(map(len, batch.values())))

    copier = Copier(prefix, slow)
    with running(cluster, settings(prefix, stall_ms=1_000), copier) as run:
        until(lambda: sum(copier.counts.values()) >= 60 or run.ended, "60 records")
        assert not run.ended
        assert len(set(turns)) == 1, "both had their turns: nothing has been shown"
        run.stop()


def test_k10_a_partition_is_stuck_only_when_twice_behind_at_one_place() -> None:
    one, watch = Partition("t", 0), ProgressWatch(10)
    assert watch.standing({one: 5}, 0) == []
    assert watch.standing({one: 5}, 6) == [one]
    assert watch.stalled({one: 5}, 6) == []
    # Something came just now: that it has not been read yet means nothing.
    assert watch.standing({one: 5}, 12) == [one]
    assert watch.stalled({one: 9}, 12) == []
    assert watch.standing({one: 5}, 16) == []
    assert watch.standing({one: 5}, 18) == [one]
    assert watch.stalled({one: 9}, 18) == [one]
    # It moves, or is paused for a while: it begins anew.
    assert watch.standing({one: 6}, 19) == []
    assert watch.standing({}, 20) == []
    assert watch.standing({one: 6}, 30) == []


def test_k10_a_rejoin_that_one_poll_is_too_short_for_is_not_forgotten(
    cluster: Cluster, proxy: Proxy, topics: str, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """Such a one as changed metadata ask for: at one start in a hundred they come just after the assignment."""
    made: list[Any] = []
    make = Loop._consumer
    monkeypatch.setattr(Loop, "_consumer", lambda loop: made.append(make(loop)) or made[0])
    with running(Cluster(proxy.bootstrap), settings(topics), Copier(topics)) as run:
        until(lambda: run.processor.commits, "the loop to be at work")
        joined = len(run.processor.assignments)
        late = proxy.delay("SyncGroup", 0.5)
        raw_member(made[0])._coordinator._assignment_snapshot = {}
        until(lambda: len(run.processor.assignments) > joined, "the next assignment")
        assert late.applied == 1
        run.stop()
