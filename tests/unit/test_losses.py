"""Losses of answers: each stays within its bound, and an answer that is missing or unusable costs the bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from consumers.referee.losses import Loss, LossRule
from millstream import Cost, Model, Promote, Stream
from millstream.stream.promotion_rule import loss_rule
from schemas.target import Target, TargetError

BINARY = Target(task="binary")
COLOURS = Target(task="multiclass", classes=("red", "green", 3))
OPEN = Target(task="multiclass")
NUMBER = Target(task="regression")


@pytest.mark.parametrize(
    ("rule", "label", "prediction", "shares", "loss"),
    [
        (LossRule(BINARY, "error"), 1, True, {"true": 0.2, "false": 0.8}, 0.0),
        (LossRule(BINARY, "error"), "no", True, None, 1.0),
        (LossRule(BINARY, "error"), False, None, {"true": 0.7}, 1.0),
        (LossRule(BINARY, "error"), True, None, {"true": 0.7}, 0.0),
        (LossRule(COLOURS, "error"), "3", 3, None, 0.0),
        (LossRule(COLOURS, "error"), 3, None, {"3": 0.5, "red": 0.4}, 0.0),
        (LossRule(COLOURS, "error"), "red", None, {"3": 0.5, "red": 0.4}, 1.0),
        (LossRule(BINARY, "brier"), True, True, {"true": 0.75, "false": 0.25}, 0.0625),
        (LossRule(BINARY, "brier"), False, True, {"true": 0.75, "false": 0.25}, 0.5625),
        (LossRule(BINARY, "brier"), True, False, None, 1.0),
        (LossRule(COLOURS, "brier"), "red", "red", {"red": 0.5, "green": 0.25, "3": 0.25}, 0.375),
        (LossRule(COLOURS, "brier"), 3, "red", {"red": 1.0}, 2.0),
        (LossRule(BINARY, "log_loss"), True, True, {"true": 0.5, "false": 0.5}, math.log(2)),
        (LossRule(BINARY, "log_loss"), True, False, {"true": 0.0, "false": 1.0}, -math.log(0.001)),
        (LossRule(OPEN, "log_loss"), "new", "old", {"old": 1.0}, -math.log(0.001)),
        (LossRule(NUMBER, "absolute", most=10.0), 3, 4.5, None, 1.5),
        (LossRule(NUMBER, "absolute", most=10.0), 3, 4e9, None, 10.0),
        (LossRule(BINARY, "cost", false_positive=1.0, false_negative=50.0), True, False, None, 50.0),
        (LossRule(BINARY, "cost", false_positive=1.0, false_negative=50.0), False, True, None, 1.0),
        (LossRule(BINARY, "cost", false_positive=1.0, false_negative=50.0), False, None, {"true": 0.1}, 0.0),
    ],
)
def test_each_loss_is_the_one_that_its_name_says(
    rule: LossRule, label: Any, prediction: Any, shares: dict[str, float] | None, loss: float
) -> None:
    assert Loss(rule)(label, prediction, shares) == pytest.approx(loss, abs=1e-15)


_RULES = [
    LossRule(BINARY, "error"),
    LossRule(BINARY, "brier"),
    LossRule(BINARY, "log_loss"),
    LossRule(BINARY, "cost", false_positive=2.0, false_negative=3.0),
    LossRule(BINARY, "function", most=4.0, function=lambda label, answer: 100 * answer[label]),
    LossRule(OPEN, "brier"),
]


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: f"{rule.target.task}-{rule.kind}")
@pytest.mark.parametrize(
    ("prediction", "shares", "error"),
    [
        (None, None, None),
        (None, {}, None),
        (True, {"true": 1.0}, "predict"),
        (True, {"true": math.nan}, None),
        (math.nan, None, None),
        ({"a": 1.0}, None, None),
    ],
)
def test_no_usable_answer_costs_the_bound(
    rule: LossRule, prediction: Any, shares: dict[str, float] | None, error: str | None
) -> None:
    loss = Loss(rule)
    assert loss(True, prediction, shares, error) == loss.bound == rule.bound


def test_a_number_that_is_none_costs_the_bound() -> None:
    loss = Loss(LossRule(NUMBER, "absolute", most=7.0))
    assert [loss(1.0, each, None) for each in (None, math.inf, "4", True)] == [7.0] * 4


@given(
    st.sampled_from(_RULES[:5]),
    st.booleans(),
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3)),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["true", "false", "other"]), st.floats())),
)
def test_whatever_stands_on_the_topic_the_loss_is_between_0_and_the_bound(
    rule: LossRule, label: bool, prediction: Any, shares: dict[str, float] | None
) -> None:
    assert 0.0 <= Loss(rule)(label, prediction, shares) <= rule.bound


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.999)), min_size=1, max_size=20))
def test_they_agree_with_rivers_metrics(answers: list[tuple[bool, float]]) -> None:
    theirs = metrics.LogLoss(), metrics.Accuracy()
    ours = Loss(LossRule(BINARY, "log_loss")), Loss(LossRule(BINARY, "error"))
    sums = [0.0, 0.0]
    for label, share in answers:
        theirs[0].update(label, share)
        theirs[1].update(label, share > 0.5)
        for number, loss in enumerate(ours):
            sums[number] += loss(label, share > 0.5, {"true": share, "false": 1.0 - share})
    assert sums[0] / len(answers) == pytest.approx(theirs[0].get(), abs=1e-9)
    assert sums[1] / len(answers) == pytest.approx(1.0 - theirs[1].get(), abs=1e-12)


def test_a_function_gets_the_probabilities_by_class_as_labels_are_spelled() -> None:
    told: list[Any] = []
    keep = LossRule(BINARY, "function", most=1.0, function=lambda label, answer: told.append((label, answer)) or 0.5)
    assert Loss(keep)("yes", None, {"true": 0.75}) == 0.5
    by_class = LossRule(COLOURS, "function", most=1.0, function=keep.function)
    Loss(by_class)("red", None, {"3": 0.5, "red": 0.25})
    Loss(LossRule(OPEN, "function", most=1.0, function=keep.function))(7, 8, None)
    score = LossRule(Target(task="anomaly"), "function", most=1.0, function=keep.function)
    Loss(score)(True, 0.9, None)
    assert told == [
        (True, {True: 0.75, False: 0.25}),
        ("red", {"red": 0.25, 3: 0.5}),
        (7, {7: 0.0, 8: 1.0}),
        (True, 0.9),
    ]


@pytest.mark.parametrize("function", [lambda label, answer: 1 / 0, lambda label, answer: math.nan, lambda *_: "x"])
def test_a_function_that_fails_costs_the_bound_and_is_counted(function: Any) -> None:
    loss = Loss(LossRule(BINARY, "function", most=4.0, function=function))
    assert loss(True, True, None) == 4.0
    assert loss.failed == 1


def test_a_label_that_the_target_does_not_have_is_an_error_of_the_caller() -> None:
    with pytest.raises(TargetError, match="not in the class set"):
        Loss(LossRule(COLOURS, "error"))("blue", "red", None)


def _stream(task: Any, promote: Promote | None) -> Stream:
    return Stream(name="s", task=task, model=lambda: None, models={"b": Model(lambda: None)}, promote=promote)


def test_the_loss_of_a_stream_is_that_of_its_rule() -> None:
    cost = loss_rule(_stream("binary", Promote(loss=Cost(false_positive=1, false_negative=50))))
    assert cost is not None
    assert (cost.kind, cost.bound) == ("cost", 50.0)
    distance = loss_rule(_stream("regression", Promote(loss="absolute", most=20.0)))
    assert distance is not None
    assert distance.bound == 20.0
    own = loss_rule(_stream("regression", Promote(loss=lambda label, answer: 1.0, most=2.0)))
    assert own is not None
    assert Loss(own)(1.0, 2.0, None) == 1.0


def test_without_a_rule_classes_are_compared_by_errors_and_numbers_not_at_all() -> None:
    plain = loss_rule(_stream("multiclass", None))
    assert plain is not None
    assert plain.kind == "error"
    assert loss_rule(_stream("regression", None)) is None
