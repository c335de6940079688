"""What a learner tells its meter of versions: those that it writes, and the one that it goes on from."""

from __future__ import annotations

from pathlib import Path

from simulation.log import SimulatedLoop
from simulation.test_rebuild import COUNT, EXAMPLES, GROUP, NAMES, Shop, example

from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.model.checkpoints import Definition
from consumers.model.log_edits import digest
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.processes.measured_checkpoints import MeasuredCheckpoints
from model_store import Retention, VersionId


def test_after_a_start_and_after_an_adoption_the_newest_version_is_the_one_that_learning_goes_on_from(
    tmp_path: Path,
) -> None:
    shop = Shop()
    shop.learn()
    shop.write(*(example(number, number) for number in range(COUNT)))
    shop.learn()
    checkpoints = MeasuredCheckpoints(shop.store, Definition("sim", "d", "c"), shop.rules, Retention(last=50))
    checkpoints.meter = meter = RoleMeter(Ends(tmp_path / "ends.json"))

    def measured() -> tuple[VersionId | None, int]:
        return None if meter.newest is None else meter.newest.version, meter.counts["checkpoints"]

    learner = Learner(LearnerSettings(NAMES, CheckpointPace(0.0, 1)), checkpoints, shop.switch, shop.said.append)
    loop = SimulatedLoop(shop.log, GROUP, learner)
    loop.step({})
    assert measured() == (VersionId("sim", 1, COUNT), 0)
    made = shop.rebuild(without=[digest("e3")]).made.version
    shop.adopt(made)
    shop.switch.follow(shop.known)
    loop.step({})
    loop.step({})
    assert measured() == (made, 0)
    shop.write(example(COUNT, COUNT))
    loop.step({EXAMPLES: 1})
    assert measured() == (VersionId("sim", 2, COUNT), 1)
