"""The learner under crashes, poison and a failing disk; the oracle is an offline replay from version 0."""

from __future__ import annotations

import copy
import importlib
import math
import random
from collections.abc import Container
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import linear_model, neighbors, preprocessing
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds

from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.dead_letters import LearnerLetters
from consumers.learner.learner import Learner, LearnerSettings
from consumers.model.checkpoints import Definition, LearnerCheckpoints, Log
from consumers.model.model_state import LearnerState, LearningRules
from consumers.predictor.model_feed import PauseSwitch
from model_store import MemoryBackend, ModelStore, Retention, Signer, StoreUnavailable, Trust, VersionId
from model_store import store as store_module
from model_store.offset_runs import Offsets
from runtime.exits import RoleRefused
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.alerts import read_alert
from schemas.contract import Contract
from schemas.dead_letters import read_dead_letter
from schemas.events import Event, Example, Joined, Label, Lane, read_example
from schemas.model_updates import Published, read_model_update
from schemas.target import Target
from schemas.topics import Names

NAMES = Names("sim")
# The package exports a function of the same name.
libraries_module = importlib.import_module("model_store.libraries")
GROUP = NAMES.group("learner")
EXAMPLES = NAMES.topic("examples")
SIGNER = Signer(Ed25519PrivateKey.generate())


class FailingBackend(MemoryBackend):
    """A disk that is full now and then."""

    def __init__(self, rng: random.Random, share: float) -> None:
        super().__init__()
        self._rng, self.share = rng, share

    def put_new(self, name: str, data: bytes) -> None:
        if self._rng.random() < self.share:
            raise StoreUnavailable("no space left on device")
        super().put_new(name, data)


def make_log() -> MemoryLog:
    return MemoryLog({EXAMPLES: 1, NAMES.topic("models"): 1, NAMES.topic("dead-letters"): 1, NAMES.topic("alerts"): 1})


def make_model() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


RULES = LearningRules(Target(task="binary"), Contract(), make_model, None, window=50)


def make_learner(backend: MemoryBackend, definition: str = "d", **settings: Any) -> Learner:
    store = ModelStore(backend, Trust.of(SIGNER.public), SIGNER)
    checkpoints = LearnerCheckpoints(store, Definition("sim", definition, "c"), RULES, Retention(last=5))
    pace = CheckpointPace(every=0.0, examples=1)
    said: list[str] = []
    return Learner(LearnerSettings(NAMES, pace, **settings), checkpoints, PauseSwitch("sim"), said.append)


def write(
    log: MemoryLog, number: int, sequence: int, features: dict[str, Any] | None = None, *, correction: bool = False
) -> None:
    rng = random.Random(number)
    features = features or {"a": rng.random(), "b": rng.gauss(0, 1)}
    log.now += 5
    example = Example(
        Event(f"e{number}", log.now, features),
        None,
        Label(f"e{number}", rng.random() > 0.5, log.now, kind="correction" if correction else "label"),
        Lane("0", "epoch", sequence),
        Joined(0, number, log.now - 3, number, log.now),
    )
    log.append(Output(EXAMPLES, 0, None, example.encode()))


def replay(log: MemoryLog, backend: MemoryBackend, until: int, skip: Container[int]) -> LearnerState:
    """The oracle: version 0 as published, and every example up to an offset, in order."""
    store = ModelStore(backend, Trust.of(SIGNER.public))
    checkpoints = LearnerCheckpoints(store, Definition("sim", "d", "c"), RULES, Retention())
    learning = checkpoints.load(store.manifest(VersionId("sim", 1, 0)))
    for record in log.read(EXAMPLES)[:until]:
        learning.apply(read_example(record.value or b""), record.offset, record.offset in skip)
    return learning


def drain(log: MemoryLog, backend: MemoryBackend, rng: random.Random, share: float, **settings: Any) -> Learner:
    while True:
        learner = make_learner(backend, **settings)
        try:
            loop = SimulatedLoop(log, GROUP, learner, lambda place: rng.random() < share)
            while not loop.idle():
                loop.step({EXAMPLES: rng.randrange(1, 8)})
            loop.end()
            return learner
        except (Crash, StoreUnavailable):
            continue


