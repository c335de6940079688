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
