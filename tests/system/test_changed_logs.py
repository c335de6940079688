"""The installed commands on a log that is not the one they left: one line, an alert, and the command that goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer
from system.commands import lines, millstream, running, told, until_learned
from system.oracle import Stream

from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

ROLES = (("predictor", "features", "fresh"), ("joiner", "labels", "fresh"), ("learner", "examples", "keep"))


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def work_until_cleared(stream: Stream, log: Path, *words: str) -> None:
    """Run a role until it has said that its alert has cleared, and end it."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "millstream", *words],
            env=stream.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while "has cleared" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()


@pytest.mark.full
def test_roles_that_were_overtaken_say_so_once_and_go_on_by_the_commands_that_they_name(
    stream: Stream, tmp_path: Path
) -> None:
    with running(stream, tmp_path / "run.log"):
        millstream(stream, "publish", "phishing", "river:Phishing", "--limit", "60", "--label-delay", "1")
        until_learned(stream, 60)
    cluster, names = Cluster(stream.bootstrap), Names("phishing", stream.prefix)
    for _, kind, _ in ROLES:
        overtake(cluster, names.topic(kind))
    for role, _, _ in ROLES:
        assert f"retention has overtaken the {role}" in millstream(stream, role, "phishing", "--instance", "0", code=1)
    millstream(stream, "learner", "phishing", "--instance", "0", code=1)
    alerts = [each["name"] for each in lines(stream, "alerts", "phishing")]
    assert len(alerts) == len(set(alerts)), "once each, however often a role is started"
    assert {name.partition(".")[0] for name in alerts} == {role for role, _, _ in ROLES}
    status = told(stream, "status", "phishing")
    assert {(each["role"], each["state"]) for each in status["log_faults"]} == {
        (role, "overtaken") for role, _, _ in ROLES
    }
    for role, _, way in ROLES:
        assert any(f"`millstream {role} phishing --new-epoch {way}`" in line for line in status["alerts"])
        words = (role, "phishing", "--instance", "0", "--new-epoch", way)
        work_until_cleared(stream, tmp_path / "role.log", *words)
    after = told(stream, "status", "phishing")
    assert (after["log_faults"], after["raised"]) == ([], [])


def overtake(cluster: Cluster, topic: str) -> None:
    """Put records on a topic that are gone before anybody read them."""
    producer = raw_producer(cluster)
    places = [TopicPartition(topic, number) for number in range(cluster.topic_info(topic)[topic].partitions)]
    for place in places:
        for _ in range(10):
            producer.send(topic, b"nobody reads this", partition=place.partition)
    producer.flush(20)
    producer.close()
    consumer = raw_consumer(cluster)
    ends = consumer.end_offsets(places)
    consumer.close()
    with raw_admin(cluster) as admin:
        admin.delete_records(ends)