@pytest.mark.parametrize("seed", seeds(6, 30))
def test_every_version_equals_its_offline_replay(seed: int) -> None:
    rng = random.Random(seed)
    log = make_log()
    backend = FailingBackend(rng, 0.05)
    for number in range(120):
        write(log, number, number)
        if rng.random() < 0.1:
            drain(log, backend, rng, 0.1)
    drain(log, backend, rng, 0.1)
    drain(log, copy.copy(backend), rng, 0.0)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    versions = store.versions("sim")
    assert len(versions) > 3
    for version in versions:
        manifest = store.manifest(version)
        oracle = replay(log, backend, manifest.offset, Offsets(manifest.skipped))
        assert (manifest.chain, manifest.fingerprint) == (oracle.chain.hex(), oracle.fingerprint())
        assert oracle.learned == version.examples


def test_announcements_never_go_backwards_and_end_with_the_newest() -> None:
    rng = random.Random(7)
    log, backend = make_log(), MemoryBackend()
    for number in range(60):
        write(log, number, number)
        drain(log, backend, rng, 0.15)
    drain(log, backend, rng, 0.0)
    states = [read_model_update(record.value or b"").state for record in log.read(NAMES.topic("models"))]
    counts = [state.examples for state in states if isinstance(state, Published)]
    assert counts == sorted(counts)
    assert counts[-1] == 60


def test_a_store_that_takes_no_version_is_an_alert_once_and_clears_when_it_does() -> None:
    rng = random.Random(3)
    log, backend = make_log(), FailingBackend(rng, 0.0)
    learner = make_learner(backend)
    loop = SimulatedLoop(log, GROUP, learner)
    loop.step({})
    for number in range(12):
        write(log, number, number)
        backend.share = 1.0 if 3 <= number < 9 else 0.0
        learner._timer.last_cost = 0.0  # a version is due again at once
        loop.step({EXAMPLES: 1})
    told = [read_alert(record.value or b"") for record in log.read(NAMES.topic("alerts"))]
    assert [(alert.name, alert.state) for alert in told] == [("learner.store", "raised"), ("learner.store", "cleared")]
    assert "no space left on device" in told[0].message
    assert ModelStore(backend, Trust.of(SIGNER.public)).versions("sim")[-1].examples == 12


def test_an_example_that_breaks_the_model_is_left_out_and_the_rest_is_learned() -> None:
    rng = random.Random(3)
    log, backend = make_log(), MemoryBackend()
    for number in range(30):
        broken = {"a": "text where a number was", "b": 1.0} if number in (11, 12) else None
        write(log, number, number, broken)
    drain(log, backend, rng, 0.1)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    assert newest.skipped == [11, 12]
    assert newest.examples == 28
    oracle = replay(log, backend, newest.offset, {11, 12})
    assert (newest.chain, newest.fingerprint) == (oracle.chain.hex(), oracle.fingerprint())
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert {letter.offset for letter in letters} == {11, 12}
    assert all(letter.code == "model" and letter.value for letter in letters)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_comes_between_two_that_break_the_model_is_not_written_off_with_them(share: float) -> None:
    """Neither a correction nor a repeat, and also not by a learner that starts again behind a version."""
    log, backend = make_log(), MemoryBackend()
    broken = {"a": "text where a number was", "b": 1.0}
    for number in range(11):
        write(log, number, number)
    write(log, 11, 11, broken)
    write(log, 3, 12, correction=True)
    write(log, 12, 13, broken)
    write(log, 12, 13, broken)
    write(log, 13, 14, broken)
    for number in range(15, 30):
        write(log, number, number)
    drain(log, backend, random.Random(5), share)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    assert newest.skipped == [11, 13, 15]
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert {letter.offset for letter in letters} == {11, 13, 15}
    # Who knows nothing but a version says the same of all that is behind it.
    told = LearnerLetters("dead-letters")
    learning = make_learner(backend)._checkpoints.load(newest)
    for record in log.read(EXAMPLES):
        told.catch_up(record, learning)
    assert [read_dead_letter(output.value or b"").offset for output in told.take()] == [11, 13, 15]


@pytest.mark.parametrize(
    ("what", "sequences", "message"),
    [
        ("a hole", [0, 1, 3], "jumps from sequence 2 to 3"),
        ("a joiner begun again", [0, 1, 0], "again"),
    ],
)
def test_a_lane_out_of_order_stops_the_learner(what: str, sequences: list[int], message: str) -> None:
    log, backend = make_log(), MemoryBackend()
    for number, sequence in enumerate(sequences):
        write(log, number, sequence)
    with pytest.raises(RoleRefused, match=message):
        drain(log, backend, random.Random(1), 0.0)


def test_a_changed_definition_is_refused_with_the_ways_on() -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(20):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    with pytest.raises(RoleRefused, match="--new-epoch fresh"):
        drain(log, backend, rng, 0.0, definition="another")


