"""Guards of librdkafka's adapter: commits of groups, and the end of processes and clients."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import confluent_kafka as raw
import pytest
from kafka.structs import ConsumerGroupMetadata
from kafka_clients import BEGINS, SECONDS, closed, joined, make, put, turn, until

from runtime.kafka_client.client import GroupMetadata, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import UnknownMemberError
from runtime.kafka_client.kafka_python.consumer import KafkaPythonConsumer
from runtime.kafka_client.librdkafka.group_metadata import encoded
from runtime.kafka_client.librdkafka.library import Librdkafka
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition
from runtime.kafka_client.size_limits import OFFSET_METADATA

__all__ = ["closed"]

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap, library=Librdkafka())


@pytest.fixture
def topic(cluster: Cluster, prefix: str) -> str:
    with cluster.admin() as admin:
        make(admin, NewTopic(f"{prefix}records", 2, {}))
    return f"{prefix}records"


def commit(cluster: Cluster, name: str, place: dict[Partition, CommittedOffset], group: GroupMetadata) -> None:
    with closing(cluster.producer(transactional_id=name)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send_offsets_to_transaction(place, group)
        producer.commit_transaction()


# --- groups ----------------------------------------------------------------------------------------


def test_metadata_of_the_greatest_length_has_room_for_the_nul(cluster: Cluster, topic: str, prefix: str) -> None:
    place = {Partition(topic, 0): CommittedOffset(3, "x" * OFFSET_METADATA)}
    commit(cluster, f"{prefix}id", place, GroupMetadata(f"{prefix}group"))
    with cluster.admin() as ours:
        assert ours.list_group_offsets(f"{prefix}group") == place


@pytest.mark.parametrize("instance", [None, "predictor-0"])
def test_a_membership_is_written_as_the_client_itself_writes_it(bootstrap: str, instance: str | None) -> None:
    name: dict[str, Any] = {} if instance is None else {"group.instance.id": instance}
    client = raw.Consumer({"bootstrap.servers": bootstrap, "group.id": "group", **name})
    try:
        theirs = client.consumer_group_metadata()
    finally:
        client.close()
    member = ConsumerGroupMetadata("group", 7, "m-1", instance)
    ours = encoded(GroupMetadata("group", 7, True, member))
    assert ours == theirs.replace(b"\xff\xff\xff\xff", b"\7\0\0\0").replace(b"group\0\0", b"group\0m-1\0", 1)


def test_who_is_no_member_any_more_commits_nothing(cluster: Cluster, topic: str, prefix: str) -> None:
    """The broker would take the commit for that of an outsider."""
    group, place = f"{prefix}group", {Partition(topic, 0): CommittedOffset(1, "")}
    removed = GroupMetadata(group, -1, False, ConsumerGroupMetadata(group, -1, "", None))
    with pytest.raises(UnknownMemberError, match="no member"):
        commit(cluster, f"{prefix}id", place, removed)
    commit(cluster, f"{prefix}id", place, GroupMetadata(group))  # the same bytes, and it is let


def test_the_membership_is_looked_at_ten_times_a_second_however_often_is_polled(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look takes about as long as reading the records of a small turn."""
    member = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    looks, poll = [], KafkaPythonConsumer.poll

    def looked(self: KafkaPythonConsumer, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        looks.append(time.monotonic())
        return poll(self, timeout_ms, max_records)

    monkeypatch.setattr(KafkaPythonConsumer, "poll", looked)
    polls = 0
    while len(looks) < 4:
        member.poll(0)
        polls += 1
    assert looks[3] - looks[0] >= 0.3
    assert polls > 20


def test_a_member_that_always_has_records_notices_another_one(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    put(cluster, topic, 5000)
    told = threading.Event()
    member = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    other = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", **BEGINS)))
    other.subscribe([topic], told.set)
    thread = threading.Thread(target=until, args=(lambda: turn(other, told), "share of the other member"), daemon=True)
    thread.start()

    def shared() -> bool:
        member.poll(100, max_records=1)
        if not member.group_metadata().stable:
            member.request_rejoin()
        return not thread.is_alive() and len(member.assignment()) == 1

    until(shared, "smaller share")


# --- processes -------------------------------------------------------------------------------------

_FORKED = """
import os, sys
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.librdkafka.library import Librdkafka
cluster = Cluster(sys.argv[1], library=Librdkafka())
made = cluster.producer() if sys.argv[2] == "producer" else cluster.consumer()
child = os.fork()
if not child:
    try:
        made.flush(1) if sys.argv[2] == "producer" else made.poll(0)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
made.close()
"""
_AWAY = """
import logging, sys
from runtime.kafka_client.librdkafka.library import Librdkafka
logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")
try:
    Librdkafka().producer("127.0.0.1:1", {}, {"bootstrap_timeout_ms": 500})
except Exception as error:
    print(type(error).__name__)
"""


def python(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )


@pytest.mark.parametrize("kind", ["producer", "consumer"])
def test_a_client_says_that_it_does_not_survive_a_fork(bootstrap: str, kind: str) -> None:
    assert "does not survive a fork" in python(_FORKED, bootstrap, kind).stdout


def test_its_log_goes_to_our_logger_and_never_to_stderr() -> None:
    done = python(_AWAY)
    assert "kafka FAIL" in done.stdout
    assert "KafkaTimeoutError" in done.stdout
    assert done.stderr == ""


def counted() -> tuple[int, int]:
    """Return the number of threads and of open files of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_a_client_that_ended_leaves_no_thread_and_no_file(cluster: Cluster, topic: str, prefix: str, end: str) -> None:
    def producer() -> None:
        made = cluster.producer(transactional_id=f"{prefix}id")
        made.init_transactions()
        made.begin_transaction()
        made.send_all([Output(topic, 0, None, b"x")], SECONDS)
        made.close(5) if end == "close" else made.abandon(5)

    def reader() -> None:
        with closing(cluster.consumer()) as made:
            made.assign([Partition(topic, 0)])
            made.seek(Partition(topic, 0), 0)
            made.poll(10)

    def member() -> None:
        with closing(cluster.consumer(group_id=f"{prefix}group")) as made:
            made.subscribe([topic], lambda: None)
            made.wait_for_partitions({topic: 2}, SECONDS)

    kinds: list[Callable[[], None]] = [producer, reader, member]
    for make_one in kinds:
        make_one()  # what a library keeps from its first client is no leak
    before = counted()
    for make_one in kinds:
        make_one()
    until(lambda: all(now <= then for now, then in zip(counted(), before, strict=True)), "end of all threads and files")
