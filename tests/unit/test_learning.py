"""What a learner measures equals River's own evaluation, to the last digit."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from river import (
    anomaly,
    compose,
    datasets,
    evaluate,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    neighbors,
    preprocessing,
    tree,
)

from consumers.model import outlier_influence
from consumers.model.lanes import Lanes
from consumers.model.model_state import LearnerState, LearningRules, Poison, Unfit
from model_store import dumps
from runtime.exits import RoleRefused
from schemas.contract import Contract
from schemas.events import Event, Example, Joined, Label, Lane, Outcome
from schemas.target import Target, Task


def example(number: int, features: dict[str, Any], value: Any, outcome: Outcome | None = None) -> Example:
    label = None if value is None else Label(f"e{number}", value, number)
    joined = Joined(0, number, number, number, number + 50)
    return Example(Event(f"e{number}", number, features), outcome, label, Lane("0", "epoch", number), joined)


def rules(task: Task, model: Callable[[], Any], **more: Any) -> LearningRules:
    return LearningRules(
        Target(task=task), Contract(), model, more.pop("metrics", None), more.pop("window", 100), **more
    )


def rows(dataset: Any, most: int) -> Iterator[tuple[dict[str, Any], Any]]:
    for number, (features, value) in enumerate(dataset):
        if number == most:
            return
        yield features, value


CASES: list[tuple[str, Task, Any, Callable[[], Any], Callable[[], list[Any]]]] = [
    (
        "logistic regression",
        "binary",
        datasets.Phishing(),
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        lambda: [metrics.ROCAUC(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()],
    ),
    (
        "naive Bayes",
        "binary",
        datasets.Phishing(),
        naive_bayes.GaussianNB,
        lambda: [metrics.ROCAUC(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()],
    ),
    (
        "adaptive tree",
        "binary",
        datasets.Bananas(),
        lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1),
        lambda: [metrics.ROCAUC(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()],
    ),
    (
        "forest",
        "multiclass",
        datasets.ImageSegments(),
        lambda: forest.ARFClassifier(n_models=3, seed=1),
        lambda: [metrics.Accuracy(), metrics.MacroF1(), metrics.CrossEntropy()],
    ),
    (
        "neighbours, metrics over labels alone",
        "multiclass",
        datasets.ImageSegments(),
        lambda: preprocessing.StandardScaler() | neighbors.KNNClassifier(engine=neighbors.SWINN(seed=1)),
        lambda: [metrics.Accuracy(), metrics.MacroF1()],
    ),
    (
        "regression",
        "regression",
        datasets.TrumpApproval(),
        lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
        lambda: [metrics.MAE(), metrics.RMSE(), metrics.R2()],
    ),
]


@pytest.mark.parametrize(("name", "task", "dataset", "model", "make"), CASES, ids=[case[0] for case in CASES])
def test_progressive_metrics_equal_rivers(
    name: str, task: Task, dataset: Any, model: Callable[[], Any], make: Callable[[], list[Any]]
) -> None:
    data = list(rows(dataset, 900))
    learning = LearnerState(rules(task, model, metrics=make))
    for number, (features, value) in enumerate(data):
        learning.apply(example(number, features, value), number)
    total = metrics.base.Metrics(make())
    evaluate.progressive_val_score(data, model(), total)
    told = learning.board.report()["progressive"]["all"]
    assert told == {type(metric).__name__: metric.get() for metric in total}


def test_a_restored_learner_goes_on_as_the_one_that_was_dumped() -> None:
    data = list(rows(datasets.Phishing(), 600))
    its_rules = rules("binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())
    learning = LearnerState(its_rules)
    for number, row in enumerate(data[:300]):
        learning.apply(example(number, *row), number)
    other = LearnerState(its_rules, learning.model.model.clone(include_attributes=True))
    other.restore(copy.deepcopy(learning.dump()))
    for number, row in enumerate(data[300:], start=300):
        learning.apply(example(number, *row), number)
        other.apply(example(number, *row), number)
    assert other.chain.hex() == learning.chain.hex()
    assert other.fingerprint() == learning.fingerprint()
    assert other.board.report() == learning.board.report()


@pytest.mark.parametrize("fault", ["lost", "repeated", "swapped", "other label"])
@pytest.mark.parametrize(
    "model",
    [naive_bayes.GaussianNB, lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()],
    ids=["naive Bayes", "logistic regression"],
)
def test_chain_and_fingerprint_tell_what_was_learned_otherwise(fault: str, model: Callable[[], Any]) -> None:
    data = list(rows(datasets.Phishing(), 100))
    entries = list(enumerate(data))
    features, value = data[50]
    changed = {
        "lost": entries[:50] + entries[51:],
        "repeated": [*entries[:50], entries[50], *entries[50:]],
        "swapped": [*entries[:50], entries[51], entries[50], *entries[52:]],
        "other label": [*entries[:50], (50, (features, not value)), *entries[51:]],
    }[fault]
    plain, faulty = learn_all(model, entries), learn_all(model, changed)
    assert faulty.chain.hex() != plain.chain.hex()
    # Two neighbours swapped leave naive Bayes as it was, to the last bit: only the chain tells.
    if not (fault == "swapped" and model is naive_bayes.GaussianNB):
        assert faulty.fingerprint() != plain.fingerprint()


def learn_all(model: Callable[[], Any], entries: list[tuple[int, Any]]) -> LearnerState:
    """Learn rows under their names, numbered as a lane would number them."""
    learning = LearnerState(rules("binary", model))
    for sequence, (number, (features, value)) in enumerate(entries):
        made = example(number, features, value)
        lane = Lane("0", "epoch", sequence)
        learning.apply(Example(made.event, None, made.label, lane, made.joined), sequence)
    return learning


def test_lanes_skip_a_remembered_repeat_and_stop_at_anything_else() -> None:
    lanes = Lanes()
    for sequence in range(3000):
        assert lanes.admit(Lane("0", "a", sequence), f"e{sequence}")
    assert not lanes.admit(Lane("0", "a", 2999), "e2999")
    assert not lanes.admit(Lane("0", "a", 2500), "e2500")
    with pytest.raises(RoleRefused, match="jumps from sequence 3000 to 3002"):
        lanes.admit(Lane("0", "a", 3002), "e3002")
    with pytest.raises(RoleRefused, match="again"):
        lanes.admit(Lane("0", "a", 0), "e0")  # forgotten: a joiner that begins anew looks like this
    with pytest.raises(RoleRefused, match="again"):
        lanes.admit(Lane("0", "a", 2999), "another")
    with pytest.raises(RoleRefused, match="not 0"):
        lanes.admit(Lane("1", "a", 7), "x")
    assert lanes.admit(Lane("0", "b", 0), "e0")


def test_an_infinite_feature_or_a_wrong_label_never_reaches_the_model() -> None:
    learning = LearnerState(rules("binary", linear_model.LogisticRegression))
    learning.apply(example(0, {"x": 1.0}, True), 0)
    before = learning.fingerprint()
    with pytest.raises(Unfit, match="inf"):
        learning.apply(example(1, {"x": float("inf")}, True), 1)
    with pytest.raises(Unfit, match="neither a boolean"):
        learning.apply(example(2, {"x": 1.0}, "maybe"), 2)
    assert learning.fingerprint() == before
    assert learning.refused.runs() == [1, 2]
    assert learning.counts["skipped"] == 2
    assert learning.learned == 1


def test_a_model_that_raises_is_poison() -> None:
    learning = LearnerState(rules("binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()))
    learning.apply(example(0, {"x": 1.0}, True), 0)
    with pytest.raises(Poison, match="TypeError"):
        learning.apply(example(1, {"x": "text where a number was"}, True), 1)


def test_anomaly_models_learn_events_and_measure_labels() -> None:
    make = rules("anomaly", lambda: anomaly.HalfSpaceTrees(seed=1, window_size=20), learn_from_events=True)
    learning = LearnerState(make)
    for number, (features, _) in enumerate(rows(datasets.Phishing(), 100)):
        learning.apply(example(2 * number, features, None), 2 * number)
        outcome = Outcome(number % 10 / 10, None, "m", 1, 0, 0, "t", 0, 0)
        learning.apply(example(2 * number + 1, features, number % 10 > 7, outcome), 2 * number + 1)
    assert learning.learned == 100
    assert learning.counts["measured"] == 100
    assert learning.board.report()["served"]["all"]["ROCAUC"] > 0.9


def test_baselines_know_no_more_than_had_come_when_the_prediction_was_made() -> None:
    learning = LearnerState(rules("binary", naive_bayes.GaussianNB, window=1000))
    for number in range(400):
        # Labels alternate and come 50 ms after their predictions, which come 1 ms apart: by then the last
        # label known is of 50 events ago, which is even, and so always right.
        learning.apply(example(number, {"x": float(number)}, number % 2 == 0), number)
    report = learning.board.report()
    assert report["no_prediction_yet"]["last_label"] == 50
    assert report["last_label"]["all"]["Accuracy"] == 1.0


def test_the_last_label_pays_for_its_certainty_in_the_log_loss() -> None:
    learning = LearnerState(rules("multiclass", naive_bayes.GaussianNB, window=1000))
    labels = [*"abc"] + ["abc"[number // 3 % 3] for number in range(400)]
    for number, label in enumerate(labels):
        learning.apply(example(number, {"x": float(number)}, label), number)
    by_river, delay = metrics.CrossEntropy(), 50  # labels come so many events late
    for now, known in zip(labels[delay:], labels, strict=False):
        by_river.update(now, {each: float(each == known) for each in "abc"})
    report = learning.board.report()
    assert report["last_label"]["all"]["CrossEntropy"] == by_river.get()
    assert report["last_label"]["last"]["CrossEntropy"] > 10 > report["frequencies"]["last"]["CrossEntropy"]


def test_a_metric_that_raises_measures_nothing_and_stops_no_learning() -> None:
    learning = LearnerState(rules("regression", linear_model.LinearRegression, metrics=lambda: [metrics.RMSLE()]))
    for number in range(600):
        learning.apply(example(number, {"x": 0.001 * number}, -2.0 if number == 100 else 1.5), number)
    assert learning.learned == 600
    report = learning.board.report()
    assert report["last_label"]["all"]["RMSLE"] is not None


@pytest.mark.parametrize("answer", ["abc", 0.5, 7])
def test_an_answer_of_another_kind_than_the_tasks_is_not_measured(answer: Any) -> None:
    learning = LearnerState(rules("binary", naive_bayes.GaussianNB))
    for number in range(300):
        served = Outcome(answer if number == 5 else True, {"true": math.nan}, "m", 1, 0, 0, "t", 0, 0)
        learning.apply(example(number, {"x": float(number)}, number % 2 == 0, served), number)
    report = learning.board.report()
    assert report["counted"]["served"] == 299
    assert report["no_prediction_yet"]["served"] == 1
    # True is right for the even ones: 150, and number 5, which is odd, was not measured.
    assert report["served"]["all"]["Accuracy"] == 150 / 299
    assert report["served"]["all"]["LogLoss"] is None or math.isfinite(report["served"]["all"]["LogLoss"])


def test_a_model_that_answers_nan_before_its_first_example_learns_all_the_same() -> None:
    learning = LearnerState(rules("binary", lambda: preprocessing.MinMaxScaler() | linear_model.LogisticRegression()))
    for number, row in enumerate(rows(datasets.Phishing(), 50)):
        learning.apply(example(number, *row), number)
    assert learning.learned == 50
    assert learning.board.report()["no_prediction_yet"]["progressive"] == 1


def test_the_window_is_over_the_newest_examples_alone() -> None:
    data = list(rows(datasets.Phishing(), 600))
    make = rules("binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), window=150)
    learning = LearnerState(make)
    last = metrics.ROCAUC() + metrics.LogLoss() + metrics.F1() + metrics.Accuracy()
    for number, (features, value) in enumerate(data):
        if number >= 450:
            last.update(value, learning.model.predict(features).probabilities)
        learning.apply(example(number, features, value), number)
    told = learning.board.report()["progressive"]["last"]
    assert told == pytest.approx({type(metric).__name__: metric.get() for metric in last}, rel=1e-12)


def test_a_level_that_changes_for_good_is_learned_without_a_look_at_every_number_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each value is far from what was before until the bounds have followed; pickling a model of many MB takes long."""
    pickled = [0]

    def count(model: Any) -> bytes:
        pickled[0] += 1
        return dumps(model)

    monkeypatch.setattr(outlier_influence, "dumps", count)
    model = compose.Select("x") | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    learning, rng = LearnerState(rules("binary", lambda: model)), random.Random(1)
    for number in range(3000):
        x, level = rng.gauss(0, 1), rng.gauss(0, 1) + (1e6 if number >= 1500 else 0)
        learning.apply(example(number, {"x": x, "level": level}, x > 0), number)
    assert learning.counts["outlier"] > 100
    assert pickled[0] == 0
    learning.apply(example(3000, {"x": 0.5, "level": 1e40}, True), 3000)
    assert pickled[0] == 2, "what may have no double any more is looked for"
