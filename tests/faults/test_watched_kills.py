"""Monitors of a stream with events going on: killed, without a broker, and two of them; windows are made once each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig
from faults.test_killed_roles import TRANSACTIONS, deaths
from raw_kafka import raw_admin
from window_oracle import expected, written

from consumers.monitor.answered_versions import read_answered
from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer
from millstream.stream.load import load_stream

STREAM = Path(__file__).with_name("watched.py")
Rounds = Callable[[int, int], int]


@pytest.fixture
def watched(
    bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer, rounds: Rounds, rate: float
) -> Iterator[Rig]:
    most = rounds(60_000, 300_000)
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=STREAM, most_events=most, rate=rate) as rig:
        yield rig


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


def finish(rig: Rig) -> None:
    """End the publisher and the roles; the windows must be those of all records at once, each written once."""
    rig.finish()
    rig.until(lambda: unread(rig) == 0, "the monitor to have read all")
    for member in rig.members.values():
        if member.role == "monitor":
            member.end()
    found, made = written(rig.cluster, rig.names), expected(rig.cluster, rig.names, load_stream(str(STREAM)).stream)
    assert {at: [each.encode() for each in windows] for at, windows in found.items()} == {
        at: [each.encode() for each in windows] for at, windows in made.items()
    }
    assert sum(map(len, made.values())) > 10
    predicted = [window for windows in made.values() for window in windows if window.kind == "predictions"]
    for name in ("latency_ms", "model_age_ms"):
        known = [window.profiles[f"loop:{name}"].numbers for window in predicted]
        share = sum(each.count for each in known if each is not None) / sum(window.events for window in predicted)
        assert 0.9 < share < 1.1, name
    assert all(read_answered(window.state) for window in predicted)


def unread(rig: Rig) -> int:
    """Return how many records of its topics the monitors' group has not read."""
    with raw_admin(rig.cluster) as client:
        group = rig.names.group("monitor")
        committed = client.list_group_offsets([group])[group]
    # The client finds the ends of the topics that it knows.
    assert all(rig._ends.partitions_for_topic(topic) for topic in {place.topic for place in committed})
    ends = rig._ends.end_offsets(list(committed))
    return sum(end - committed[place].offset for place, end in ends.items())


@pytest.mark.full
def test_killed_at_every_place_that_could_be_torn_each_window_is_written_once(
    watched: Rig, rng: random.Random, rounds: Rounds
) -> None:
    plan = deaths(TRANSACTIONS, rng, rounds(1, 5))
    watched.start_all()
    watched.publish()
    watched.start("monitor", "0", *plan)
    watched.until(lambda: len(watched.members["monitor-0"].ends) == len(plan), f"{len(plan)} deaths", 60 * len(plan))
    watched.recover()
    finish(watched)


@pytest.mark.full
def test_two_monitors_killed_at_random_moments_write_each_window_once(
    watched: Rig, rng: random.Random, rounds: Rounds
) -> None:
    watched.start_all()
    watched.start("monitor", "0")
    watched.start("monitor", "1")
    watched.publish()
    for _ in range(rounds(3, 20)):
        watched.kill(f"monitor-{rng.randrange(2)}")
        watched.work(rng.uniform(0, 1))
    finish(watched)


@pytest.mark.full
def test_an_outage_of_the_broker_tears_no_window(
    broker: EmbeddedBroker,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Rounds,
    rate: float,
) -> None:
    with Rig(
        broker.status().bootstrap, prefix, tmp_path, fork_server, ref=STREAM, most_events=60_000, rate=rate
    ) as rig:
        rig.start_all()
        rig.start("monitor")
        rig.publish()
        for _ in range(rounds(1, 5)):
            rig.work(2)
            rig.outage(broker, rng.choice((1, 10, 25)))
            rig.await_progress("monitor")
        finish(rig)
