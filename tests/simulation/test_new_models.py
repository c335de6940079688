"""A model that is added to a stream: it learns the log from its beginning, and is announced when it has caught up."""

from __future__ import annotations

import random
from typing import Any

import pytest
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds
from simulation.test_learner import EXAMPLES, NAMES, RULES, SIGNER, drain, make_log, write

from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.predictor.model_feed import PauseSwitch
from model_store import MemoryBackend, ModelStore, Retention, Trust
from schemas.model_updates import Published, read_model_update

ROLE = "learner.new"
MODEL = "sim.new"


def make_learner(backend: MemoryBackend, said: list[str]) -> Learner:
    store = ModelStore(backend, Trust.of(SIGNER.public), SIGNER)
    checkpoints = LearnerCheckpoints(store, Definition(MODEL, "d", "c"), RULES, Retention(last=1000))
    pace = CheckpointPace(every=0.0, examples=1)
    return Learner(LearnerSettings(NAMES, pace, role=ROLE), checkpoints, PauseSwitch(MODEL), said.append)


def learn(log: MemoryLog, backend: MemoryBackend, rng: random.Random, share: float, most: int = 1000) -> list[str]:
    """Let the new model learn at most so many batches, with crashes on the way; return what it said first."""
    first: list[str] = []
    while True:
        said: list[str] = []
        try:
            loop = SimulatedLoop(
                log, NAMES.group(ROLE), make_learner(backend, said), lambda place: rng.random() < share
            )
            while not loop.idle() and most:
                loop.step({EXAMPLES: rng.randrange(1, 4)})
                most -= 1
            loop.end()
            return first or said
        except Crash:
            first = first or said


def announced(log: MemoryLog) -> list[int]:
    """Return the numbers of examples of the announced versions of the new model."""
    states: list[Any] = [read_model_update(record.value or b"").state for record in log.read(NAMES.topic("models"))]
    return [state.examples for state in states if isinstance(state, Published) and state.model == MODEL]


@pytest.mark.parametrize("seed", seeds(5, 50))
def test_it_is_announced_once_it_has_learned_as_much_as_the_others_had(seed: int) -> None:
    """Also where it crashes in the middle of the log, and the others learn on meanwhile."""
    rng = random.Random(seed)
    log, backend = make_log(), MemoryBackend()
    for number in range(40):
        write(log, number, number)
    drain(log, backend, rng, 0.1)
    said = learn(log, backend, rng, 0.2, most=5)
    assert any("it competes once it has learned as much as the other models, at offset 40" in line for line in said)
    assert announced(log) == []
    for number in range(40, 60):
        write(log, number, number)
    drain(log, backend, rng, 0.1)
    learn(log, backend, rng, 0.2)
    counts = announced(log)
    assert counts == sorted(counts)
    assert 40 <= counts[0] < counts[-1] == 60
    versions = ModelStore(backend, Trust.of(SIGNER.public)).versions(MODEL)
    assert any(0 < version.examples < 40 for version in versions)


def test_it_is_announced_at_once_where_no_other_has_learned_anything() -> None:
    log, backend = make_log(), MemoryBackend()
    drain(log, backend, random.Random(1), 0.0)
    learn(log, backend, random.Random(1), 0.0)
    assert announced(log) == [0]


def test_versions_of_another_log_do_not_hold_it_up() -> None:
    rng = random.Random(2)
    before, backend = make_log(), MemoryBackend()
    for number in range(30):
        write(before, number, number)
    drain(before, backend, rng, 0.0)
    log = make_log()
    log.ids[EXAMPLES] = "another"
    for number in range(40):
        write(log, number, number)
    learn(log, backend, rng, 0.0)
    assert announced(log)[0] < 30
