"""Roles killed with -9: at random moments (F1, F3) and at each place where it could tear something (F2)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from faults.rig import Rig
from faults_table import Tally

Rounds = Callable[[int, int], int]

# The calls at which to die: late enough for the process to have been at work, so that each death is one of its own.
STORE = {f"store.{place}": (7, 15) for place in ("write.before", "write.after", "fsync.after", "rename.after")}
VERSIONS = {"store.manifest.before": (3, 5), "store.manifest.after": (3, 5), "learner.announce.before": (3, 5)}
TRANSACTIONS = {
    f"transaction.{place}": (5, 12)
    for place in ("send.before", "send.after", "offsets.before", "offsets.after", "commit.before", "commit.after")
}
LOCAL = {"local-store.commit.before": (2, 3), "local-store.commit.after": (2, 3)}


def deaths(places: dict[str, tuple[int, int]], rng: random.Random, times: int) -> list[str]:
    """Return what to arm a process with, start by start: each place so many times, in any order."""
    plan = [f"{place}=kill@{rng.randint(*calls)}" for place, calls in places.items() for _ in range(times)]
    return rng.sample(plan, len(plan))


@pytest.mark.fault("F1")
def test_a_learner_killed_at_random_moments_learns_each_example_once(
    rig: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    rig.start_all()
    rig.publish()
    times = rounds(5, 100)
    for _ in range(times):
        rig.kill("learner-0")
        rig.work(rng.uniform(0, 1))
    rig.finish(tally, times)


@pytest.mark.fault("F2")
def test_killed_at_every_place_that_could_be_torn_nothing_is(
    rig: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    times = rounds(1, 10)
    # Both have transactions; in the small size each place has one death.
    both = TRANSACTIONS if times > 1 else {}
    learner, joiner = deaths(STORE | VERSIONS | both, rng, times), deaths(TRANSACTIONS | LOCAL, rng, times)
    rig.start("predictor")
    rig.start("joiner", "0", *joiner)
    rig.start("learner", "0", *learner)
    rig.publish()
    due = {"joiner-0": len(joiner), "learner-0": len(learner)}
    for name, count in due.items():
        rig.until(
            lambda name=name, count=count: len(rig.members[name].ends) == count,
            f"{name} to die {count} times",
            30 * count,
        )
    rig.recover()
    for name, plan in (("joiner-0", joiner), ("learner-0", learner)):
        said = rig.members[name].log.read_text()
        assert all(f"failpoint {item.partition('=')[0]}: kill at call" in said for item in plan)
    rig.finish(tally, sum(due.values()))


@pytest.mark.full  # tests/faults/test_clients_change.py kills predictors of both clients
@pytest.mark.fault("F3")
def test_predictors_killed_at_random_answer_each_event_once_and_in_order(
    rig: Rig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    rig.start_all(predictors=3)
    rig.publish()
    times = rounds(5, 50)
    for _ in range(times):
        rig.kill(f"predictor-{rng.randrange(3)}")
        rig.work(rng.uniform(0, 1))
    rig.finish(tally, times)
