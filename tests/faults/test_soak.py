"""Hours of events with a random fault every ten seconds, and processes that take no more at the end (F20)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import psutil
import pytest
from faults.rig import ORDER, Rig
from faults_table import SOAK, Tally

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer

RATE = "MILLSTREAM_SOAK_RATE"
EVERY_SECONDS = 10.0
WARM_SECONDS = 20.0
Taken = dict[tuple[str, str], list[float]]


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    """Return how long: two hours in `make faults` unless said otherwise; not at all in `make test`."""
    given = os.environ.get(SOAK)
    if given is None and not request.config.getoption("--faults"):
        pytest.skip(f"it soaks in make faults only, or for {SOAK}")
    return float(given or 120)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


def kill(rig: Rig, broker: EmbeddedBroker, rng: random.Random) -> None:
    rig.kill(*rng.sample(sorted(rig.members), rng.choice((1, 1, 2))))


def sleep(rig: Rig, broker: EmbeddedBroker, rng: random.Random) -> None:
    member = rig.members[rng.choice(sorted(rig.members))]
    member.signal(signal.SIGSTOP)
    rig.work(rng.uniform(0.5, 4))
    member.signal(signal.SIGCONT)
    rig.await_progress(member.role)


def outage(rig: Rig, broker: EmbeddedBroker, rng: random.Random) -> None:
    rig.outage(broker, rng.uniform(0, 4))


def leave_and_come(rig: Rig, broker: EmbeddedBroker, rng: random.Random) -> None:
    member = rig.members[rng.choice(sorted(rig.members))]
    member.end()
    rig.start(member.role, member.instance)
    rig.await_progress(member.role)


def failing_disk(rig: Rig, broker: EmbeddedBroker, rng: random.Random) -> None:
    rig.members["learner-0"].end()
    rig.start("learner", "0", f"store.write.before=ENOSPC@2-{rng.randint(2, 5)}")
    rig.await_progress("learner")


FAULTS: tuple[Callable[[Rig, EmbeddedBroker, random.Random], None], ...] = (
    kill,
    kill,
    sleep,
    outage,
    leave_and_come,
    failing_disk,
)


def note(rig: Rig, taken: Taken) -> None:
    """Write down what each process that is warm takes."""
    publisher = rig.publisher
    members = [(member.role, member.process) for member in rig.members.values()]
    for role, running in [*members, ("publisher", publisher)]:
        if running is None:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, which is looked at next
            process = psutil.Process(running.pid)
            if time.time() - process.create_time() > WARM_SECONDS:
                memory, threads, files = process.memory_info().rss, process.num_threads(), process.num_fds()
                taken[role, "memory"].append(memory / (1 << 20))
                taken[role, "threads"].append(threads)
                taken[role, "files"].append(files)


def grown(taken: Taken) -> list[str]:
    """Return what is more in the last third than in the first, by more than a tenth and a bit."""
    bits = {"memory": 24.0, "threads": 3, "files": 8}
    found = []
    for (role, what), values in taken.items():
        third = len(values) // 3
        if third and median(values[-third:]) > 1.1 * median(values[:third]) + bits[what]:
            found.append(f"{what} of {role}: {median(values[:third]):.0f}, then {median(values[-third:]):.0f}")
    return found


@pytest.mark.fault("F20")
def test_hours_of_faults_lose_nothing_and_leave_nothing_behind(
    minutes: float,
    broker: EmbeddedBroker,
    prefix: str,
    tmp_path: Path,
    fork_server: ForkServer,
    rng: random.Random,
    tally: Tally,
) -> None:
    rate = float(os.environ.get(RATE, "25"))
    taken: Taken = defaultdict(list)
    times = 0
    most = int(rate * 90 * minutes) + 10_000
    with Rig(broker.status().bootstrap, prefix, tmp_path, fork_server, most_events=most, rate=rate) as rig:
        rig.start_all(predictors=2)
        rig.publish()
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            due = time.monotonic() + EVERY_SECONDS
            rng.choice(FAULTS)(rig, broker, rng)
            times += 1
            rig.work(max(0.0, due - time.monotonic()))
            note(rig, taken)
        rig.await_progress(*ORDER)
        rig.finish(tally, times)
    assert taken
    assert grown(taken) == []
