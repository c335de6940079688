"""Several models of one stream: what a stream file may say, what each model sees, and what its versions are named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from river import linear_model
from user_files import forgetful, write

from millstream import Calendar, Cost, Feature, Guard, Model, Promote, Stream
from millstream.stream.code_object import decode
from millstream.stream.errors import InvalidStream, LoadError
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.version_code.choice import run_code
from model_store import InvalidVersion, VersionId
from schemas.events import Features, Lane
from schemas.fast_examples import FastExample
from schemas.topics import Names

__all__ = ["forgetful"]

FILE = """
from river import linear_model, tree
from millstream import Feature, Model, Stream

class Own(linear_model.LogisticRegression):
    pass

stream = Stream(
    name="fraud", task="binary", label="y", features={features},
    model=lambda: linear_model.LogisticRegression(),
    models={{
        "tree": Model(lambda: tree.HoeffdingTreeClassifier(grace_period={grace})),
        "few": Model(lambda: Own(), sees=["a"]),
    }},
)
"""


def put(folder: Path, body: str) -> str:
    folder.mkdir(exist_ok=True)
    return write(folder, body, "fraud.py")


def make() -> Any:
    return linear_model.LogisticRegression()


def stream(**more: Any) -> Stream:
    return Stream(**{"name": "fraud", "task": "binary", "model": make, **more})


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Model("tree"), r"Model: make must be a function"),  # type: ignore[arg-type]
    (lambda: Model(make, sees="amount"), r"Model: sees='amount' must be names of features"),
    (lambda: Model(make, sees=[]), r"Model: sees=\[\] leaves the model without features"),
    (lambda: Model(make, sees=[1]), r"Model: sees=\[1\] must be names"),  # type: ignore[list-item]
    (lambda: stream(models=[Model(make)]), r"models=\[.* must name models, such as \{'forest': Model"),
    (lambda: stream(models={"A b": Model(make)}), r"models='A b' must be named with 1 to 31 of a-z"),
    (lambda: stream(models={"x" * 32: Model(make)}), r"must be named with 1 to 31"),
    (lambda: stream(models={"main": Model(make)}), r"models='main': that name means the stream's own model"),
    (lambda: stream(models={"fraud": Model(make)}), r"models='fraud': that name means the stream's own model"),
    (lambda: stream(models={"a": make}), r"models='a' must be Model\(...\)"),
    (lambda: stream(models={f"m{n}": Model(make) for n in range(17)}), r"models= has 17; at most 16"),
    (lambda: stream(promote=Promote()), r"promote= needs models="),
    (lambda: stream(models={"a": Model(make)}, promote=True), r"promote=True must be Promote"),
    (
        lambda: stream(models={"a": Model(make)}, promote=Promote(loss="absolute", most=1)),
        r"use error or brier or log_loss",
    ),
    (lambda: Promote(loss="rmse"), r"loss='rmse' must be one of error, brier, log_loss, absolute"),  # type: ignore[arg-type]
    (lambda: Promote(loss="absolute"), r"this loss has no bound of its own: add most="),
    (lambda: Promote(loss=lambda label, answer: 0.0), r"add most="),
    (lambda: Promote(loss="brier", most=1), r"most= is for loss='absolute' and functions"),
    (lambda: Promote(alpha=0), r"alpha=0 must be a number, above 0 and below 1"),
    (lambda: Promote(alpha=float("nan")), r"alpha=nan must be a number"),
    (lambda: Promote(at_least=-1), r"at_least=-1 must be a number, at least 0"),
    (lambda: Promote(labels=0), r"labels=0 must be a whole number"),
    (lambda: Promote(contest="soon"), r"contest="),
    (lambda: Promote(guard=0.1), r"guard=0.1 must be Guard"),  # type: ignore[arg-type]
    (lambda: Guard(errors=0), r"errors=0 must be a number, above 0 and at most 1"),
    (lambda: Cost(false_positive=0, false_negative=1), r"Cost: false_positive=0 must be a number, above 0"),
    (lambda: stream(slices=["country"]), r"slices=\['country'\] must name slices"),
    (lambda: stream(slices={"large": 3}), r"slices\['large'\]=3 must be a comparison"),
    (lambda: stream(slices={" ": "country"}), r"slices=' ' must be named with a text"),
    (lambda: stream(shadow_share=1.5), r"shadow_share=1.5 must be a number from 0 to 1"),
    (lambda: stream(shadow_share=True), r"shadow_share=True"),
    (
        lambda: stream(features={"a": "number"}, models={"few": Model(make, sees=["b"])}),
        r"Model: few sees 'b', which is not in features=",
    ),
]


@pytest.mark.parametrize(("wrong", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_what_cannot_be_meant_is_refused_with_the_way_out(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidStream, match=said):
        wrong()


def test_a_cost_is_for_binary_streams_and_a_function_for_any() -> None:
    several = {"models": {"a": Model(make)}}
    cost = Promote(loss=Cost(false_positive=1, false_negative=50))
    assert stream(promote=cost, **several).promote is cost
    with pytest.raises(InvalidStream, match="is for task='binary'"):
        stream(task="multiclass", promote=cost, **several)
    stream(task="regression", promote=Promote(loss=lambda label, answer: 0.0, most=1), **several)


@pytest.fixture
def loaded(tmp_path: Path, forgetful: None) -> Any:
    return load_stream(put(tmp_path, FILE.format(features="{}", grace=200)))


def test_each_model_has_its_id_its_definition_and_its_code(loaded: Any) -> None:
    assert [each.model_id for each in loaded.each_model] == ["fraud", "fraud.tree", "fraud.few"]
    definitions = [definition_of(each) for each in loaded.each_model]
    assert len({each.hash for each in definitions}) == 3
    assert [each.model for each in definitions] == ["fraud", "fraud.tree", "fraud.few"]
    for each in loaded.each_model:
        ran = run_code(decode(each.code))
        assert (ran.model_id, ran.definition) == (each.model_id, each.definition)
    ran = run_code(decode(loaded.code))
    assert [each.definition for each in ran.each_model] == [each.definition for each in loaded.each_model]
    assert loaded.of_model("main") is loaded
    with pytest.raises(LoadError, match="it has no model 'oak'; its models are main, tree, few"):
        loaded.of_model("oak")


def test_a_change_of_one_model_leaves_the_others_what_they_were(tmp_path: Path, forgetful: None, loaded: Any) -> None:
    del sys.modules["fraud"]  # as a process that starts after the change
    after = load_stream(put(tmp_path, FILE.format(features="{}", grace=99)))
    same = [a.definition == b.definition for a, b in zip(loaded.each_model, after.each_model, strict=True)]
    assert same == [True, False, True]


ALONE = """
from river import linear_model
from millstream import Model, Promote, Stream

