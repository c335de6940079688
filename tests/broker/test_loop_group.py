"""Several processes of one group: they come, go, are stopped, displaced and killed, and nothing is lost or repeated."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import TopicPartition
from loop_helpers import (
    SECONDS,
    Copier,
    Running,
    child,
    is_exact,
    make_topics,
    numbered,
    places,
    put,
    read,
    running,
    settings,
    until,
    warmed,
)
from proxy import Proxy
from raw_kafka import raw_consumer

from millstream.embedded_kafka.broker import EmbeddedBroker
from producers.retrying_producer import RetryingProducer, RetryLimits
from runtime.exits import Doubt
from runtime.kafka_client.cluster import Cluster

pytestmark = pytest.mark.both_clients


@contextmanager
def flowing(cluster: Cluster, topic: str, partitions: int) -> Iterator[None]:
    """Records that keep coming, some hundred a second, through whatever happens."""
    done = threading.Event()

    def flow() -> None:
        sender = RetryingProducer(cluster, RetryLimits(request_ms=1_000, delivery_ms=2_000))
        number = 0
        while not done.wait(0.02):
            for _ in range(4):
                sender.send(topic, number % partitions, b"%d" % number, b"%d" % number, "record")
                number += 1
            sender.settle()
        sender.drain(SECONDS)
        sender.close()

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_three_processes_join_and_leave_while_records_flow(cluster: Cluster, prefix: str) -> None:
    """Nobody has to start anew only because somebody else came or went."""
    make_topics(cluster, prefix, 6)
    runs: list[Running] = []
    with flowing(cluster, prefix + "in", 6):
        for number in range(3):
            runs.append(Running(cluster, settings(prefix, str(number)), Copier(prefix)))
            until(lambda: shared_by(runs), f"{number + 1} processes to share the partitions")
        while len(runs) > 1:
            runs.pop(0).stop()
            until(lambda: shared_by(runs), f"{len(runs)} processes to share the partitions")
    until(lambda: is_exact(cluster, prefix), "the copy to be whole")
    runs.pop().stop()
    assert is_exact(cluster, prefix)
    assert sum(map(len, read(cluster, prefix + "in").values())) > 300


def shared_by(runs: list[Running]) -> bool:
    assert not any(run.ended for run in runs), [run.failure for run in runs]
    held = [len(run.processor.assignments[-1]) if run.processor.assignments else 0 for run in runs]
    # Each has also committed since, so that it is at work.
    at_work = all(
        run.processor.commits and set(run.processor.commits[-1]) == set(run.processor.assignments[-1])
        for run in runs
        if run.processor.assignments
    )
    return at_work and held == [6 // len(runs)] * len(runs)


def test_k16_a_displaced_process_ends_in_time_and_moves_no_place(cluster: Cluster, prefix: str, bootstrap: str) -> None:
    """Idle: nothing comes that it could be refused for, and the client only stops its heartbeats."""
    make_topics(cluster, prefix)
    put(cluster, prefix + "in", numbered(0, 50))
    with child(bootstrap, prefix) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        until(lambda: offset(cluster, prefix) == 50, "50 records")
        with running(cluster, settings(prefix), Copier(prefix)) as second:
            _, said = first.communicate(timeout=settings(prefix).session_ms / 1000)
            assert first.returncode == 75
            assert "give this one its own --instance" in said
            assert not second.ended
            assert offset(cluster, prefix) == 50
            put(cluster, prefix + "in", numbered(50, 100))
            until(lambda: offset(cluster, prefix) == 100, "50 more")
            second.stop()
    assert is_exact(cluster, prefix)


@pytest.mark.parametrize("shared", [[], [0]])
def test_an_assignment_that_leaves_partitions_to_nobody_is_made_anew(
    cluster: Cluster, prefix: str, shared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that comes back under its name is handed what was shared out before, however little that was."""
    make_topics(cluster, prefix, 2)
    chosen = replace(settings(prefix), session_ms=30_000)  # it is still a member when the next one comes

    def share_out(cls: Any, metadata: Any, members: Any) -> dict[str, Any]:
        assigned = [(prefix + "in", shared)]
        return {member.member_id: ConsumerProtocolAssignment(0, assigned, b"") for member in members}

    with monkeypatch.context() as patched:
        patched.setattr(RangePartitionAssignor, "assign", classmethod(share_out))
        killed = raw_consumer(
            cluster,
            group_id=chosen.group,
            group_instance_id=chosen.instance,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=chosen.session_ms,
            auto_offset_reset="earliest",
        )
        killed.subscribe(topics=[prefix + "in"])
        until(lambda: not killed.poll(50) and killed.group_metadata().generation_id > 0, "the group to be joined")
        killed.close(autocommit=False)
    put(cluster, prefix + "in", numbered(0, 50), 2)
    with running(cluster, chosen, Copier(prefix)) as run:
        until(lambda: is_exact(cluster, prefix), "both partitions to be copied")
        run.stop()
    assert sum(map(len, read(cluster, prefix + "out").values())) == 50


