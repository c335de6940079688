"""Batch models in a stream file: what is refused, and rules that name them."""

from __future__ import annotations

from typing import Any

import pytest
from river import linear_model
from sklearn.linear_model import LogisticRegression

from millstream import BatchModel, Model, Pause, Promote, Retrain, Rule, Stream
from millstream.stream.errors import InvalidStream
from millstream.stream.promotion_rule import promotion_rule


def stream(**more: Any) -> Stream:
    given: dict[str, Any] = {"batch": {"gbdt": BatchModel(LogisticRegression)}, **more}
    return Stream(name="s", task="binary", model=linear_model.LogisticRegression, **given)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"alerts": [Rule("drift", do=[Retrain("forest")])]}, r"names no batch model; there are gbdt"),
        ({"alerts": [Rule("drift", do=[Retrain("gbdt")])], "batch": {}}, r"names no batch model; batch= has none"),
        ({"alerts": [Rule("drift", do=[Pause("gbdt")])]}, r"there is no model 'gbdt'; there are main"),
    ],
)
def test_rules_name_models_that_can_do_it(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidStream, match=words):
        stream(**more)


def test_a_rule_may_ask_for_a_batch_model_and_alerts_may() -> None:
    asked = BatchModel(LogisticRegression, retrain_on=["monitor.drift", "predictor.dead-letters"])
    stream(alerts=[Rule("drift", do=[Retrain("gbdt")])], batch={"gbdt": asked})
    with pytest.raises(InvalidStream, match="would ask for itself again"):
        BatchModel(LogisticRegression, retrain_on=["trainer.failed.gbdt"])


def test_the_rule_promotes_batch_models_but_none_that_a_person_serves() -> None:
    batch = {"gbdt": BatchModel(LogisticRegression), "mine": BatchModel(LogisticRegression, deploy="by-hand")}
    rule = promotion_rule(stream(models={"b": Model(linear_model.LogisticRegression)}, batch=batch, promote=Promote()))
    assert rule is not None
    assert rule.models == ("s", "s.b", "s.gbdt")