stream = Stream(
    name="fraud", task="binary", label="y", model=lambda: linear_model.LogisticRegression(),{more}
)
"""
MORE = """
    models={"b": Model(lambda: linear_model.Perceptron())}, slices={"x": "x > 1"}, shadow_share=0.5,
    promote=Promote(loss="brier"),"""


def test_the_streams_own_model_is_the_same_with_and_without_others(tmp_path: Path, forgetful: None) -> None:
    one = load_stream(put(tmp_path / "a", ALONE.replace("{more}", "")))
    two = load_stream(put(tmp_path / "b", ALONE.replace("{more}", MORE)))
    assert len(two.each_model) == 2
    assert definition_of(one).hash == definition_of(two).hash
    assert definition_of(one).contract == definition_of(two).contract


def entry(features: Features) -> FastExample:
    return FastExample("e", features, False, None, None, True, 1.0, False, Lane("0", "x", 0), None)


@pytest.mark.parametrize("features", [{}, {"a": Feature(minimum=0.0), "b": Feature()}], ids=["open", "declared"])
def test_a_model_learns_what_it_sees_and_nothing_else(features: dict[str, Feature]) -> None:
    whole = stream(features=features, models={"few": Model(make, sees=["a"])})
    few = whole.of_model("few")
    assert learning_rules(few).fit(entry({"a": 1.0, "b": 2.0})) == ({"a": 1.0}, True)
    assert learning_rules(whole).fit(entry({"a": 1.0, "b": 2.0})) == ({"a": 1.0, "b": 2.0}, True)
    assert few.seen.fingerprint() != whole.seen.fingerprint()


def test_a_feature_that_is_added_for_one_model_leaves_what_the_others_see_unchanged() -> None:
    models = {"few": Model(make, sees=["a"]), "all": Model(make)}
    before = stream(features={"a": "number", "b": "number"}, models=models)
    after = replace(before, features={"a": "number", "b": "number", "c": "string"})
    assert before.of_model("few").seen.fingerprint() == after.of_model("few").seen.fingerprint()
    assert before.of_model("all").seen.fingerprint() != after.of_model("all").seen.fingerprint()


def test_of_a_calendar_a_model_sees_the_parts_that_it_names() -> None:
    calendar = Calendar("hour", "weekday", tz="UTC")
    few = stream(calendar=calendar, models={"few": Model(make, sees=["a", "hour"])}).of_model("few")
    assert few.seen.calendar is not None
    assert few.seen.calendar.parts == ("hour",)
    assert few.seen.apply({"a": 1.0, "hour": 3, "weekday": 2}) == {"a": 1.0, "hour": 3}
    none = stream(calendar=calendar, models={"few": Model(make, sees=["a"])}).of_model("few")
    assert none.seen.calendar is None


def test_the_names_of_versions_say_the_model_where_it_is_not_the_streams_own() -> None:
    named = VersionId("fraud.tree", 1, 20)
    assert (str(named), str(VersionId("fraud", 1, 20))) == ("tree:1/20", "1/20")
    assert VersionId.parse("tree:1/20", "fraud") == named
    assert VersionId.parse("1/20", "fraud.tree") == named
    assert VersionId.parse("main:1/20", "fraud.tree") == VersionId("fraud", 1, 20)
    for wrong in ("tree:", "tree/1/20", ":1/20", "Tree:1/20", "a.b:1/20", "tree:1/20 "):
        with pytest.raises(InvalidVersion):
            VersionId.parse(wrong, "fraud")
    for wrong in ("fraud.", ".tree", "fraud.tree.more", "fraud.Tree", "../x"):
        with pytest.raises(InvalidVersion):
            VersionId(wrong, 1, 20)


def test_only_a_stream_of_several_models_has_the_topics_of_comparisons() -> None:
    assert not {"shadows", "comparisons"} & {*Names("fraud").kinds}
    assert {"shadows", "comparisons"} <= {*Names("fraud", models=("tree",)).kinds}
