"""Versions made anew: as if some of the log had never been; and the learner going on from one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import linear_model, preprocessing
from simulation.log import Crash, LoggedRecord, MemoryLog, SimulatedLoop

from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.learner.rebuild import Plan, Rebuilder, Rebuilt
from consumers.model.checkpoints import EDITS_FILE, Definition, LearnerCheckpoints, Log
from consumers.model.log_edits import Edits, digest, editor
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.models_topic_state import Known
from consumers.model.verify import verify
from consumers.predictor.model_feed import PauseSwitch
from model_store import Manifest, MemoryBackend, ModelStore, Retention, Signer, Trust, VersionId
from runtime.exits import RoleRefused
from runtime.kafka_client.records import Output
from schemas.contract import Contract
from schemas.events import Event, Example, Joined, Label, Lane, read_example
from schemas.model_updates import Adopted, ModelUpdate, Published, read_model_update
from schemas.target import Target
from schemas.topics import Names

NAMES = Names("sim")
EXAMPLES, MODELS = NAMES.topic("examples"), NAMES.topic("models")
GROUP = NAMES.group("learner")
BESIDE = ("dead-letters", "alerts")
COUNT = 120
Change = Callable[[Example], Example]


def same(example: Example) -> Example:
    return example


def example(
    number: int, sequence: int, *, label: bool | None = None, kind: Any = "label", source: Any = "system"
) -> Example:
    """Return the n-th event's example; its label follows from `a` unless it is given."""
    rng = random.Random(number)
    features: dict[str, Any] = {"a": rng.gauss(0, 1), "b": rng.random(), "customer": number % 7}
    value = features["a"] > 0 if label is None else label
    when = 10_000 + 10 * sequence
    return Example(
        Event(f"e{number}", when, features),
        None,
        Label(f"e{number}", value, when, source=source, kind=kind),
        Lane("0", "epoch", sequence),
        Joined(0, number, when - 5, sequence, when),
    )


@dataclass
class Shop:
    """A log, a store, a learner over both, and what makes versions anew."""

    log: MemoryLog = field(
        default_factory=lambda: MemoryLog({EXAMPLES: 1, MODELS: 1, **dict.fromkeys(map(NAMES.topic, BESIDE), 1)})
    )
    backend: MemoryBackend = field(default_factory=MemoryBackend)
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    known: Known = field(default_factory=Known)
    said: list[str] = field(default_factory=list)
    model: Callable[[], Any] = lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()

    def __post_init__(self) -> None:
        self.store = ModelStore(self.backend, Trust.of(self.signer.public), self.signer)
        rules = LearningRules(Target(task="binary"), Contract(), self.model, None, window=50)
        self.checkpoints = LearnerCheckpoints(
            self.store,
            Definition("sim", "d", "c", frozenset({(_Touchy.__module__, "_Touchy")})),
            rules,
            Retention(last=50),
        )
        self.rules = rules
        self.switch = PauseSwitch("sim", say=self.said.append)

    def write(self, *examples: Example) -> None:
        for each in examples:
            self.log.append(Output(EXAMPLES, 0, None, each.encode()))

    def learn(self, crash: Callable[[str], bool] = lambda place: False, new_epoch: Any = None) -> None:
        """Run a learner, again after each crash, until all is learned."""
        self.switch.follow(self.known)
        while True:
            settings = LearnerSettings(NAMES, CheckpointPace(0.0, 1), new_epoch)
            learner = Learner(settings, self.checkpoints, self.switch, self.said.append)
            try:
                loop = SimulatedLoop(self.log, GROUP, learner, crash)
                while not loop.idle():
                    loop.step({EXAMPLES: 7})
                loop.step({})
                while not loop.idle():  # from an adopted version's place
                    loop.step({EXAMPLES: 7})
                loop.end()
                return
            except Crash:
                continue

    def read(self, begin: int, end: int) -> Iterator[LoggedRecord]:
        yield from self.log.read(EXAMPLES)[begin:end]

    def rebuild(self, most: int | None = None, base: Manifest | None = None, **edits: Any) -> Rebuilt:
        end = len(self.log.read(EXAMPLES))
        place = Log(self.log.ids[EXAMPLES], 0, end)
        base = base or self.store.manifest(VersionId("sim", 1, 0))
        parent = self.store.versions("sim")[-1]
        plan = Plan(Edits(until=end, **edits), place, base, parent, most=most)
        return Rebuilder(self.checkpoints, plan, self.read, self.said.append).run()

    def adopt(self, version: VersionId) -> None:
        state = Adopted("sim", 0, version.epoch, version.examples, "me", "why")
        self.known.take(state.key.encode(), ModelUpdate(1, state).encode())

    def oracle(self, examples: Sequence[Example]) -> str:
        """Return what a new model answers that learns just these, by the store's version 0 and nothing of ours else."""
        learning = self.checkpoints.load(self.store.manifest(VersionId("sim", 1, 0)))
        for number, each in enumerate(examples):
            learning.apply(msgspec.structs.replace(each, lane=Lane("x", "x", number)), number)
        return answers(learning)

    def verified(self, target: Manifest, first: Manifest) -> bool:
        edits = Edits.decode(self.store.read(first, EDITS_FILE))
        edited = editor(edits, self.read(first.offset, edits.until))
        return verify(self.checkpoints, target, first, self.read(first.offset, target.offset), edited=edited).holds


