"""What happens to topics and names under a stream: nothing is jumped over without a word (F18, F19)."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from faults.processes import Member
from faults.rig import ORDER, Rig
from faults_table import Tally
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from millstream.stream.load import load_stream
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.events import Event, Label
from schemas.topics import partition_of

INPUTS = {"predictor": ("features",), "joiner": ("predictions", "labels"), "learner": ("examples",)}
HOUR_AHEAD_MS = 61 * 60 * 1000


def places(rig: Rig) -> dict[TopicPartition, int]:
    """Return where every group of the stream stands."""
    with raw_admin(rig.cluster) as client:
        found = client.list_group_offsets([rig.names.group(role) for role in ORDER])
    return {TopicPartition(*tp): at.offset for group in found.values() for tp, at in group.items() if at.offset >= 0}


def ends(cluster: Cluster, topics: list[str]) -> dict[TopicPartition, int]:
    reader = raw_consumer(cluster, group_id=None)
    try:
        partitions = [
            TopicPartition(topic, n) for topic in topics for n in range(cluster.topic_info(topic)[topic].partitions)
        ]
        return dict(reader.end_offsets(partitions))
    finally:
        reader.close(autocommit=False)


def refusals(rig: Rig, roles: tuple[str, ...]) -> dict[str, str]:
    """Start these roles, wait until each has ended with 1, and return the line that each said last."""
    said = {}
    for role in roles:
        rig.members[f"{role}-0"].again = False
        rig.start(role)
    for role in roles:
        member = rig.members[f"{role}-0"]
        rig.until(lambda member=member: member.process is None, f"{member.name} to end")
        assert member.ends[-1] == 1, member.said()
        said[role] = member.said().rpartition("--- start")[2].strip().splitlines()[-1]
    return said


def leave_behind(rig: Rig) -> list[str]:
    """Stop the roles so that each leaves something unread in each of its topics; return those topics."""
    rig.start_all()
    rig.publish()
    for role in ("learner", "joiner", "predictor"):
        member = rig.members[f"{role}-0"]
        member.end()
        mine = [rig.names.topic(kind) for kind in INPUTS[role]]
        rig.until(lambda mine=mine: unread(rig, mine), f"something for {role} to be left unread")
    rig.end_publishing()
    return [rig.names.topic(kind) for kinds in INPUTS.values() for kind in kinds]


def unread(rig: Rig, topics: list[str]) -> bool:
    stands = places(rig)
    return all(end > stands.get(partition, 0) + 5 for partition, end in ends(rig.cluster, topics).items())


@pytest.mark.fault("F19")
def test_retention_that_overtakes_a_stopped_role_is_said_and_nothing_is_jumped(rig: Rig, tally: Tally) -> None:
    topics = leave_behind(rig)
    before, learned = places(rig), rig.learned()
    rig.watching = False
    with raw_admin(rig.cluster) as client:
        client.delete_records(ends(rig.cluster, topics))
    for _ in range(2):  # it is no better the second time
        for role, line in refusals(rig, ORDER).items():
            assert "retention has overtaken" in line, (role, line)
    assert places(rig) == before
    assert rig.learned() == learned
    tally.row(len(topics), 0, 0)


@pytest.mark.full
@pytest.mark.fault("F19")
def test_a_topic_made_again_under_a_stopped_role_is_said_and_nothing_is_jumped(rig: Rig, tally: Tally) -> None:
    """With as many records as before, so that no offset tells."""
    topics = leave_behind(rig)
    before, learned = places(rig), rig.learned()
    rig.watching = False
    counts = ends(rig.cluster, topics)
    remake(rig, topics)
    producer = raw_producer(rig.cluster)
    for partition, count in counts.items():
        for number in range(count + 10):
            producer.send(partition.topic, b"%d" % number, partition=partition.partition)
    producer.close()
    for role, line in refusals(rig, ORDER).items():
        assert "made again" in line or "is not the one that version" in line, (role, line)
    after = places(rig)
    assert all(after.get(partition, offset) == offset for partition, offset in before.items())
    assert rig.learned() == learned
    tally.row(len(topics), 0, 0)


def remake(rig: Rig, topics: list[str]) -> None:
    """Delete topics and make them again under the same names."""
    old = rig.cluster.topic_info(*topics)
    with raw_admin(rig.cluster) as client:
        client.delete_topics(topics)
    rig.until(lambda: not rig.cluster.topic_info(*topics), "the topics to be gone")
    found = load_stream(rig.stream.ref).stream
    admin.create(rig.cluster, rig.names, partitions=found.partitions, label_wait_ms=found.labels.wait_ms, wait=60)
    assert all(info.id != old[name].id for name, info in rig.cluster.topic_info(*topics).items())


@pytest.mark.full
@pytest.mark.fault("F18")
def test_of_two_processes_of_one_name_one_works_and_the_other_ends_with_75(
    rig: Rig, tmp_path: Path, tally: Tally
) -> None:
    """On one machine the second ends at once; on two machines, as here with two homes, the first is displaced."""
    rig.start_all()
    rig.publish()
    first = [rig.members[f"{role}-0"] for role in ORDER]
    for member in first:
        assert_turned_away(rig, member)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(rig.stream.home / "keys", elsewhere / "keys")
    store = str(rig.stream.home / "models")
    environment = {**rig.stream.environment(), "MILLSTREAM_HOME": str(elsewhere), "MILLSTREAM_STORE": store}
    began = time.monotonic()
    for member in first:
        member.again = False
        second = Member(
            member.role, "0", member.arguments, environment, member.fork_server, tmp_path / f"second-{member.role}.log"
        )
        rig.members[f"second-{member.role}"] = second
        second.start()
    for member in first:
        rig.until(lambda member=member: member.process is None, f"{member.name} to end")
        assert member.ends == [75]
        # Whose name is taken in the midst of a commit may hear of an error of the broker's own (4.3.1: "Preparing
        # transaction state transition to ONGOING while it already a pending state PREPARE_EPOCH_FENCE"): doubt, 75 too.
        said = member.said()
        assert "another process works as" in said or "a transaction of" in said, said
    rig.await_progress(*ORDER, began=began)
    rig.finish(tally, 2 * len(first))


def assert_turned_away(rig: Rig, first: Member) -> None:
    """Start a second process under the name and in the home of the first."""
    second = Member(
        first.role,
        "0",
        first.arguments,
        first.environment,
        first.fork_server,
        rig.folder / f"turned-away-{first.role}.log",
    )
    second.again = False
    second.start()
    try:
        rig.until(lambda: second.look() or second.process is None, "the second to end")
    finally:
        if second.process is not None:
            second.process.kill()
    assert second.ends == [75]
    assert first.process is not None
    assert f"(process {first.process.pid})" in second.said()


@pytest.mark.fault("F18")
def test_labels_on_wrong_partitions_from_a_clock_an_hour_ahead_are_joined(rig: Rig, tally: Tally) -> None:
    rig.start_all()
    producer, count = raw_producer(rig.cluster), 300
    ahead = time.time_ns() // 1_000_000 + HOUR_AHEAD_MS
    for number in range(count):
        name = f"e{number}"
        made = Event(name, ahead, {"x": number / count, "y": 0.5}).encode()
        right = partition_of(name, 3)
        features, labels = rig.names.topic("features"), rig.names.topic("labels")
        producer.send(features, made, name.encode(), partition=right, timestamp_ms=ahead)
        label = Label(name, number % 2 == 0, ahead).encode()
        producer.send(labels, label, name.encode(), partition=(right + 1) % 3, timestamp_ms=ahead)
    producer.close()
    verdict = rig.finish(tally, count)
    assert verdict.learned == count
