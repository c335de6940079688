"""One poisoned record in a stream: what came after it is learned as if it had not been there."""

from __future__ import annotations

import csv
import itertools
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import base, linear_model, metrics, naive_bayes, neighbors, optim, preprocessing, tree
from simulation.log import LoggedRecord, MemoryLog, SimulatedLoop

from consumers.learner import poison_rollback
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.model import outlier_influence
from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.model_state import LearningRules
from consumers.model.verify import verify
from consumers.predictor.model_feed import PauseSwitch
from model_store import Manifest, MemoryBackend, ModelStore, Retention, Signer, StoreUnavailable, Trust
from model_store.offset_runs import Offsets
from runtime.exits import RoleRefused
from runtime.kafka_client.records import Output
from schemas.alerts import read_alert
from schemas.contract import Contract
from schemas.dead_letters import DeadLetter, read_dead_letter
from schemas.events import Event, Example, Joined, Label, Lane
from schemas.target import Target, Task
from schemas.topics import Names

NAMES: Final = Names("sim")
EXAMPLES: Final = NAMES.topic("examples")
SIGNER: Final = Signer(Ed25519PrivateKey.generate())
_ROOT: Final = Path(__file__).resolve().parents[2]
ELEC: Final = Path(os.environ.get("MILLSTREAM_ELEC") or _ROOT.parent / "shared" / "data" / "elec.csv")
BEFORE: Final = 1500
AFTER: Final = 2000
POISONED: Final = "nswprice"
POISON: Final[dict[str, Any]] = {
    "NaN": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e308": 1e308,
    "1e12": 1e12,
    "-1e12": -1e12,
    "text": "n/a",
    "label": None,
}


@dataclass(frozen=True)
class Case:
    """A model, and where in its state a poison shows."""

    task: Task
    model: Callable[[], Any]
    metric: Callable[[], Any]
    wrong_label: Any = "maybe"


def _knn() -> Any:
    engine = neighbors.LazySearch(window_size=100)
    return preprocessing.StandardScaler() | neighbors.KNNClassifier(n_neighbors=5, engine=engine)


CASES: Final = {
    "logistic regression": Case(
        "binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), metrics.Accuracy
    ),
    "linear regression": Case(
        "regression", lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(), metrics.MAE
    ),
    "naive Bayes": Case("binary", naive_bayes.GaussianNB, metrics.Accuracy),
    "adaptive tree": Case("binary", lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1), metrics.Accuracy),
    "neighbours": Case("binary", _knn, metrics.Accuracy),
}


@cache
def elec() -> list[dict[str, float]]:
    """Return the first rows of Elec2, or of a stream of the same look where the file is not there."""
    count = BEFORE + AFTER
    if ELEC.exists():
        with ELEC.open() as file:
            rows = itertools.islice(csv.DictReader(file), count)
            return [{name: float(value) for name, value in row.items()} for row in rows]
    rng = random.Random(1)
    made = []
    for _ in range(count):
        price, demand = rng.lognormvariate(-3, 0.3), rng.gauss(0.4, 0.1)
        up = rng.random() < 1 / (1 + math.exp(-40 * (price - 0.05) - 10 * (demand - 0.4)))
        made.append({"nswprice": price, "nswdemand": demand, "vicdemand": rng.random(), "class": float(up)})
    return made


def row(case: Case, number: int) -> tuple[dict[str, Any], Any]:
    features: dict[str, Any] = dict(elec()[number])
    up = features.pop("class")
    if case.task == "regression":
        return features, features.pop("nswdemand")
    return features, bool(up)


def stream(case: Case, *poison: str) -> Iterator[tuple[dict[str, Any], Any]]:
    for number in range(BEFORE + AFTER):
        if number == BEFORE:
            for kind in poison:
                features, label = row(case, 0)
                if kind == "label":
                    yield features, case.wrong_label
                elif kind in POISON:
                    yield {**features, POISONED: POISON[kind]}, label
                else:
                    yield features, label
        yield row(case, number)


@dataclass(frozen=True)
class Outcome:
    """What a learner made of a stream."""

    metric: float
    newest: Manifest
    letters: list[DeadLetter]
    alerts: list[str]
    records: list[LoggedRecord]
    checkpoints: LearnerCheckpoints
    store: ModelStore


