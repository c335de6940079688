"""Learning by stages and record by record: the same log, store and words, byte by byte, whatever is on the log."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import base, linear_model, metrics, preprocessing
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds
from simulation.world import Clock, Switch

from consumers.learner import checkpoint_timer, rebuild
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.learner.rebuild import Plan, Rebuilder
from consumers.model.checkpoints import Definition, LearnerCheckpoints, Log
from consumers.model.log_edits import Edits, digest
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.verify import verify
from model_store import MemoryBackend, ModelStore, Retention, Signer, StoreUnavailable, Trust, dumps
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.records import Output
from schemas.contract import Contract, Feature
from schemas.events import Event, Example, Features, Joined, Label, Lane, Outcome
from schemas.target import Target
from schemas.topics import Names

NAMES = Names("sim")
EXAMPLES = NAMES.topic("examples")
GROUP = NAMES.group("learner")
SIGNER = Signer(Ed25519PrivateKey.generate())
PLACES = ("polled", "processed", "before the commit", "committed")


class Fragile(base.Classifier):
    """Raises on some examples: when it is asked, when it learns, or after it has learned half of it."""

    def __init__(self) -> None:
        self.seen = 0.0
        self.inner = linear_model.LogisticRegression()

    def predict_proba_one(self, x: dict[str, Any]) -> dict[Any, float]:
        if x.get("a", 0.0) > 0.985:
            raise ValueError("asked too much")
        return self.inner.predict_proba_one(x)  # type: ignore[no-any-return]

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        self.seen += x.get("a", 0.0)
        if x.get("b", 0.0) > 2.2:
            raise ValueError("told too much")
        self.inner.learn_one(x, y)


@dataclass(frozen=True)
class Case:
    """A stream: its rules, and how its labels look."""

    target: Target
    model: Callable[[], Any]
    label: Callable[[random.Random, Features], Any]
    contract: Contract = field(default_factory=Contract)
    metrics: Callable[[], Iterable[Any]] | None = None

    def rules(self) -> LearningRules:
        return LearningRules(self.target, self.contract, self.model, self.metrics, window=40)


def _logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def _boolean(rng: random.Random, features: Features) -> bool:
    return rng.random() < 0.3 + 0.4 * (float(features["a"]) > 0.5)  # type: ignore[arg-type]


CASES = {
    "logistic regression": Case(Target(task="binary"), _logistic, _boolean),
    "a model that raises": Case(Target(task="binary"), Fragile, _boolean),
    "metrics over labels": Case(Target(task="binary"), _logistic, _boolean, metrics=lambda: [metrics.F1()]),
    "declared features": Case(
        Target(task="binary"),
        _logistic,
        _boolean,
        Contract(features={"a": Feature(minimum=0.01), "b": Feature(bounds="dead-letter"), "c": Feature()}),
    ),
    "classes that come up": Case(
        Target(task="multiclass"),
        linear_model.SoftmaxRegression,
        lambda rng, features: rng.choice([1, 2, "three", 2.0, "1", rng.randrange(20)]),
    ),
    "declared classes": Case(
        Target(task="multiclass", classes=("x", "y", 3)),
        linear_model.SoftmaxRegression,
        lambda rng, _: rng.choice("xyz3"),
    ),
    "numbers": Case(
        Target(task="regression"),
        lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
        lambda rng, features: rng.choice([1, 2.5, rng.gauss(0, 1), 1e200 if rng.random() < 0.02 else 0.1]),
    ),
}


class Writer:
    """Puts examples on the log as three joiner partitions and an import do, and what goes wrong with them."""

    def __init__(self, case: Case, rng: random.Random, log: MemoryLog) -> None:
        self._case, self._rng, self._log = case, rng, log
        self._lanes = {"0": 0, "1": 0, "2": 0, "import-a": 0}
        self._number = 0
        self._sent: list[bytes] = []

    def write(self) -> None:
        """Append one record: mostly a plain example."""
        rng = self._rng
        self._log.now += rng.choice([0, 3, 5])
        chance = rng.random()
        if chance < 0.02:
            self._append(b"\xff" * 9)
        elif chance < 0.06 and self._sent:
            self._append(rng.choice(self._sent[-20:]))  # a repeat
        else:
            self._append(self._example(chance))

    def skip(self) -> None:
        """Leave a gap in a lane."""
        self._lanes["1"] += 3

    def _append(self, value: bytes) -> None:
        self._log.append(Output(EXAMPLES, 0, None, value))

    def _features(self, chance: float) -> Features:
        rng = self._rng
        features: Features = {"a": rng.random(), "b": rng.gauss(0, 1)}
        if rng.random() < 0.1:
            features["c"] = rng.choice([1, True, 0.5, None, math.nan])
        if chance > 0.97:
            features["b"] = rng.choice([1e12, 1e200, math.inf, "text", -5e7, [1.0]])
        if rng.random() < 0.05:
            features = dict(reversed(features.items()))
        return features

    def _example(self, chance: float) -> bytes:
        rng, now, number = self._rng, self._log.now, self._number
        self._number += 1
        lane = rng.choice([*self._lanes, "0", "0", "1", "2"])
        features = self._features(chance)
        value = self._case.label(rng, features)
        weight = 1.0 if rng.random() < 0.9 else 2.0
        kind: Any = "correction" if 0.06 < chance < 0.09 else "label"
        label = None if 0.09 < chance < 0.1 else Label(f"e{number}", value, now, kind=kind, weight=weight)
        outcome = None
        if lane != "import-a" and rng.random() < 0.9:
            shares = {"false": 0.4, "true": 0.6} if self._case.target.task == "binary" else None
            said = value if rng.random() < 0.7 else None
            outcome = Outcome(said, shares, "sim", 1, 1, now, "sim.features", 0, number)
        joined = None if lane == "import-a" else Joined(0, number, max(now - 30, 0), number, now)
        example = Example(
            Event(f"e{number}", now, features), outcome, label, Lane(lane, "1", self._lanes[lane]), joined
        )
        self._lanes[lane] += 1
        self._sent.append(example.encode())
        return self._sent[-1]


class Backend(MemoryBackend):
    """A store that is full for a while."""

    full = 0

    def put_new(self, name: str, data: bytes) -> None:
        if self.full:
            self.full -= 1
            raise StoreUnavailable("no space left on device")
        super().put_new(name, data)


@dataclass
class Run:
    """One schedule, and everything that it has left behind."""

    case: Case
    seed: int
    said: list[str] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        topics = (EXAMPLES, *(NAMES.topic(kind) for kind in ("models", "dead-letters", "alerts")))
        self.log = MemoryLog(dict.fromkeys(topics, 1))
        self.backend = Backend()
        self.store = ModelStore(self.backend, Trust.of(SIGNER.public), SIGNER)
        self.control = Switch("sim")

    def checkpoints(self) -> LearnerCheckpoints:
        definition = Definition("sim", "d", "c", frozenset({(Fragile.__module__, Fragile.__qualname__)}))
        return LearnerCheckpoints(self.store, definition, self.case.rules(), Retention(last=10_000))

    def go(self, steps: int) -> None:
        """Write, learn, and die, as the seed says."""
        rng = random.Random(self.seed)
        writer = Writer(self.case, random.Random(self.seed + 1), self.log)
        clock = Clock(lambda: self.log.now)
        with mock.patch.object(checkpoint_timer, "time", clock), mock.patch.object(rebuild, "time", clock):
            loop = None
            for _ in range(steps):
                for _ in range(rng.choice([1, 7, 40, 100])):
                    writer.write()
                if rng.random() < 0.02:
                    writer.skip()
                self.log.now += rng.choice([0, 400, 1100])
                self.backend.full = rng.choice([0, 0, 0, 0, 3])
                self.control.paused = rng.random() < 0.05
                dies = rng.choice(PLACES) if rng.random() < 0.15 else ""
                loop = self._turns(loop, rng, dies)
            self.backend.full, self.control.paused = 0, False
            self._rebuild()

    def _turns(self, loop: SimulatedLoop | None, rng: random.Random, dies: str) -> SimulatedLoop | None:
        try:
            if loop is None:
                settings = LearnerSettings(NAMES, CheckpointPace(every=1.0, examples=150), new_epoch=self._way_on())
                self.learner = Learner(settings, self.checkpoints(), self.control, self.said.append)
                loop = SimulatedLoop(self.log, GROUP, self.learner)
            loop._crash = lambda place: place == dies
            for _ in range(rng.choice([1, 2, 5])):
                loop.step({EXAMPLES: rng.choice([1, 30, 600])})
        except (Crash, StoreUnavailable, Doubt, RoleRefused) as error:
            self.said.append(f"{type(error).__name__}: {error}")
            return None
        self.states.append(dumps(self.learner._state._learning.dump()))  # type: ignore[union-attr]
        return loop

    def _way_on(self) -> Any:
        """Return what an operator says after the learner has stopped at a gap."""
        return "keep" if self.said and self.said[-1].startswith("LaneFault") else None

    def _rebuild(self) -> None:
        """Verify the newest version, and rebuild it without a few events."""
        versions = [self.store.manifest(each) for each in self.store.versions("sim")]
        records = self.log.read(EXAMPLES)
        for target in versions[1:][-3:]:
            between = [each for each in records if versions[0].offset <= each.offset < target.offset]
            if target.version.epoch == versions[0].version.epoch:
                assert verify(self.checkpoints(), target, versions[0], between).holds
        log = Log(self.log.ids[EXAMPLES], 0, len(records), EXAMPLES)
        edits = Edits(until=len(records), without=[digest(f"e{number}") for number in (3, 8, 200)])
        plan = Plan(edits, log, base=versions[0], skipped=[], most=versions[-1].examples // 2 or None)
        rebuilder = Rebuilder(self.checkpoints(), plan, lambda begin, end: iter(records[begin:end]), self.said.append)
        try:
            rebuilder.run()
        except RoleRefused as error:
            self.said.append(str(error))

    def left_behind(self) -> dict[str, Any]:
        """Return everything that anyone could see of it."""
        topics = {kind: self.log.read(NAMES.topic(kind)) for kind in ("models", "dead-letters", "alerts")}
        stored = {name: self.backend.get(name, 1 << 30) for name in self.backend.names("sim")}
        return {"topics": topics, "places": self.log.places, "said": self.said, "states": self.states, "stored": stored}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", seeds(1, 40))
def test_stages_leave_behind_what_one_record_after_the_other_does(name: str, seed: int) -> None:
    staged, single = Run(CASES[name], seed), Run(CASES[name], seed)
    taken: list[int] = []
    take_plain = LearnerState.take_plain

    def counted(learning: LearnerState, entries: Any) -> int:
        taken.append(take_plain(learning, entries))
        return taken[-1]

    with mock.patch.object(LearnerState, "take_plain", counted):
        staged.go(15)
    with mock.patch.object(LearnerState, "take_plain", return_value=0):
        single.go(15)
    assert max(taken) > 5
    ours, theirs = staged.left_behind(), single.left_behind()
    for what in ours:
        assert ours[what] == theirs[what], what
