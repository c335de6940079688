"""At the end of a replay in place of an old version, the two are compared on what the old one scored and answered."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest
from simulation.log import MemoryLog, SimulatedLoop
from simulation.test_learner import EXAMPLES, GROUP, NAMES, RULES, SIGNER, drain, make_log

from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.model_state import LearnerState
from consumers.model.upgrade_report import Comparison, compare, lines
from consumers.predictor.model_feed import PauseSwitch
from model_store import Manifest, MemoryBackend, ModelStore, Retention, Trust
from model_store import store as store_module
from runtime.kafka_client.records import Output
from schemas.events import Event, Example, Joined, Label, Lane, Outcome, read_example

LIBRARIES = importlib.import_module("model_store.libraries")
WINDOW = RULES.window
# What served answers of the old model are shifted by, so that a difference is there to be found.
SHIFT = 0.25


def serve(log: MemoryLog, numbers: range, *, answered: bool = True) -> None:
    """Write examples whose answers came from a model that learned each as soon as it was answered."""
    learning = LearnerState(RULES)
    for record in log.read(EXAMPLES):
        learning.apply(read_example(record.value or b""), record.offset)
    rng = random.Random(numbers.start)
    for number in numbers:
        features = {"a": rng.random(), "b": rng.gauss(0, 1)}
        label = features["a"] + features["b"] > 0.5
        share = learning.model.predict(features).probabilities[True]  # type: ignore[index]
        share = share - SHIFT if share > SHIFT else share + SHIFT
        log.now += 5
        shares = {"true": share, "false": 1 - share}
        outcome = Outcome(share > 0.5, shares, "sim", 1, max(0, number - 1), log.now, "f", 0, number)
        joined = Joined(0, number, log.now - 3, number, log.now)
        event = Event(f"e{number}", log.now, features)
        lane, given = Lane("0", "epoch", number), Label(f"e{number}", label, log.now)
        example = Example(event, outcome if answered else None, given, lane, joined if answered else None)
        log.append(Output(EXAMPLES, 0, None, example.encode()))
        learning.apply(example, number)


def learner(backend: MemoryBackend, said: list[str], new_epoch: Any = "replay") -> Learner:
    checkpoints = LearnerCheckpoints(
        ModelStore(backend, Trust.of(SIGNER.public), SIGNER), Definition("sim", "d", "c"), RULES, Retention(last=100)
    )
    return Learner(
        LearnerSettings(NAMES, CheckpointPace(0.0, 1), new_epoch), checkpoints, PauseSwitch("sim"), said.append
    )


def work(log: MemoryLog, backend: MemoryBackend, said: list[str], steps: int | None = None) -> None:
    """Run a learner to the end of the log, or for some steps of ten records and no orderly end."""
    loop = SimulatedLoop(log, GROUP, learner(backend, said), lambda place: False)
    while not loop.idle() and steps != 0:
        loop.step({EXAMPLES: 10})
        steps = None if steps is None else steps - 1
    if steps is None:
        loop.end()


def newest(backend: MemoryBackend, back: int = 1) -> Manifest:
    store = ModelStore(backend, Trust.of(SIGNER.public))
    return store.manifest(store.versions("sim")[-back])


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryLog, MemoryBackend, Manifest]:
    """Return a log of 150 examples, a store with 130 of them learned, and its newest version, of an older River."""
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    serve(log, range(130))
    drain(log, backend, rng, 0.0)
    old = newest(backend)
    serve(log, range(130, 150))
    mine = {**LIBRARIES.libraries(), "river": "0.99.0"}
    monkeypatch.setattr(LIBRARIES, "libraries", lambda: mine)
    monkeypatch.setattr(store_module, "libraries", lambda: mine)
    monkeypatch.setattr("consumers.model.upgrade_report.libraries", lambda: mine)
    return log, backend, old


Upgraded = tuple[MemoryLog, MemoryBackend, Manifest]


def test_the_comparison_is_made_where_both_have_learned_as_much(upgraded: Upgraded) -> None:
    log, backend, old = upgraded
    said: list[str] = []
    work(log, backend, said)
    found = newest(backend).extra["upgrade"]
    assert newest(backend).examples == 150
    assert (found["from"], found["examples"]) == ("1/130", [130, 130])
    assert found["libraries"] == {"river": [old.libraries["river"], "0.99.0"]}
    # The same model over the same examples: what it scored is equal to the last digit.
    assert found["progressive"].keys() == old.metrics["progressive"]["all"].keys()
    for name, values in found["progressive"].items():
        assert values == [old.metrics["progressive"]["all"][name]] * 2
    assert found["newest"]["answers"] == WINDOW
    assert found["newest"]["apart_mean"] == pytest.approx(SHIFT)
    assert found["newest"]["apart_most"] == pytest.approx(SHIFT)
    assert 0 < found["newest"]["same"] < WINDOW
    assert (
        said.count("the replay has learned as much as version 1/130 (river " + old.libraries["river"] + " → 0.99.0)")
        == 1
    )
    assert any(line.startswith("  LogLoss") for line in said)


def test_a_learner_that_starts_again_in_mid_replay_compares_at_the_same_place(upgraded: Upgraded) -> None:
    log, backend, _ = upgraded
    whole, parts = MemoryBackend(), backend
    whole._blobs = dict(backend._blobs)
    work(log, whole, [])
    said: list[str] = []
    work(log, parts, said, steps=11)
    assert "upgrade" not in newest(parts).extra
    work(log, parts, said)
    assert newest(parts).extra["upgrade"] == newest(whole).extra["upgrade"]
    assert sum(line.startswith("the replay has learned") for line in said) == 1
    # And once it is made, it stays with every later version and is not made again.
    work(log, parts, said)
    serve(log, range(150, 155))
    work(log, parts, said)
    assert newest(parts).examples == 155
    assert newest(parts).extra["upgrade"] == newest(whole).extra["upgrade"]
    assert sum(line.startswith("the replay has learned") for line in said) == 1


def test_where_nothing_was_answered_only_what_was_scored_is_compared() -> None:
    log, backend = make_log(), MemoryBackend()
    serve(log, range(30), answered=False)
    drain(log, backend, random.Random(1), 0.0)
    learning = LearnerState(RULES)
    for record in log.read(EXAMPLES):
        learning.apply(read_example(record.value or b""), record.offset)
    found = compare(newest(backend), learning)
    assert (found["libraries"], found["newest"]["answers"], found["newest"]["apart_mean"]) == ({}, 0, None)
    assert list(lines(found))[-1] == (
        "none of the newest examples was answered when it came, so served answers are not compared"
    )


def test_no_replay_compares_nothing() -> None:
    assert Comparison().until > 1 << 60
    assert Comparison().extra == {}
