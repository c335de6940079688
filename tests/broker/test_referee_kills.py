"""The referee as a process on a real Kafka, killed with -9 in the transaction that holds its decision."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_kafka import raw_producer
from simulation.refereeing import MAIN, B, C, comparison, cycle, encoded

from consumers.referee.offset_metadata import RefereeMetadata
from millstream.config.settings import interpreter
from millstream.reading import topic_readers
from runtime.failpoints import VARIABLE
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.model_updates import Promoted, read_model_update
from schemas.topics import COMPARISONS, Names

STREAM = """
from river import linear_model
from millstream import Labels, Model, Promote, Stream

def make():
    return linear_model.LogisticRegression()

stream = Stream(
    name="s", task="binary", model=make, models={"b": Model(make), "c": Model(make)}, labels=Labels(wait="1s"),
    promote=Promote(loss="error", labels=50),
)
"""
BETTER = {MAIN: 10, B: 4, C: 10}
FEW = ("transaction.commit.after",)
REST = (
    "transaction.offsets.after",
    "transaction.send.before",
    "transaction.send.after",
    "transaction.offsets.before",
    "transaction.commit.before",
)


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("s", prefix, models=("b", "c"), promotes=True)


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "s.py"
    path.write_text(STREAM)
    return path


def states(cluster: Cluster, topic: str) -> list[Promoted]:
    consumer = cluster.consumer()
    try:
        end = topic_readers.end(consumer, topic)
        records = [*topic_readers.between(consumer, Partition(topic, 0), 0, end)]
    finally:
        consumer.close()
    found = [read_model_update(record.value or b"").state for record in records]
    return [state for state in found if isinstance(state, Promoted)]


def metadata(cluster: Cluster, names: Names) -> RefereeMetadata | None:
    with cluster.admin() as admin:
        places = admin.list_group_offsets(names.group("referee"))
    for place in places.values():
        return RefereeMetadata.decode(place.metadata)
    return None


def referee(file: Path, environment: dict[str, str], failpoint: str | None) -> subprocess.Popen[str]:
    more = {} if failpoint is None else {VARIABLE: failpoint}
    command = [*interpreter(), "referee", str(file), "--instance", "0"]
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, env={**environment, **more}, stdout=pipe, stderr=out, text=True)


@pytest.mark.parametrize("place", [*FEW, *(pytest.param(place, marks=pytest.mark.full) for place in REST)])
def test_one_decision_is_made_wherever_it_is_killed(
    place: str, file: Path, run: Callable[..., Any], environment: dict[str, str], cluster: Cluster, names: Names
) -> None:
    code, _, errors = run("topics", "create", str(file))
    assert code == 0, errors
    producer = raw_producer(cluster)
    for number in range(400):
        value = encoded(comparison(number, cycle(number, BETTER)))
        producer.send(names.topic(COMPARISONS), value, partition=0)
    producer.flush(20)
    producer.close()
    for call in (1, 2):
        process = referee(file, environment, f"{place}=kill@{call}")
        said, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, said
    process = referee(file, environment, None)
    try:
        assert process.stdout is not None
        assert any("ready: 1 partitions" in line for line in process.stdout)
        deadline = time.monotonic() + 60
        while (told := metadata(cluster, names)) is None or told.promoted == 0:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    [decision] = states(cluster, names.topic("decisions"))
    assert states(cluster, names.topic("models")) == [decision]
    assert (decision.model, decision.before, decision.by) == (B, MAIN, "rule")
    assert (told.champion, told.promoted) == ("b", 1)
