"""Predictors that are behind, so that their commits overlap with their next turns, killed with -9 (F2, F3)."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig
from faults.test_killed_roles import TRANSACTIONS, deaths
from faults_table import Tally
from scrape import scrape

from millstream.processes.fork_server import ForkServer

Rounds = Callable[[int, int], int]


@pytest.fixture
def behind(bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer, rounds: Rounds) -> Iterator[Rig]:
    """Lend a stream whose events all wait for a predictor."""
    with Rig(bootstrap, prefix, tmp_path, fork_server, most_events=rounds(20_000, 60_000), rate=1e6) as rig:
        rig.start("learner")
        rig.start("joiner")
        rig.publish(wait=False)
        rig.until(lambda: rig.publisher is not None and rig.publisher.poll() == 0, "all events to be published")
        yield rig


def start_predictor(rig: Rig, instance: str, *armed: str) -> Callable[[], float]:
    """Start a predictor; return a function that tells how many of its commits have overlapped since its last start."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    rig.start("predictor", instance, *armed, words=(f"--metrics-port={port}",))
    url = f"http://127.0.0.1:{port}"

    def overlapped() -> float:
        try:
            return scrape(url).value("millstream_transactions_overlapped_total") or 0
        except OSError:  # it has not started yet
            return 0

    return overlapped


@pytest.mark.full
@pytest.mark.fault("F2")
def test_killed_at_every_place_of_an_overlapped_commit_nothing_is_torn(
    behind: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    """The second and the third commit of a start are within its backlog."""
    plan = deaths(dict.fromkeys(TRANSACTIONS, (2, 3)), rng, rounds(1, 2))
    overlapped = start_predictor(behind, "0", *plan)
    member = behind.members["predictor-0"]
    behind.until(lambda: len(member.ends) == len(plan), f"predictor-0 to die {len(plan)} times", 30 * len(plan))
    said = member.log.read_text()
    assert all(f"failpoint {item.partition('=')[0]}: kill at call" in said for item in plan)
    behind.recover()
    behind.until(lambda: overlapped() > 0, "commits that overlap")
    behind.finish(tally, len(plan))


@pytest.mark.full
@pytest.mark.fault("F3")
def test_predictors_that_are_behind_and_killed_answer_each_event_once_and_in_order(
    behind: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    overlapped = {f"predictor-{number}": start_predictor(behind, str(number)) for number in range(2)}
    behind.until(lambda: max(each() for each in overlapped.values()) > 0, "commits that overlap")
    times = rounds(3, 10)
    for _ in range(times):
        behind.members[rng.choice(sorted(overlapped))].kill()
        behind.work(rng.uniform(0.2, 2))
    behind.finish(tally, times)
