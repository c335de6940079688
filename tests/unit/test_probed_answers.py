"""Every model of River, written as a version and loaded again, answers its probe as it did."""

from __future__ import annotations

import random
import warnings
from typing import Any

from river import base
from river.base.classifier import Classifier
from store_parts import SIGNER, store_on

from consumers.model.checkpoints import PROBE, PROBED, Definition, LearnerCheckpoints, Log, Standing
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.river_model import ModelError, wrap
from consumers.model.standing_answers import ANSWERS_SINCE
from consumers.model.version_runtime import try_out
from model_store import Manifest, MemoryBackend, ModelStore, Retention
from model_store.generate_allowed_names import all_classes, instances
from schemas.contract import Contract
from schemas.events import Event, Example, Label, Lane
from schemas.target import Target, Task

# Not in the order of their names: a manifest sorts them, and sums in another order differ in the last bit.
NAMES = ("z", "m", "a", "q", "c")


def examples(task: Task) -> list[Example]:
    rng, made = random.Random(11), []
    for number in range(40):
        features: dict[str, Any] = {name: rng.gauss(0, 1) / 3 for name in NAMES}
        value: Any = rng.random() * 7 if task == "regression" else rng.random() < 0.4
        event = Event(f"e{number}", number, features)
        made.append(Example(event, None, Label(f"e{number}", value, number), Lane("l", "e", number), None))
    return made


def written(model: Any, task: Task) -> tuple[ModelStore, Manifest]:
    """Learn the examples, and write the version."""
    store = store_on(MemoryBackend(), SIGNER)
    rules = LearningRules(Target(task=task), Contract(), lambda: model, None, 100)
    learning = LearnerState(rules, model)
    for number, example in enumerate(examples(task)):
        learning.apply(example, number)
    checkpoints = LearnerCheckpoints(store, Definition("m", "d", "c"), rules, Retention())
    return store, checkpoints.write(learning, Standing(1, 40, Log("t", 0, 40)), "stop", 0)


def test_a_version_of_every_model_of_river_answers_its_probe_as_it_did() -> None:
    tried = 0
    for kind in sorted(all_classes(), key=lambda kind: kind.__qualname__):
        task: Task = "regression" if issubclass(kind, base.Regressor) else "binary"
        if not issubclass(kind, (base.Regressor, Classifier)):
            continue
        for model in instances(kind):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    store, manifest = written(model, task)
                except Exception:  # noqa: BLE001, S112 - what cannot learn such examples makes no version
                    continue
                assert manifest.extra[PROBE]
                assert manifest.extra[PROBED]
                try:
                    try_out(wrap(store.load(manifest, "model"), task), manifest)
                except ModelError as error:
                    raise AssertionError(f"{kind.__name__}: {error}") from error
                tried += 1
    assert tried > 60


class Stops(base.Classifier):  # type: ignore[misc]
    """Answers with how often it has learned, up to a number, and always otherwise for other events."""

    def __init__(self, most: int = 16) -> None:
        self.most = most
        self.learned = 0

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        self.learned = min(self.most, self.learned + 1)

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        share = 1 / (2 + self.learned + x["z"] ** 2)
        return {True: share, False: 1 - share}


def test_a_version_says_since_how_many_examples_the_answers_stand_still() -> None:
    """Each has other probe events, the last that it has learned: so hashes of answers differ, and answers may not."""
    rules = LearningRules(Target(task="binary"), Contract(), Stops, None, 100)
    definition = Definition("m", "d", "c", allowed=frozenset({(Stops.__module__, Stops.__qualname__)}))
    store = store_on(MemoryBackend(), SIGNER)

    def new() -> LearnerCheckpoints:
        return LearnerCheckpoints(store, definition, rules, Retention())

    checkpoints, learning, said = new(), LearnerState(rules, Stops()), []
    for number, example in enumerate(examples("binary"), 1):
        learning.apply(example, number - 1)
        if number % 4 == 0:
            log = Log("t", 0, number)
            written = checkpoints.write(learning, Standing(1, number, log), "interval", 0)
            said.append(written.extra[ANSWERS_SINCE])
            if number == 28:  # a learner that starts again
                checkpoints = new()
                learning = checkpoints.load(written)
    assert said == [4, 8, 12, 16, 16, 16, 16, 16, 16, 16]
    assert checkpoints.write(learning, Standing(2, 40, Log("t", 0, 40)), "start", 0).extra[ANSWERS_SINCE] == 40