def answers(learning: LearnerState) -> str:
    probe = [dict(example(number, 0).event.features) for number in range(500, 540)]
    return repr([learning.model.predict(dict(features)).probabilities for features in probe])


@pytest.fixture
def shop() -> Shop:
    made = Shop()
    made.learn()
    made.write(*(example(number, number) for number in range(COUNT)))
    made.learn()
    return made


def log_of(shop: Shop) -> list[Example]:
    return [read_example(record.value or b"") for record in shop.log.read(EXAMPLES)]


def assert_is(shop: Shop, made: Rebuilt, history: Sequence[Example]) -> None:
    """Insist that a version is what a model is that learned this history, and that it can be verified."""
    assert answers(shop.checkpoints.load(made.made)) == shop.oracle(history)
    assert made.learned == made.made.examples == len(history)
    assert shop.verified(made.made, made.first)


def test_a_version_made_anew_without_edits_is_the_version_that_was_learned(shop: Shop) -> None:
    learned = shop.store.manifest(shop.store.versions("sim")[-1])
    made = shop.rebuild()
    assert made.made.version == VersionId("sim", 2, COUNT)
    assert (made.made.chain, made.made.fingerprint) == (learned.chain, learned.fingerprint)
    assert made.made.metrics == learned.metrics
    assert_is(shop, made, log_of(shop))


def test_to_a_count_it_has_learned_so_many(shop: Shop) -> None:
    made = shop.rebuild(most=50)
    assert (made.made.examples, made.made.offset) == (50, 50)
    assert_is(shop, made, log_of(shop)[:50])
    with pytest.raises(RoleRefused, match="only 120 examples"):
        shop.rebuild(most=COUNT + 1)


def test_events_by_id_by_feature_and_by_their_labels_are_as_if_they_had_never_been(shop: Shop) -> None:
    log = log_of(shop)
    gone = {"e3", "e77"}
    made = shop.rebuild(without=sorted(map(digest, gone)))
    assert_is(shop, made, [each for each in log if each.event.event_id not in gone])
    made = shop.rebuild(where={"customer": "4"})
    assert_is(shop, made, [each for each in log if each.event.features["customer"] != 4])
    since, until = 10_000 + 10 * 30, 10_000 + 10 * 60
    made = shop.rebuild(labels_from=since, labels_to=until, source="system")
    assert_is(shop, made, log[:30] + log[60:])
    assert made.left_out == 30
    assert shop.rebuild(labels_from=since, labels_to=until, source="human").left_out == 0


def test_ids_that_are_to_be_forgotten_are_not_kept_by_name(shop: Shop) -> None:
    made = shop.rebuild(without=[digest("e77")])
    assert b"e77" not in shop.store.read(made.first, EDITS_FILE)


