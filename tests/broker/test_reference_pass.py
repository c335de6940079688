"""A fixed reference older than the windows is read from the log, once, and is the one that windows would have given."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from commands import Run
from raw_kafka import raw_producer
from simulation.watching import example, prediction
from window_oracle import all_of, expected, written

from consumers.monitor.drift.judge import Judge
from millstream.config.settings import interpreter
from millstream.reading.timestamps import utc
from millstream.stream.load import load_stream
from millstream.stream.monitor_rules import drift_rules
from runtime.kafka_client.cluster import Cluster
from schemas.profiles import HOUR_MS, Window, read_window
from schemas.topics import PROFILES, Names

STREAM = """
from river import linear_model
from millstream import Labels, Stream, Watch

stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(), labels=Labels(wait="1s"), partitions=2,
    watch=Watch(reference={reference!r}, window="1m", window_events=20),
)
"""
MINUTE = 60_000
EVERY_MS = 900
EVENTS = 4000
LIVE = 2800
REFERENCE_MS = 40 * MINUTE
"""Number of the first event that comes after the reference."""


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("s", prefix)


@pytest.fixture
def since() -> int:
    return time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 3 * HOUR_MS


@pytest.fixture
def file(home: Path, run: Run, cluster: Cluster, names: Names, since: int) -> Path:
    """Make a stream with events of an hour, in the last of which x is far larger."""
    path = home / "s.py"
    path.write_text(STREAM.format(reference="1d"))
    code, _, errors = run("topics", "create", str(path))
    assert code == 0, errors
    with cluster.admin() as admin:
        for kind in ("predictions", "examples"):
            admin.alter_topic_config(names.topic(kind), "message.timestamp.type", "CreateTime")
    # A batch that is sent again must not come after later ones: times on the log only rise.
    producer = raw_producer(cluster, max_in_flight_requests_per_connection=1)
    for number in range(EVENTS):
        at = since + EVERY_MS * number
        value = prediction(number, at, {"x": number % 7 / 2 + (50 if number >= LIVE else 0), "c": "DE"})
        producer.send(names.topic("predictions"), value, partition=number % 2, timestamp_ms=at)
        if number % 2:
            producer.send(names.topic("examples"), example(number, at).encode(), partition=0, timestamp_ms=at)
    producer.flush(20)
    producer.close()
    return path


def with_reference(file: Path, reference: str) -> Path:
    """Return the stream file with another reference; a file that is loaded keeps its content in this process."""
    other = file.with_name(f"s{len(reference)}.py")
    other.write_text(STREAM.format(reference=reference))
    return other


def reference(since: int) -> str:
    return f"{utc(since)} to {utc(since + REFERENCE_MS)}"


def monitor(file: Path, environment: dict[str, str], done: Callable[[], bool]) -> str:
    """Run the monitor until something is done; return what it said."""
    command = [*interpreter(), "monitor", str(file), "--instance", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def count(cluster: Cluster, names: Names) -> int:
    return sum(map(len, written(cluster, names).values()))


def marks(cluster: Cluster, names: Names) -> int:
    """Return how many topics the pass is done with."""
    records = [each.value for found in all_of(cluster, names.topic(PROFILES)).values() for each in found]
    return sum(read_window(value).span == 1 for value in records if value is not None)


def in_order(cluster: Cluster, names: Names, since: int) -> list[Window]:
    """Return the windows after the reference, in the order of the topic."""
    records = [each.value for found in all_of(cluster, names.topic(PROFILES)).values() for each in found]
    found = [read_window(value) for value in records if value is not None]
    return [each for each in found if each.start >= since + REFERENCE_MS]


def plain(windows: list[Window]) -> list[Window]:
    """Return windows without what the pass makes anew for each hour: sums that go on from the window before."""
    return [msgspec.structs.replace(each, state=b"", served=[]) for each in windows]


@pytest.mark.full
def test_the_reference_of_the_log_is_that_of_windows_and_the_monitor_writes_it_once(
    file: Path, environment: dict[str, str], cluster: Cluster, names: Names, run: Run, since: int
) -> None:
    made = expected(cluster, names, load_stream(str(file)).stream)
    later = {at: [each for each in found if each.start >= since + REFERENCE_MS + MINUTE] for at, found in made.items()}
    begin = since + REFERENCE_MS + 90_000
    late = with_reference(file, f"{time.time_ns() // 1_000_000 - begin} ms")
    monitor(late, environment, lambda: count(cluster, names) >= sum(map(len, later.values())))
    began = written(cluster, names)
    assert {at: plain(found) for at, found in began.items()} == {at: plain(found) for at, found in later.items()}

    file = with_reference(file, reference(since))
    code, from_log, errors = run("drift", str(file))
    assert code == 0
    assert all(line.endswith(" of 4,000 records of the reference") for line in errors.splitlines())
    assert count(cluster, names) == sum(map(len, later.values())), "the command writes nothing"
    said = monitor(file, environment, lambda: marks(cluster, names) == 2)
    assert "reading the reference" in said
    assert "is read: 240 windows" in said
    found = written(cluster, names)
    for place, windows in made.items():
        there = sorted(found[place], key=lambda each: each.first_offset)
        wanted = [
            each for each in windows if each.start < since + REFERENCE_MS or each.start >= since + REFERENCE_MS + MINUTE
        ]
        assert plain(there) == plain(wanted), place

    code, from_windows, errors = run("drift", str(file))
    assert (code, errors) == (0, "")
    assert from_windows == from_log
    assert from_log["reference"] == {"from": since, "to": since + REFERENCE_MS}
    assert ("mean", "feature:x") in {(each["check"], each["subject"]) for each in from_log["findings"]}
    judge = Judge(drift_rules(load_stream(str(file)).stream))
    before = [each for found in made.values() for each in found if each.start < since + REFERENCE_MS]
    for window in [*sorted(before, key=lambda each: (each.start, each.partition)), *in_order(cluster, names, since)]:
        judge.take(window)
    assert [each.text for each in judge.findings] == [each["text"] for each in from_log["findings"]]


def test_a_reference_that_the_log_no_longer_has_is_named_with_the_way_out(
    file: Path, cluster: Cluster, names: Names, run: Run, since: int
) -> None:
    made = expected(cluster, names, load_stream(str(file)).stream)
    producer = raw_producer(cluster)
    for each in sorted((each for found in made.values() for each in found), key=lambda each: each.start):
        producer.send(names.topic(PROFILES), each.encode(), key=each.key, partition=0)
    producer.flush(20)
    producer.close()
    file = with_reference(file, reference(since - 24 * HOUR_MS))
    code, _, errors = run("drift", str(file))
    assert code == 1
    when = f"({utc(since - 24 * HOUR_MS)} to {utc(since - 24 * HOUR_MS + REFERENCE_MS)} UTC)"
    assert f"{when}: {names.topic('predictions')} begins at {utc(since)} UTC; name a later range" in errors
    assert len(errors.splitlines()) == 1