def learn(case: Case, rows: Iterator[tuple[dict[str, Any], Any]], pace: int = 500, **contract: Any) -> Outcome:
    """Have a whole learner learn rows, a version every `pace` of them."""
    log = MemoryLog(dict.fromkeys(map(NAMES.topic, ("examples", "models", "dead-letters", "alerts")), 1))
    for number, (features, label) in enumerate(rows):
        log.now += 5
        event = Event(f"e{number}", number, features)
        joined = Joined(0, number, log.now - 3, number, log.now)
        lane = Lane("0", "epoch", number)
        log.append(
            Output(EXAMPLES, 0, None, Example(event, None, Label(f"e{number}", label, 1), lane, joined).encode())
        )
    store = ModelStore(MemoryBackend(), Trust.of(SIGNER.public), SIGNER)
    rules = LearningRules(
        Target(task=case.task), Contract(**contract), case.model, lambda: [case.metric()], window=AFTER
    )
    checkpoints = LearnerCheckpoints(
        store, Definition("sim", "d", "c", frozenset({(__name__, "Fragile")})), rules, Retention(last=1000)
    )
    learner = Learner(
        LearnerSettings(NAMES, CheckpointPace(every=1e9, examples=pace)), checkpoints, PauseSwitch("sim"), _quiet
    )
    loop = SimulatedLoop(log, NAMES.group("learner"), learner)
    while not loop.idle():
        loop.step({EXAMPLES: 250})
    loop.end()
    newest = store.manifest(store.versions("sim")[-1])
    [metric] = newest.metrics["progressive"]["last"].values()
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    alerts = [read_alert(record.value or b"") for record in log.read(NAMES.topic("alerts"))]
    told = [f"{alert.name} {alert.state}" for alert in alerts]
    return Outcome(metric, newest, letters, told, log.read(EXAMPLES), checkpoints, store)


def _quiet(line: str) -> None:
    """Nobody listens."""


@cache
def without(name: str, ordinary: int = 0) -> Outcome:
    """Learn the stream without the poisoned records, or with so many ordinary ones in their place."""
    return learn(CASES[name], stream(CASES[name], *["none"] * ordinary))


def assert_as_without(name: str, poisoned: Outcome) -> None:
    """Over the 2,000 events after the poison the metric is within a point of what it would have been.

    Of a poisoned record that was learned, that is what an ordinary one would have made of it: one more, whichever,
    changes the accuracy of the adaptive tree over the next 2,000 by up to four points.
    """
    learned = poisoned.newest.examples - BEFORE - AFTER
    point = {"rel": 0.01} if CASES[name].task == "regression" else {"abs": 0.01}
    expected = {without(name).metric, without(name, learned).metric}
    assert any(poisoned.metric == pytest.approx(each, **point) for each in expected), (poisoned.metric, expected)


def assert_verified(outcome: Outcome) -> None:
    first = outcome.store.manifest(outcome.store.versions("sim")[0])
    assert verify(outcome.checkpoints, outcome.newest, first, outcome.records).holds


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", CASES)
def test_one_poisoned_record_costs_less_than_a_point_over_the_next_2000_events(
    name: str, poison: str, rounds: Callable[[int, int], int]
) -> None:
    if not rounds(name == "logistic regression", 1):
        pytest.skip("in make faults")
    poisoned = learn(CASES[name], stream(CASES[name], poison))
    assert_as_without(name, poisoned)
    assert poisoned.newest.examples + len(poisoned.letters) == BEFORE + AFTER + 1
    assert {letter.offset for letter in poisoned.letters} <= {BEFORE}
    assert_verified(poisoned)


@pytest.mark.parametrize("name", CASES)
def test_all_of_them_one_after_the_other_cost_less_than_a_point_too(name: str) -> None:
    kinds = [kind for kind in POISON if kind != "NaN"]
    poisoned = learn(CASES[name], stream(CASES[name], *kinds))
    assert_as_without(name, poisoned)
    left_out = {letter.offset - BEFORE: letter.code for letter in poisoned.letters}
    expected = {"inf": "infinite", "-inf": "infinite", "text": "type", "label": "label"}
    assert {kinds[at]: code for at, code in left_out.items() if code != "model"} == expected
    assert "learner.refused raised" in poisoned.alerts
    assert_verified(poisoned)


def test_without_the_look_at_its_influence_one_outlier_ruins_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlier_influence, "MOST", math.inf)
    poisoned = learn(CASES["logistic regression"], stream(CASES["logistic regression"], "1e12"))
    assert poisoned.metric < without("logistic regression").metric - 0.01


def test_an_outlier_that_does_harm_is_left_out_and_one_that_does_none_stays() -> None:
    case = CASES["logistic regression"]

    def rows() -> Iterator[tuple[dict[str, Any], Any]]:
        for number, (features, label) in enumerate(stream(case, "1e12")):
            # A number that has always been near to nothing, and has no weight: the model answers as before.
            yield {**features, "idle": 1e6 if number == BEFORE + 20 else 0.0}, label

    poisoned = learn(case, rows())
    assert poisoned.newest.skipped == [BEFORE]
    assert [letter.offset for letter in poisoned.letters] == [BEFORE]
    assert poisoned.newest.extra["counts"]["outlier"] == 1
    assert poisoned.alerts == [
        "learner.poison raised",
        "learner.outliers raised",
        "learner.poison cleared",
        "learner.outliers cleared",
    ]


