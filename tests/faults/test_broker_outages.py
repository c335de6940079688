"""The broker killed with -9 and started again, with a publisher going on (F4)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig
from faults_table import Tally

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer

OUTAGES = (1, 10, 25, 45)
LONGEST_CALL_SECONDS = 60


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


def assert_alone_with_its_new_session(log: Path) -> None:
    """While the old one was valid, Kafka could take a transaction for over whose markers nobody had written."""
    said = log.read_text()
    assert "DuplicateBrokerRegistration" not in said
    assert "hence can be skipped" not in said


@pytest.mark.fault("F4")
def test_outages_of_the_broker_lose_nothing_that_was_acknowledged(
    broker: EmbeddedBroker,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    rounds: Callable[[int, int], int],
    rate: float,
    tally: Tally,
) -> None:
    times = rounds(1, 20)
    outages = [4] if times == 1 else rng.sample(OUTAGES * (times // 4 + 1), times)
    most = rounds(60_000, 300_000)
    with Rig(broker.status().bootstrap, prefix, tmp_path, fork_server, most_events=most, rate=rate) as rig:
        rig.start_all()
        rig.publish()
        for seconds in outages:
            rig.outage(broker, seconds)
            assert_alone_with_its_new_session(tmp_path / "broker" / "logs" / "server.log")
        assert max(rig.recoveries) < LONGEST_CALL_SECONDS
        rig.finish(tally, times)