def test_with_corrections_each_example_is_learned_as_last_corrected(shop: Shop) -> None:
    log = log_of(shop)
    wrong = [not log[number].label.value for number in (5, 9)]  # type: ignore[union-attr]
    shop.write(example(5, COUNT, label=not wrong[0], kind="correction"))
    shop.write(example(5, COUNT + 1, label=wrong[0], kind="correction"))
    shop.write(example(9, COUNT + 2, label=wrong[1], kind="correction", source="human"))
    shop.learn()
    right = [*log]
    for number, value in zip((5, 9), wrong, strict=True):
        label = msgspec.structs.replace(right[number].label, value=value)  # type: ignore[type-var]
        right[number] = msgspec.structs.replace(right[number], label=label)
    assert_is(shop, shop.rebuild(), log)
    assert_is(shop, shop.rebuild(corrections=True), right)


def test_a_correction_is_of_its_event_and_not_of_another_at_the_same_place_of_a_topic_made_again(shop: Shop) -> None:
    log = log_of(shop)
    other = example(777, COUNT, label=not log[5].label.value, kind="correction")  # type: ignore[union-attr]
    place = msgspec.structs.replace(log[5].joined, label_offset=COUNT)  # type: ignore[type-var]
    shop.write(msgspec.structs.replace(other, joined=place))
    shop.learn()
    assert_is(shop, shop.rebuild(corrections=True), log)


def test_an_epoch_that_begins_meanwhile_takes_no_name_of_what_was_made_anew(shop: Shop) -> None:
    made = shop.rebuild(where={"customer": "4"})
    shop.write(example(COUNT, COUNT + 7))  # six examples of the lane are gone
    with pytest.raises(RoleRefused, match="jumps from sequence"):
        shop.learn()
    shop.learn(new_epoch="keep")
    newest = shop.store.manifest(shop.store.versions("sim")[-1])
    assert (made.made.version.epoch, newest.version) == (2, VersionId("sim", 3, COUNT + 1))


def test_what_was_left_out_for_its_label_stays_if_another_source_put_it_right(shop: Shop) -> None:
    log = log_of(shop)
    value = not log[40].label.value  # type: ignore[union-attr]
    shop.write(example(40, COUNT, label=value, kind="correction", source="human"))
    shop.learn()
    made = shop.rebuild(corrections=True, labels_from=10_400, labels_to=10_420, source="system")
    label = msgspec.structs.replace(log[40].label, value=value)  # type: ignore[type-var]
    assert_is(shop, made, [*log[:40], msgspec.structs.replace(log[40], label=label), *log[42:]])


def test_an_example_that_breaks_only_the_history_made_anew_is_found_and_left_out() -> None:
    shop = Shop(model=_Touchy)
    shop.learn()
    shop.write(*(example(number, number) for number in range(40)))
    shop.learn()
    assert shop.store.manifest(shop.store.versions("sim")[-1]).skipped == []
    made = shop.rebuild(without=[digest("e0")])
    assert made.made.skipped == [1]
    assert (made.learned, made.left_out, made.skipped) == (38, 1, 1)
    assert shop.verified(made.made, made.first)


class _Touchy:
    """Raises where the first event that it learns is not e0's."""

    def __init__(self) -> None:
        self.model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        self.first: Any = None

    def predict_proba_one(self, x: Any) -> Any:
        return self.model.predict_proba_one(x)

    def predict_one(self, x: Any) -> Any:
        return self.model.predict_one(x)

    def learn_one(self, x: Any, y: Any) -> None:
        if self.first is None and x["customer"] == 1:
            raise ValueError("not this one first")
        self.first = x["customer"]
        self.model.learn_one(x, y)


