"""A storm of processes that join and leave their groups while events come (F6)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from faults.rig import Rig
from faults_table import Tally

MOST = {"predictor": 4, "joiner": 2, "learner": 2}


def blow(rig: Rig, rng: random.Random) -> None:
    """One process joins or leaves; the last of a role stays."""
    role = rng.choice(("predictor", "predictor", "joiner", "learner"))
    members = {f"{role}-{number}": rig.members.get(f"{role}-{number}") for number in range(MOST[role])}
    running = [name for name, member in members.items() if member is not None and member.process is not None]
    away = sorted(members.keys() - set(running))
    if away and (len(running) == 1 or rng.random() < 0.5):
        rig.start(role, rng.choice(away).rpartition("-")[2])
    else:
        rig.members[rng.choice(running)].end()
    if rng.random() < 0.5:
        rig.await_progress(role)  # else the next comes while the group is still sharing out


@pytest.mark.full
@pytest.mark.fault("F6")
def test_a_storm_of_joins_and_leaves_loses_and_repeats_nothing(
    rig: Rig, rng: random.Random, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    rig.start_all(predictors=2)
    rig.publish()
    times = rounds(10, 50)
    for _ in range(times):
        blow(rig, rng)
    rig.await_progress("predictor", "joiner", "learner")
    rig.finish(tally, times)