def offset(cluster: Cluster, prefix: str) -> int:
    place = places(cluster, prefix + "group").get(TopicPartition(prefix + "in", 0))
    return 0 if place is None else place.offset


def test_k4_a_process_that_slept_past_its_session_moves_no_place_back(
    cluster: Cluster, prefix: str, bootstrap: str
) -> None:
    make_topics(cluster, prefix)
    put(cluster, prefix + "in", numbered(0, 50))
    with child(bootstrap, prefix, "instance=sleeper") as sleeper:
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == "ready\n"
        until(lambda: offset(cluster, prefix) == 50, "50 records")
        sleeper.send_signal(signal.SIGSTOP)
        with running(cluster, settings(prefix, "other"), Copier(prefix)) as other:
            until(lambda: other.processor.assignments[-1:] not in ([], [[]]), "the other to take over")
            put(cluster, prefix + "in", numbered(50, 500))
            until(lambda: other.ended or offset(cluster, prefix) == 500, "450 more")
            assert other.failure is None
            sleeper.send_signal(signal.SIGCONT)
            # Awake, it either ends or joins again; the place stands or moves on, whatever it does.
            put(cluster, prefix + "in", numbered(500, 550))
            seen = [500]
            until(lambda: seen.append(offset(cluster, prefix)) or seen[-1] == 550, "50 more")
            assert seen == sorted(seen)
            sleeper.kill()
            sleeper.communicate(timeout=SECONDS)
    # A place can be seen a moment before the records that were committed with it: each has a marker of its own.
    until(lambda: len(read(cluster, prefix + "out")[0]) >= 550, "all that was committed to be readable")
    assert read(cluster, prefix + "out")[0][:550] == [b"%d %d" % (n, n) for n in range(550)]


@pytest.mark.full
def test_a_broker_killed_under_load_loses_nothing(tmp_path: Path, prefix: str) -> None:
    # A Kafka that aborts a timed-out transaction while it starts, before its partitions have leaders again,
    # writes no markers: the dead records are then committed by the next transaction. So it looks later.
    later = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "60000"}
    broker = EmbeddedBroker(tmp_path / "broker", port=0, properties=later)
    broker.start(timeout=120)
    try:
        cluster = warmed(broker.status().bootstrap)
        make_topics(cluster, prefix, 3)
        ended: list[BaseException | None] = []
        stop = threading.Event()

        def attempt() -> None:
            cluster.require(60)
            run = Running(cluster, settings(prefix), Copier(prefix))
            until(lambda: run.ended or stop.is_set(), "the end of the test", 120)
            run.loop.stop()
            ended.append(run.wait())

        def supervise() -> None:
            """Start the loop anew whenever it ends, as the supervisor does."""
            while not stop.is_set():
                attempt()

        with flowing(cluster, prefix + "in", 3):
            thread = threading.Thread(target=supervise)
            thread.start()
            until(lambda: sum(map(len, read(cluster, prefix + "out").values())) > 100, "a hundred records")
            broker.kill()
            time.sleep(4)  # the length of the outage is what is tested
            broker.start(timeout=120)
            before = sum(map(len, read(cluster, prefix + "out").values()))
            until(lambda: sum(map(len, read(cluster, prefix + "out").values())) > before + 100, "a hundred more", 60)
        until(lambda: is_exact(cluster, prefix), "the copy to be whole", 60)
        stop.set()
        thread.join()
    finally:
        broker.stop()
    assert all(failure is None or isinstance(failure, Doubt) for failure in ended)
    assert ended[-1] is None


@pytest.mark.parametrize("delivery_ms", [3_000, 30_000], ids=["K14, batches expire", "K15, none expires"])
def test_an_outage_of_six_seconds_loses_nothing_of_a_publisher(
    cluster: Cluster, prefix: str, bootstrap: str, delivery_ms: int
) -> None:
    make_topics(cluster, prefix)
    with Proxy(bootstrap) as proxy:
        limits = RetryLimits(request_ms=1_000, delivery_ms=delivery_ms)
        sender = RetryingProducer(Cluster(proxy.bootstrap), limits)
        for number in range(100):
            sender.send(prefix + "in", 0, b"", b"%d" % number, "record")
        assert sender.drain(SECONDS)
        proxy.refuse()
        back: list[float] = []

        def end_outage() -> None:
            back.append(time.monotonic())
            proxy.refuse(False)

        threading.Timer(6, end_outage).start()
        for number in range(100, 200):
            sender.send(prefix + "in", 0, b"", b"%d" % number, "record")
        assert sender.drain(60)
        # The client's own limit of 30 s on its waits between attempts took 10 s after an outage of 4.
        assert 0 < time.monotonic() - back[0] < 5
        sender.close()
    written = read(cluster, prefix + "in")[0]
    assert sorted(set(written), key=int) == numbered(0, 200)
