"""The broker killed with -9 and started again, with a publisher going on (F4)."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig
from faults_table import Tally

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer

OUTAGES = (1, 10, 25, 45)
LONGEST_CALL_SECONDS = 60
LONGEST_END_SECONDS = 10


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


@pytest.mark.both_clients
@pytest.mark.fault("F4")
@pytest.mark.parametrize("how", ["kill", pytest.param("stop", marks=pytest.mark.full)])
def test_roles_of_a_new_broker_start_and_end_in_time_also_while_it_is_away(
    broker: EmbeddedBroker, prefix: str, tmp_path: Path, fork_server: ForkServer, rate: float, how: str
) -> None:
    """A broker that has never had a group or a transaction, and then one that is dead, or answers nothing."""
    with Rig(broker.status().bootstrap, prefix, tmp_path, fork_server, rate=rate) as rig:
        rig.start_all(predictors=2)
        rig.publish()
        pid = broker.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        rig.broker_is_down = True
        try:
            rig.watching = False  # the rig's own reader would wait for the broker
            rig.work(1)  # the roles are within a turn, or wait for the broker
            began = time.monotonic()
            running = [member.process for member in rig.members.values() if member.process is not None]
            for process in running:
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(3 * LONGEST_END_SECONDS) for process in running]
            assert time.monotonic() - began < LONGEST_END_SECONDS
            # Undecided is what a turn may be that the broker did not answer.
            assert set(codes) <= {0, 75}
        finally:
            if how == "stop":
                os.kill(pid, signal.SIGCONT)