def test_what_ruins_a_model_without_a_word_is_found_as_by_a_learner() -> None:
    shop = Shop()
    shop.learn()
    far = example(30, 30)
    features = {**far.event.features, "b": 1e200}
    shop.write(*(example(number, number) for number in range(30)))
    shop.write(msgspec.structs.replace(far, event=msgspec.structs.replace(far.event, features=features)))
    shop.write(*(example(number, number) for number in range(31, 60)))
    made = shop.rebuild()
    assert (made.made.skipped, made.learned) == ([30], 59)
    assert any("offset 30 broke the model" in line for line in shop.said)
    assert shop.verified(made.made, made.first)


def test_a_version_that_knows_more_already_is_not_gone_on_from(shop: Shop) -> None:
    with pytest.raises(RoleRefused, match="has learned 120 examples already, not 100"):
        shop.rebuild(most=100, base=shop.store.manifest(shop.store.versions("sim")[-1]))


def test_where_nothing_is_left_to_learn_nothing_is_written(shop: Shop) -> None:
    before = shop.store.versions("sim")
    with pytest.raises(RoleRefused, match="nothing to learn"):
        shop.rebuild(labels_from=0)
    assert shop.store.versions("sim") == before


def test_a_learner_passes_over_what_was_made_anew_until_it_is_adopted(shop: Shop) -> None:
    made = shop.rebuild(where={"customer": "4"})
    shop.write(*(example(number, number) for number in range(COUNT, COUNT + 10)))
    shop.learn()
    assert shop.store.versions("sim", 1)[-1] == VersionId("sim", 1, COUNT + 10)
    assert shop.store.versions("sim")[-1] == made.made.version
    # An epoch begun meanwhile takes no name that is taken.
    assert shop.checkpoints.next_epoch() == 3


@pytest.mark.parametrize("seed", range(8))
def test_a_learner_goes_on_from_an_adopted_version_at_its_own_place(shop: Shop, seed: int) -> None:
    rng = random.Random(seed)
    log = log_of(shop)
    made = shop.rebuild(labels_from=10_000 + 10 * 80, labels_to=10_000 + 10 * 100)
    more = [example(number, number) for number in range(COUNT, COUNT + 30)]
    shop.write(*more[:15])
    shop.learn(lambda place: rng.random() < 0.1)
    shop.adopt(made.made.version)
    shop.write(*more[15:])
    shop.learn(lambda place: rng.random() < 0.1)
    shop.learn()
    newest = shop.store.manifest(shop.store.versions("sim")[-1])
    assert newest.version == VersionId("sim", 2, COUNT - 20 + 30)
    assert answers(shop.checkpoints.load(newest)) == shop.oracle([*log[:80], *log[100:], *more])
    assert shop.verified(newest, made.first)
    states = [read_model_update(record.value or b"").state for record in shop.log.read(MODELS)]
    epochs = [state.epoch for state in states if isinstance(state, Published)]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 2


def test_a_learner_at_work_takes_an_adoption_up_without_an_end(shop: Shop) -> None:
    made = shop.rebuild(without=[digest("e3")])
    shop.switch.follow(shop.known)
    learner = Learner(LearnerSettings(NAMES, CheckpointPace(0.0, 1)), shop.checkpoints, shop.switch, shop.said.append)
    loop = SimulatedLoop(shop.log, GROUP, learner)
    loop.step({EXAMPLES: 7})
    shop.adopt(made.made.version)
    shop.switch.follow(shop.known)
    shop.write(example(COUNT, COUNT))
    loop.step({EXAMPLES: 7})
    while not loop.idle():
        loop.step({EXAMPLES: 7})
    assert shop.store.versions("sim")[-1] == VersionId("sim", 2, COUNT)


def test_an_adopted_version_that_is_damaged_is_said_and_the_learner_goes_on_as_it_was(shop: Shop) -> None:
    made = shop.rebuild(without=[digest("e3")])
    shop.backend.delete(f"sim/objects/{made.made.files['model'].sha256}")
    shop.adopt(made.made.version)
    shop.write(example(COUNT, COUNT))
    shop.learn()
    assert shop.store.versions("sim", 1)[-1] == VersionId("sim", 1, COUNT + 1)
    assert any("cannot be used" in line for line in shop.said)