@pytest.mark.parametrize(("way", "learned"), [("fresh", 5), ("replay", 25), ("keep", 25)])
def test_each_way_on_begins_an_epoch(way: Any, learned: int) -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(20):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    for number in range(20, 25):
        write(log, number, number)
    drain(log, backend, rng, 0.0, definition="another", new_epoch=way)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    assert (newest.version.epoch, newest.version.examples) == (2, learned)
    assert newest.parent == VersionId("sim", 1, 20)
    # The flag left in place at the next start changes nothing more.
    drain(log, backend, rng, 0.0, definition="another", new_epoch=way)
    assert store.versions("sim")[-1] == newest.version


def test_a_learner_skips_a_damaged_version_and_goes_on_from_the_one_before() -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(40):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    name = f"sim/objects/{newest.files['model'].sha256}"
    damaged = bytearray(backend.get(name, 1 << 20))
    damaged[len(damaged) // 2] ^= 1
    backend.delete(name)
    backend.put_new(name, bytes(damaged))
    for number in range(40, 50):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    newest = store.manifest(store.versions("sim")[-1])
    oracle = replay(log, backend, newest.offset, set())
    assert newest.examples == 50
    assert (newest.chain, newest.fingerprint) == (oracle.chain.hex(), oracle.fingerprint())


def test_one_extreme_value_is_found_and_left_out_and_the_rest_is_learned() -> None:
    rng = random.Random(3)
    log, backend = make_log(), MemoryBackend()
    for number in range(60):
        write(log, number, number, {"a": 1e200, "b": 0.5} if number == 23 else None)
    drain(log, backend, rng, 0.0)
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    assert (newest.skipped, newest.examples) == ([23], 59)
    oracle = replay(log, backend, newest.offset, {23})
    assert (newest.chain, newest.fingerprint) == (oracle.chain.hex(), oracle.fingerprint())
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert [letter.offset for letter in letters] == [23]


class EachTurn(CheckpointPace):
    """Not a matter of how long the one before took."""

    def due(self, since_last: float, last_cost: float, learned: int) -> bool:
        return learned > 0


def growing(backend: MemoryBackend, limit: int | None) -> Learner:
    """Return a learner of a model that grows with each example."""
    store = ModelStore(backend, Trust.of(SIGNER.public), SIGNER)
    rules = LearningRules(Target(task="binary"), Contract(), neighbors.KNNClassifier, None, window=50)
    checkpoints = LearnerCheckpoints(
        store, Definition("sim", "d", "c"), rules, Retention(last=5), max_model_bytes=limit
    )
    return Learner(LearnerSettings(NAMES, EachTurn(0.0, 1)), checkpoints, PauseSwitch("sim"), lambda line: None)


def test_at_the_largest_size_learning_stops_across_a_start_and_goes_on_where_it_stopped() -> None:
    log, backend = make_log(), MemoryBackend()
    for number in range(400):
        write(log, number, number)
    learner = growing(backend, 20_000)
    loop = SimulatedLoop(log, GROUP, learner)
    while not learner.paused():
        loop.step({EXAMPLES: 10})
    store = ModelStore(backend, Trust.of(SIGNER.public))
    stood = store.manifest(store.versions("sim")[-1])
    assert stood.extra["model_bytes"] >= 20_000 > 20_000 - 20 * stood.extra["growth"]["bytes_per_example"]
    assert 0 < stood.examples < 300
    place = log.places[GROUP, Partition(EXAMPLES, 0)]
    assert (place.offset, msgspec.json.decode(place.metadata)["full"]) == (stood.offset, True)
    again = growing(backend, 20_000)
    loop = SimulatedLoop(log, GROUP, again)
    for _ in range(5):
        loop.step({EXAMPLES: 10})
    assert again.paused()
    assert store.versions("sim")[-1] == stood.version
    loop = SimulatedLoop(log, GROUP, growing(backend, 1_000_000))
    while not loop.idle():
        loop.step({EXAMPLES: 50})
    assert store.versions("sim")[-1].examples == 400
    alerts = [read_alert(record.value or b"") for record in log.read(NAMES.topic("alerts"))]
    assert [(alert.name.removeprefix("learner."), alert.state) for alert in alerts] == [
        ("memory-ahead", "raised"),
        ("memory", "raised"),
        ("memory", "cleared"),
        ("memory-ahead", "cleared"),
    ]
    assert "is full in about" in alerts[0].message
    assert "Raise Checkpoints(max_bytes=…)" in alerts[1].message


def test_what_breaks_the_model_alerts_once_however_often_the_learner_dies_and_clears_when_it_is_past() -> None:
    rng = random.Random(3)
    log, backend = make_log(), MemoryBackend()
    for number in range(1300):
        write(log, number, number, {"a": "a text", "b": 1.0} if number in (20, 31, 130) else None)
    deaths: list[Crash] = []
    while log.places.get((GROUP, Partition(EXAMPLES, 0)), CommittedOffset(0, "")).offset < 1300:
        try:
            loop = SimulatedLoop(
                log, GROUP, make_learner(backend), lambda place: len(deaths) < 8 and rng.random() < 0.2
            )
            while not loop.idle():
                loop.step({EXAMPLES: rng.randrange(1, 30)})
            loop.end()
        except Crash as crash:
            deaths.append(crash)
    alerts = [read_alert(record.value or b"") for record in log.read(NAMES.topic("alerts"))]
    told = [(alert.name, alert.state) for alert in alerts if alert.name == "learner.poison"]
    assert len(deaths) == 8
    assert told == [("learner.poison", "raised"), ("learner.poison", "cleared")]


def test_what_is_refused_is_one_dead_letter_however_often_the_learner_starts() -> None:
    rng = random.Random(5)
    log, backend = make_log(), MemoryBackend()
    for number in range(40):
        write(log, number, number, {"a": math.inf, "b": 1.0} if number % 10 == 7 else None)
        if number % 10 == 5:
            log.append(Output(EXAMPLES, 0, None, b"no example"))
        if number % 10 == 9:
            drain(log, backend, rng, 0.3)
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert len(letters) == len({letter.offset for letter in letters}) == 8


def test_a_replay_is_announced_once_it_knows_as_much_as_what_serves() -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(50):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    before = len(log.read(NAMES.topic("models")))
    drain(log, backend, rng, 0.1, definition="another", new_epoch="replay")
    states = [read_model_update(record.value or b"").state for record in log.read(NAMES.topic("models"))[before:]]
    told = [(state.epoch, state.examples) for state in states if isinstance(state, Published)]
    assert told
    assert set(told) == {(2, 50)}


@pytest.mark.parametrize("way", ["replay", "fresh"])
def test_a_version_of_another_river_is_refused_and_the_way_on_works(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(20):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    upgraded = {**libraries_module.libraries(), "river": "0.99.0"}
    monkeypatch.setattr(libraries_module, "libraries", lambda: upgraded)
    monkeypatch.setattr(store_module, "libraries", lambda: upgraded)
    with pytest.raises(RoleRefused, match=r"river 0\.26\.\d+ \(here 0\.99\.0\).*--new-epoch"):
        drain(log, backend, rng, 0.0)
    for number in range(20, 23):
        write(log, number, number)
    drain(log, backend, rng, 0.0, new_epoch=way)
    newest = ModelStore(backend, Trust.of(SIGNER.public)).versions("sim")[-1]
    assert (newest.epoch, newest.examples) == (2, 23 if way == "replay" else 3)


def test_a_lane_fault_that_somebody_has_seen_is_passed_in_an_epoch_of_its_own() -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number, sequence in enumerate([0, 1, 2, 7, 8, 9]):
        write(log, number, sequence)
    with pytest.raises(RoleRefused, match="--new-epoch keep"):
        drain(log, backend, rng, 0.0)
    drain(log, backend, rng, 0.2, new_epoch="keep")
    store = ModelStore(backend, Trust.of(SIGNER.public))
    newest = store.manifest(store.versions("sim")[-1])
    assert newest.version == VersionId("sim", 2, 6)
    assert newest.parent is not None
    assert newest.parent.epoch == 1
    write(log, 6, 10)
    drain(log, backend, rng, 0.0)
    assert store.versions("sim")[-1] == VersionId("sim", 2, 7)


def test_without_the_key_that_signed_its_versions_the_learner_says_so_and_replay_goes_on() -> None:
    rng = random.Random(1)
    log, backend = make_log(), MemoryBackend()
    for number in range(10):
        write(log, number, number)
    drain(log, backend, rng, 0.0)
    other = Signer(Ed25519PrivateKey.generate())
    store = ModelStore(backend, Trust.of(other.public), other)
    checkpoints = LearnerCheckpoints(store, Definition("sim", "d", "c"), RULES, Retention())
    with pytest.raises(RoleRefused, match="put back the key"):
        checkpoints.resume(Log("id", 0, 10), None, lambda line: None)
    assert checkpoints.resume(Log("id", 0, 10), "replay", lambda line: None).epoch == 2
