"""`verify`: a version made again from the log; and that it sees one example lost, repeated, swapped or changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import forest, linear_model, naive_bayes, neighbors, preprocessing, tree

from consumers.model.checkpoints import Definition, LearnerCheckpoints, Log, Standing
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.verify import Verified, verify
from model_store import Manifest, MemoryBackend, ModelStore, Retention, Signer, Trust
from runtime.exits import RoleRefused
from schemas.contract import Contract
from schemas.events import Event, Example, Joined, Label, Lane, read_example
from schemas.target import Target

MODELS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "GaussianNB": naive_bayes.GaussianNB,
    "HoeffdingTree": lambda: tree.HoeffdingTreeClassifier(grace_period=20),
    "HoeffdingAdaptiveTree": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
    "ARF": lambda: forest.ARFClassifier(n_models=3, seed=1),
    "KNN": lambda: preprocessing.StandardScaler() | neighbors.KNNClassifier(n_neighbors=5),
}
COUNT = 200


@dataclass(frozen=True)
class Written:
    """A record of the log."""

    offset: int
    value: bytes
    topic: str = "examples"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def log() -> list[Written]:
    rng = random.Random(5)
    records = []
    for number in range(COUNT):
        label = rng.random() > 0.5
        features: dict[str, Any] = {"a": rng.gauss(float(label), 1), "b": rng.random()}
        example = Example(
            Event(f"e{number}", number, features),
            None,
            Label(f"e{number}", label, number),
            Lane("0", "epoch", number),
            Joined(0, number, number, number, number),
        )
        records.append(Written(number, example.encode()))
    return records


@dataclass(frozen=True)
class Made:
    """Two versions of a model, and what the second was made from."""

    checkpoints: LearnerCheckpoints
    first: Manifest
    second: Manifest
    records: list[Written]

    def verified(self, records: list[Written]) -> Verified:
        return verify(self.checkpoints, self.second, self.first, records)


@pytest.fixture(params=MODELS)
def made(request: pytest.FixtureRequest) -> Made:
    signer = Signer(Ed25519PrivateKey.generate())
    store = ModelStore(MemoryBackend(), Trust.of(signer.public), signer)
    rules = LearningRules(Target(task="binary"), Contract(), MODELS[request.param], None, window=50)
    checkpoints = LearnerCheckpoints(store, Definition("sim", "d", "c"), rules, Retention())
    learning, records = LearnerState(rules), log()
    place = Log("id", 0, COUNT)
    first = checkpoints.write(learning, Standing(1, 0, place), "start", 0)
    for record in records:
        learning.apply(read_example(record.value), record.offset)
    second = checkpoints.write(learning, Standing(1, COUNT, place), "stop", 1)
    return Made(checkpoints, first, second, records)


def test_a_version_is_what_its_log_says(made: Made) -> None:
    found = made.verified(made.records)
    assert found.holds
    assert (found.replayed, found.chain, found.fingerprint) == (COUNT, True, True)


@pytest.mark.parametrize("place", [COUNT // 2, COUNT - 1])
def test_one_example_learned_otherwise_is_seen_in_the_answers_alone(made: Made, place: int) -> None:
    """The chain does not see features; the answers, at full precision, do."""
    example = read_example(made.records[place].value)
    features = {**example.event.features, "a": float(example.event.features["a"]) + 0.5}  # type: ignore[arg-type]
    changed = Example(
        Event(example.event.event_id, example.event.event_time, features),
        None,
        example.label,
        example.lane,
        example.joined,
    )
    records = [*made.records]
    records[place] = replace(records[place], value=changed.encode())
    found = made.verified(records)
    assert (found.holds, found.chain, found.fingerprint) == (False, True, False)


def test_the_last_example_lost_is_seen(made: Made) -> None:
    found = made.verified(made.records[:-1])
    assert (found.holds, found.learned, found.chain) == (False, False, False)


@pytest.mark.parametrize("fault", ["lost", "swapped"])
def test_a_lane_that_is_not_whole_is_refused(made: Made, fault: str) -> None:
    records = [*made.records]
    if fault == "lost":
        del records[50]
    else:
        records[50], records[51] = records[51], records[50]
    with pytest.raises(RoleRefused, match="lane 0"):
        made.verified(records)


def test_an_example_that_is_on_the_log_twice_is_learned_once(made: Made) -> None:
    assert made.verified([*made.records[:50], made.records[49], *made.records[50:]]).holds


def relaned(records: list[Written]) -> list[Written]:
    """The same, with lanes made whole: nothing but what was learned can tell."""
    made = []
    for sequence, record in enumerate(records):
        example = read_example(record.value)
        lane = Lane("0", "epoch", sequence)
        again = Example(example.event, None, example.label, lane, example.joined)
        made.append(replace(record, offset=sequence, value=again.encode()))
    return made


@pytest.mark.parametrize("fault", ["lost", "repeated", "swapped"])
def test_one_example_lost_repeated_or_swapped_is_seen_though_the_lane_is_whole(made: Made, fault: str) -> None:
    records = [*made.records]
    if fault == "lost":
        del records[50]
    elif fault == "repeated":
        records.insert(51, records[50])
    else:
        records[50], records[51] = records[51], records[50]
    found = made.verified(relaned(records))
    assert (found.holds, found.chain) == (False, False)
    assert found.learned == (fault == "swapped")
    assert fault == "swapped" or not found.fingerprint  # some models learn in any order alike, to the last bit


def test_with_lanes_made_whole_the_same_examples_are_the_same_version(made: Made) -> None:
    assert made.verified(relaned(made.records)).holds