def test_bounds_can_refuse_outliers_before_they_are_learned() -> None:
    case = CASES["naive Bayes"]
    poisoned = learn(case, stream(case, "1e12", "1e308"), bounds="dead-letter")
    assert [(letter.offset - BEFORE, letter.code) for letter in poisoned.letters] == [(0, "outlier"), (1, "outlier")]
    assert poisoned.newest.skipped == []
    assert_as_without("naive Bayes", poisoned)
    assert_verified(poisoned)


@pytest.mark.parametrize("at", [3, 11, 28])
def test_the_guilty_is_found_although_it_is_others_that_the_model_raises_on(at: int) -> None:
    """A text among the neighbours breaks every answer after it; so early, types are not known yet."""
    case = CASES["neighbours"]

    def rows() -> Iterator[tuple[dict[str, Any], Any]]:
        plain = Case(case.task, lambda: neighbors.KNNClassifier(n_neighbors=3), case.metric)
        for number in range(60):
            features, label = row(plain, number)
            yield ({**features, POISONED: "n/a"} if number == at else features), label

    bare = Case("binary", lambda: neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=50)), case.metric)
    poisoned = learn(bare, rows())
    assert poisoned.newest.skipped == [at]
    assert poisoned.newest.examples == 59
    assert_verified(poisoned)


class Fragile(base.Regressor):
    """Takes in anything without a word, and once it has taken in a 13 knows no number any more."""

    def __init__(self) -> None:
        self.mean = 0.0

    def learn_one(self, x: dict[str, Any], y: float) -> None:
        self.mean = math.nan if x["a"] == 13.0 else self.mean + (y - self.mean) / 100

    def predict_one(self, x: dict[str, Any]) -> float:
        return self.mean


@pytest.mark.parametrize("broken", [[0], [137], [499], [3, 137, 138, 700]], ids=str)
def test_what_breaks_a_model_in_silence_is_found_among_hundreds_and_nothing_else_left_out(broken: list[int]) -> None:
    rows = (({"a": 13.0 if number in broken else 1.0}, float(number % 7)) for number in range(1000))
    poisoned = learn(Case("regression", Fragile, metrics.MAE), rows)
    assert [offset for offset in range(1000) if offset in Offsets(poisoned.newest.skipped)] == broken
    assert sorted(letter.offset for letter in poisoned.letters) == broken
    assert_verified(poisoned)


def test_more_refused_in_a_row_than_is_kept_leaves_a_way_back_for_the_poison_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No version can be written while nothing is learned: its name would be that of the one before."""
    case = CASES["logistic regression"]
    monkeypatch.setattr(poison_rollback, "_MOST_KEPT_BYTES", 60_000)
    poisoned = learn(case, stream(case, *["inf"] * 900, "1e12"))
    assert poisoned.newest.skipped == [BEFORE + 900]
    assert Counter(letter.code for letter in poisoned.letters) == {"infinite": 900, "model": 1}
    assert_as_without("logistic regression", poisoned)
    assert_verified(poisoned)


def test_a_store_that_takes_no_version_for_long_does_not_take_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["logistic regression"]
    monkeypatch.setattr(poison_rollback, "_MOST_KEPT_BYTES", 60_000)
    put, stop, puts = MemoryBackend.put_new, Learner.stopping, [0]

    def put_new(backend: MemoryBackend, name: str, data: bytes) -> None:
        puts[0] += 1
        if puts[0] > 3:  # there is version 0
            raise StoreUnavailable("away")
        put(backend, name, data)

    def stopping(learner: Learner) -> list[Output]:
        monkeypatch.setattr(MemoryBackend, "put_new", put)
        return stop(learner)

    monkeypatch.setattr(MemoryBackend, "put_new", put_new)
    monkeypatch.setattr(Learner, "stopping", stopping)
    poisoned = learn(case, stream(case, "1e12"))
    assert puts[0] > 3, "the store was never asked"
    assert poisoned.newest.skipped == [BEFORE]
    assert poisoned.newest.examples == BEFORE + AFTER
    assert_verified(poisoned)


def test_a_model_that_fails_by_itself_stops_and_says_so() -> None:
    wild = Case(
        "regression", lambda: linear_model.LinearRegression(optim.SGD(1e6), clip_gradient=math.inf), metrics.MAE
    )
    with pytest.raises(RoleRefused, match="it fails by itself"):
        learn(wild, ((dict.fromkeys("ab", 1e6 + number), float(number)) for number in range(150)), pace=125)
