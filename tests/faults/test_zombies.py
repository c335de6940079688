"""Processes that sleep past their session, are replaced, and wake up (F5); two learners of one model."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest
from faults.rig import ORDER, Rig
from faults_table import Tally

# Where to fall asleep; "" is wherever it happens to be.
BEDS = {
    "predictor": ("transaction.offsets.before", "", "transaction.send.before", "transaction.commit.before"),
    "joiner": ("transaction.offsets.before", "transaction.commit.before", "local-store.commit.before", ""),
    "learner": ("store.manifest.before", "store.write.after", "transaction.offsets.before", "store.manifest.after", ""),
}


def put_to_sleep(rig: Rig, role: str, bed: str, rng: random.Random) -> None:
    """Have the process that works fall asleep: at a place in its work, or wherever it happens to be."""
    sleeper = rig.members[f"{role}-0"]
    if bed:
        sleeper.end()
        calls = rng.randint(6, 15) if bed.startswith("transaction") else rng.randint(2, 4)
        rig.start(role, "0", f"{bed}=stop@{calls}")
    else:
        sleeper.signal(signal.SIGSTOP)
    rig.until(sleeper.sleeps, f"{sleeper.name} to fall asleep {bed}")


def one_night(rig: Rig, beds: dict[str, str], rng: random.Random) -> None:
    """Each role's process falls asleep, another takes its place, and then it wakes up."""
    for role in ("learner", "joiner", "predictor"):
        # In this order: one that sleeps within a transaction leaves those behind it nothing to do.
        put_to_sleep(rig, role, beds[role], rng)
    for role in beds:
        rig.start(role, "1")
    for role in beds:
        rig.until(lambda role=role: rig.members_of(role, at_work=True) == {f"{role}-1"}, f"{role}-1 to take over")
    for role in beds:
        rig.members[f"{role}-0"].signal(signal.SIGCONT)
    for role in beds:
        # Awake, it ends with 75 and is started again, or joins again by itself: either way it is in the group.
        rig.until(lambda role=role: rig.members_of(role) == {f"{role}-0", f"{role}-1"}, f"{role}-0 to be back")
    rig.await_progress(*beds)


@pytest.mark.fault("F5")
def test_a_zombie_that_wakes_up_changes_nothing(
    rig: Rig, rng: random.Random, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    """Its places and announcements are refused; what it writes to the store is the same version, or none."""
    nights = -(-rounds(1, 20) // len(ORDER))
    rig.start_all()
    rig.publish()
    for night in range(nights):
        beds = {role: BEDS[role][night % len(BEDS[role])] for role in ORDER}
        print(f"night {night}: {beds}")
        one_night(rig, beds, rng)
        for role in beds:
            rig.members[f"{role}-1"].end()
    rig.finish(tally, nights * len(ORDER))


@pytest.mark.full
@pytest.mark.fault("F5")
def test_of_two_learners_one_works_and_the_other_waits_until_it_is_gone(rig: Rig, tally: Tally) -> None:
    rig.start_all()
    rig.publish()
    standby = rig.start("learner", "1")
    rig.until(lambda: "waiting: another learner works" in standby.said(), "the second to wait")
    assert "ready: 1" not in standby.said()
    began = time.monotonic()
    rig.members["learner-0"].end()
    rig.await_progress("learner", began=began)
    rig.finish(tally, 1)
