"""Whether one example has ruined a model: by answers on other events, and by the numbers it is made of."""

from __future__ import annotations

import random
from typing import Any

import pytest
from river import linear_model, naive_bayes, preprocessing

from consumers.model.fingerprint import Probes
from consumers.model.outlier_influence import MOST, moved, ruin, stand
from consumers.model.river_model import Answer, RiverModel, wrap
from schemas.target import Task


def learned(task: Task, model: Any, count: int = 400) -> tuple[RiverModel, Probes]:
    rng, wrapped, probes = random.Random(1), wrap(model, task), Probes()
    for _ in range(count):
        features: dict[str, Any] = {"x": rng.gauss(0, 1), "y": rng.gauss(0, 1)}
        truth = features["x"] + 0.3 * rng.gauss(0, 1)
        wrapped.learn(features, truth if task == "regression" else truth > 0, 1.0)
        probes.add(features)
    return wrapped, probes


CASES: list[Any] = [
    pytest.param("binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), id="logistic"),
    pytest.param("binary", naive_bayes.GaussianNB, id="naive Bayes"),
    pytest.param("regression", lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(), id="linear"),
]


@pytest.mark.parametrize(("task", "make"), CASES)
@pytest.mark.parametrize("value", [1e12, 1e200, 1e308])
def test_one_extreme_number_is_ruin_and_one_ordinary_is_not(task: Task, make: Any, value: float) -> None:
    model, probes = learned(task, make())
    before = stand(model, probes)
    label = 0.5 if task == "regression" else True
    model.learn({"x": 0.6, "y": 0.1}, label, 1.0)
    assert ruin(before, stand(model, probes)) is None
    try:
        model.learn({"x": value, "y": 0.1}, label, 1.0)
    except OverflowError:
        return  # it says so itself
    assert ruin(before, stand(model, probes)) is not None


def test_a_variance_that_is_infinite_is_ruin_before_any_answer_shows_it() -> None:
    model, probes = learned("binary", preprocessing.StandardScaler() | linear_model.LogisticRegression(), count=3)
    before = stand(model, probes)
    model.learn({"x": 1e200, "y": 0.1}, True, 1.0)
    assert ruin(before, stand(model, probes)) == "numbers are not finite any more"


def test_answers_that_are_gone_are_ruin_and_a_model_that_never_had_any_is_not_judged() -> None:
    model, probes = learned("binary", naive_bayes.GaussianNB())
    had, gone = stand(model, probes), stand(model, probes)._replace(answers=None)
    assert ruin(had, gone) == "answers on other events are no numbers any more"
    assert ruin(gone, had) is None


def test_how_far_answers_moved_is_in_points_of_probability_or_of_how_far_they_are_apart() -> None:
    sure, unsure = Answer(True, {True: 0.9, False: 0.1}), Answer(True, {True: 0.6, False: 0.4})
    assert moved([sure, sure], [sure, unsure]) == pytest.approx(0.15)
    young = [Answer(True, {True: 0.501, False: 0.499}), Answer(False, {True: 0.499, False: 0.501})]
    even = [Answer(True, {True: 0.5, False: 0.5})] * 2
    assert moved(young, even) > MOST  # a tenth of a point, and all that there was to know
    assert moved([Answer("a", None), Answer("b", None)], [Answer("a", None), Answer("a", None)]) == 0.5
    assert moved([], []) == 0.0
