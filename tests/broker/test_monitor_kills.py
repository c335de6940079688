"""The monitor as a process on a real Kafka: killed with -9, taken over, and the windows are those of a calm run."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_kafka import raw_producer
from simulation.watching import example, prediction
from window_oracle import alerts, expected, written

from consumers.monitor.offset_metadata import MonitorMetadata
from millstream.config.settings import interpreter
from millstream.stream.load import load_stream
from runtime.failpoints import VARIABLE
from runtime.kafka_client.cluster import Cluster
from schemas.events import Features
from schemas.model_updates import ModelUpdate, Published
from schemas.topics import PROFILES, Names

STREAM = """
from river import linear_model
from millstream import Labels, Rule, Stream, Watch

stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(), labels=Labels(wait="1s"), partitions=2,
    watch=Watch(reference="1d", window="1m", window_events=40),
    alerts=[Rule("missing(x) > 50%", over="2m", least=20)],
)
"""
MINUTE = 60_000
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
    return Names("s", prefix)


@pytest.fixture
def file(home: Path, run: Callable[..., Any], cluster: Cluster, names: Names) -> Path:
    """Make a stream whose records have the times that the test gives them, and no others."""
    path = home / "s.py"
    path.write_text(STREAM)
    code, _, errors = run("topics", "create", str(path))
    assert code == 0, errors
    with cluster.admin() as admin:
        for kind in ("predictions", "examples", "models"):
            admin.alter_topic_config(names.topic(kind), "message.timestamp.type", "CreateTime")
    return path


def announcement(number: int) -> tuple[bytes, bytes]:
    """Return value and key of the announcement of the version that answers event `number`."""
    state = Published("s", 0, 3, number, "t", 0, "0" * 64, -1, -1, {})
    return ModelUpdate(1, state).encode(), state.key.encode()


def publish(cluster: Cluster, names: Names, first: int, last: int, since: int) -> None:
    """Send a prediction each second from a time on, and an example for each second one; in the middle x is missing.

    The versions of some answers are announced before.
    """
    producer = raw_producer(cluster)
    for number in range(first, last):
        time_ms = since + 1000 * number
        features: Features = {"c": "DE"} if 300 <= number < 600 else {"x": number % 7 / 2, "c": "DE"}
        value = prediction(number, time_ms, features)
        if number % 5 == 0:
            producer.send(names.topic("models"), *announcement(number), partition=0, timestamp_ms=time_ms - number)
        producer.send(names.topic("predictions"), value, partition=number % 2, timestamp_ms=time_ms)
        if number % 2:
            encoded = example(number, time_ms).encode()
            producer.send(names.topic("examples"), encoded, partition=0, timestamp_ms=time_ms)
    producer.flush(20)
    producer.close()


def monitor(file: Path, environment: dict[str, str], failpoint: str = "", number: int = 0) -> subprocess.Popen[str]:
    more = {VARIABLE: failpoint} if failpoint else {}
    command = [*interpreter(), "monitor", str(file), "--instance", str(number)]
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, env={**environment, **more}, stdout=pipe, stderr=out, text=True)


def watched(cluster: Cluster, names: Names) -> int:
    """Return how many windows were judged: those before the place on the profiles topic."""
    with cluster.admin() as admin:
        places = admin.list_group_offsets(names.group("monitor"))
    notes = {at: MonitorMetadata.decode(place.metadata) for at, place in places.items()}
    return sum(0 if note is None else note.windows for at, note in notes.items() if at.topic != names.topic(PROFILES))


def until(condition: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lag(cluster: Cluster, names: Names) -> int:
    """Return how much of the monitor's topics is not read, its own windows included."""
    topics = [names.topic(kind) for kind in ("predictions", "examples", PROFILES)]
    consumer = cluster.consumer()
    try:
        with cluster.admin() as admin:
            places = admin.list_group_offsets(names.group("monitor"))
        for topic in topics:
            consumer.partitions_for_topic(topic)
        ends = consumer.end_offsets([at for at in places if at.topic in topics])
    finally:
        consumer.close()
    return sum(end - places[at].offset for at, end in ends.items()) if len(ends) == 4 else 10**9


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said


def insist(cluster: Cluster, names: Names, file: Path) -> None:
    """The windows are those of all records at once, each written once, and the alert was raised and cleared once."""
    found, made = written(cluster, names), expected(cluster, names, load_stream(str(file)).stream)
    assert found.keys() == made.keys()
    for place, windows in made.items():
        assert [window.encode() for window in found[place]] == [window.encode() for window in windows], place
    assert sum(map(len, made.values())) > 30
    predicted = [window for windows in made.values() for window in windows if window.kind == "predictions"]
    for window in predicted:
        ages = window.profiles["loop:model_age_ms"].numbers
        assert ages is not None
        assert abs(ages.count - window.events / 5) < 2
        assert ages.most <= 1000
    assert [alert.state for alert in alerts(cluster, names, "monitor.")] == ["raised", "cleared"]


@pytest.mark.parametrize("place", [*FEW, *(pytest.param(place, marks=pytest.mark.full) for place in REST)])
def test_windows_and_alerts_are_those_of_a_calm_run_wherever_it_is_killed(
    place: str, file: Path, environment: dict[str, str], cluster: Cluster, names: Names
) -> None:
    since = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 30 * MINUTE
    publish(cluster, names, 0, 400, since)
    for call, last in ((1, 700), (2, 1000)):
        process = monitor(file, environment, f"{place}=kill@{call}")
        said, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, said
        publish(cluster, names, last - 300, last, since)
    process = monitor(file, environment)
    until(lambda: lag(cluster, names) == 0, process)
    end(process)
    insist(cluster, names, file)


@pytest.mark.full
def test_a_second_monitor_takes_over_and_each_window_is_written_once(
    file: Path, environment: dict[str, str], cluster: Cluster, names: Names
) -> None:
    since = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 30 * MINUTE
    publish(cluster, names, 0, 300, since)
    first, second = monitor(file, environment, number=0), monitor(file, environment, number=1)
    until(lambda: watched(cluster, names) > 6, first, second)
    publish(cluster, names, 300, 600, since)
    first.kill()
    first.communicate()
    publish(cluster, names, 600, 900, since)
    until(lambda: lag(cluster, names) == 0, second)
    third = monitor(file, environment, number=0)
    assert third.stdout is not None
    assert any("ready: " in line for line in third.stdout)
    end(second)
    publish(cluster, names, 900, 1000, since)
    until(lambda: lag(cluster, names) == 0, third)
    end(third)
    insist(cluster, names, file)


def test_an_older_stream_needs_no_profiles_but_for_the_monitor(
    file: Path, environment: dict[str, str], cluster: Cluster, names: Names, run: Callable[..., Any]
) -> None:
    with cluster.admin() as admin:
        admin.delete_topics([names.topic(PROFILES)])
        deadline = time.monotonic() + 30
        while any(each.exists for each in admin.describe_topics([names.topic(PROFILES)])):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process = monitor(file, environment)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"topic {names.topic(PROFILES)} does not exist" in said
    assert f"`millstream topics create {file}` makes it" in said
    assert "Traceback" not in said
    code, told, _ = run("status", str(file))
    assert code == 0
    assert not any("profiles" in alert for alert in told["alerts"])
    command = [*interpreter(), "joiner", str(file), "--instance", "0"]
    joiner = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert joiner.stdout is not None
    assert any("ready: " in line for line in joiner.stdout)
    end(joiner)
