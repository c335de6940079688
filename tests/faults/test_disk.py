"""A disk that is full, broken or read-only when the learner writes a version, from the N-th call on (F11)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from faults.rig import Rig
from faults_table import Tally

from millstream.status.snapshot import Observer

PLACES = ("store.write.before", "store.write.after", "store.fsync.after", "store.rename.after")
CODES = ("ENOSPC", "EIO", "EROFS", "EDQUOT")


def fail_from(rig: Rig, call: int, rng: random.Random) -> None:
    """Have a learner's disk fail at each place from this call on, for a while, and see it survive and catch up."""
    learner = rig.members["learner-0"]
    learner.end()
    items = [f"{place}={rng.choice(CODES)}@{call}-{call + rng.randint(0, 2)}" for place in PLACES]
    rig.start("learner", "0", ";".join(items))
    process = learner.process
    for item in items:
        place = item.partition("=")[0]
        rig.until(
            lambda place=place: f"failpoint {place}: " in learner.said().rpartition("--- start")[2], f"{item} to fail"
        )
    assert "no checkpoint: " in learner.said()
    rig.await_progress("learner", "predictor")
    assert learner.process is process, "it stays up"


@pytest.mark.full
@pytest.mark.fault("F11")
def test_a_disk_that_fails_costs_no_version_and_stops_no_learner(
    rig: Rig, rng: random.Random, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    rig.start_all()
    rig.publish()
    starts = -(-rounds(10, 50) // len(PLACES))
    for number in range(starts):
        fail_from(rig, 2 + number, rng)
    rig.finish(tally, starts * len(PLACES))


@pytest.mark.full
def test_a_joiner_whose_disk_is_full_names_it_ends_nobody_else_and_goes_on_when_there_is_space(rig: Rig) -> None:
    rig.start_all()
    rig.publish()
    joiner = rig.members["joiner-0"]
    joiner.end()
    rig.start("joiner", "0", "local-store.commit.before=ENOSPC@2-")
    rig.until(lambda: 75 in joiner.ends, "the joiner to end")
    assert "; free space on that disk, or make it writable" in joiner.log.read_text()
    rig.await_progress("predictor", "joiner", "learner")
    with Observer(rig.cluster, rig.names) as observer:
        (alert,) = observer.look().alerts
    assert alert.name == "joiner.0.disk"
    assert f"local store {rig.stream.home}/state/" in alert.message
    assert {rig.members[name].starts for name in ("predictor-0", "learner-0")} == {1}
    rig.finish()
