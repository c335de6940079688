"""Every River estimator goes through the restricted loader and answers as before (S2)."""

from __future__ import annotations

import gc
import importlib
import pickle
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import river
from river import (
    base,
    compose,
    datasets,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
)

from model_store import CannotPickle, Damaged, PickleNotAllowed, dumps, globals_in, loads
from model_store.generate_allowed_names import all_classes, instances, teach
from model_store.restricted_pickle import allowed_globals

_ASKS = ("predict_proba_one", "score_one", "predict_one", "transform_one")


def _answers(model: Any) -> list[str]:
    """Return what a model says of a few events, by every way it has of saying something."""
    rng = random.Random(5)
    said = []
    for _ in range(5):
        features = {"a": rng.random(), "b": rng.gauss(0, 1), "c": 1.0}
        for ask, arguments in (*((ask, (features,)) for ask in _ASKS), ("get", ())):
            try:
                said.append(repr(getattr(model, ask)(*arguments)))
            except Exception as error:  # noqa: BLE001 - then the loaded one must fail in the same way
                said.append(type(error).__name__)
    return said


# River keys its state by addresses in memory (`id(leaf)`), which no way of saving keeps.
_LOST_BY_RIVER = {"RandomTreesEmbedding"}


def test_every_estimator_of_river_answers_the_same_after_loading() -> None:
    equal, talking, different = [], [], set()
    for kind in sorted(all_classes(), key=lambda kind: kind.__qualname__):
        for model in instances(kind):
            teach(model, examples=25)
            try:
                pickled = dumps(model)
            except CannotPickle:
                continue
            before, copy = _answers(model), loads(pickled)
            if _answers(copy) != before:
                different.add(kind.__name__)
                continue
            equal.append(kind)
            if any(not said.endswith("Error") for said in before):
                talking.append(kind)
    estimators = [kind for kind in equal if issubclass(kind, base.Estimator)]
    print(f"River {river.__version__}: {len(equal)} equal, {len(estimators)} of them estimators, {len(talking)} answer")
    assert different == _LOST_BY_RIVER
    assert len(equal) >= 320
    assert len(estimators) >= 150
    assert len(talking) >= 190


@pytest.mark.parametrize("read", [loads, pickle.loads])
def test_what_river_loses_is_not_lost_by_the_loader(read: Any) -> None:
    model = feature_extraction.RandomTreesEmbedding(n_trees=2, seed=1)
    teach(model, examples=25)
    with pytest.raises(KeyError):
        read(dumps(model)).transform_one({"a": 0.5, "b": 0.1, "c": 1.0})


def _grown() -> Iterator[tuple[str, Any, str]]:
    """Yield models, with the kind of their labels, whose parts appear only as they grow."""
    yield "adaptive tree", tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1), "class"
    yield (
        "adaptive regression tree",
        tree.HoeffdingAdaptiveTreeRegressor(grace_period=20, leaf_prediction="mean", seed=1),
        "number",
    )
    yield "regression tree of means", tree.HoeffdingTreeRegressor(grace_period=20, leaf_prediction="mean"), "number"
    yield "tree of majorities", tree.HoeffdingTreeClassifier(grace_period=20, leaf_prediction="mc"), "class"
    yield "fast tree", tree.ExtremelyFastDecisionTreeClassifier(grace_period=20, min_samples_reevaluate=20), "class"
    yield "gradient tree", tree.SGTClassifier(grace_period=20), "class"
    yield "forest", forest.ARFClassifier(n_models=3, seed=1, grace_period=20), "class"
    yield (
        "regression forest",
        forest.ARFRegressor(n_models=3, seed=1, grace_period=20, leaf_prediction="mean"),
        "number",
    )
    yield "patches", ensemble.SRPClassifier(n_models=3, seed=1), "class"
    yield "neighbours", neighbors.KNNClassifier(), "class"
    yield "aggressive", linear_model.PAClassifier(mode=2), "class"
    yield (
        "bagging",
        ensemble.LeveragingBaggingClassifier(linear_model.LogisticRegression(), bagging_method="wt"),
        "class",
    )
    encoder = compose.SelectType(str) | preprocessing.OneHotEncoder()
    scaler = compose.SelectType(float) | preprocessing.StandardScaler()
    yield "pipeline", (encoder + scaler) | linear_model.LogisticRegression(), "class"


_NUMBERS_ONLY = (linear_model.PAClassifier, ensemble.LeveragingBaggingClassifier, neighbors.KNNClassifier)


def _examples(model: Any, label: str, count: int, seed: int) -> list[tuple[dict[str, Any], Any]]:
    rng = random.Random(seed)
    examples = []
    for _ in range(count):
        features: dict[str, Any] = {"a": rng.random(), "b": rng.gauss(0, 1)}
        kind = rng.choice("xyz")
        if not isinstance(model, _NUMBERS_ONLY):
            features["c"] = kind
        number = features["a"] * 3 + (kind == "x")
        examples.append((features, number if label == "number" else number > 1.5))
    return examples


@pytest.mark.parametrize(("model", "label"), [pytest.param(model, label, id=name) for name, model, label in _grown()])
def test_a_grown_model_answers_and_learns_the_same_after_loading(model: Any, label: str) -> None:
    for features, target in _examples(model, label, 600, seed=1):
        model.learn_one(features, target)
    copy = loads(dumps(model))
    ask = "predict_proba_one" if label == "class" else "predict_one"
    for features, target in _examples(model, label, 60, seed=2):
        assert getattr(model, ask)(features) == getattr(copy, ask)(features)
        model.learn_one(features, target)
        copy.learn_one(features, target)


def test_the_list_names_exactly_what_is_there() -> None:
    """A name that is not there was made from another River: run `python -m model_store.generate_allowed_names`."""
    for module, name in allowed_globals():
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
        assert callable(value)
    modules = {module.partition(".")[0] for module, _ in allowed_globals()}
    standard = {"array", "builtins", "collections", "copy", "datetime", "functools", "operator", "random", "re"}
    standard.add("statistics")
    assert modules - standard == {"numpy", "river", "sklearn"}
    for module, most in (("operator", {"itemgetter"}), ("re", {"_compile"}), ("functools", {"partial"})):
        assert {name for home, name in allowed_globals() if home == module} <= most
    builtin = {name for module, name in allowed_globals() if module == "builtins"}
    assert builtin <= {"bool", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}
    assert not any(
        module.startswith(("river.datasets", "river.stream", "river.evaluate")) for module, _ in allowed_globals()
    )


class Mine(base.Transformer):
    """A user's own class."""

    def transform_one(self, x: dict[str, float]) -> dict[str, float]:
        return {name: value * 2 for name, value in x.items()}


def test_a_users_own_class_loads_only_when_it_is_named() -> None:
    pickled = dumps(Mine() | linear_model.LogisticRegression())
    own = (Mine.__module__, "Mine")
    assert own in globals_in(pickled)
    with pytest.raises(PickleNotAllowed, match=r"Mine, which no model of this stream needs"):
        loads(pickled)
    assert loads(pickled, extra=frozenset({own})).transform_one({"a": 1.0})


def test_names_found_by_reading_are_those_that_loading_asks_for() -> None:
    model = tree.HoeffdingTreeClassifier(grace_period=20)
    for features, target in datasets.Phishing().take(300):
        model.learn_one(features, target)
    assert globals_in(dumps(model)) <= allowed_globals()


def _outer() -> tuple[Any, type]:
    class Local:
        pass

    return lambda x: x, Local


def test_what_cannot_be_saved_is_named_with_its_place() -> None:
    function, local = _outer()
    model = compose.FuncTransformer(function) | linear_model.LogisticRegression()
    with pytest.raises(CannotPickle, match=r"a lambda \(.*test_model_store_loading\.py, line \d+\).*def"):
        dumps(model)
    with pytest.raises(CannotPickle, match="Local"):
        dumps([stats.Mean(), local()])
    with pytest.raises(CannotPickle, match="lock"):
        dumps({"lock": threading.Lock()})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CannotPickle, match="too deeply"):
        dumps(deep)


@pytest.mark.parametrize("was_on", [True, False])
@pytest.mark.parametrize("data", [dumps([1]), b"\x80\x05\x93."])
def test_collection_is_left_as_it_was(was_on: bool, data: bytes) -> None:
    gc.enable() if was_on else gc.disable()
    try:
        try:
            loads(data)
        except Damaged:
            assert data != dumps([1])
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


def test_other_threads_run_while_a_model_loads() -> None:
    """A predictor answers while the next version loads: between frames the loader lets others in."""
    data = dumps([{"n": n, "v": [float(n)] * 3} for n in range(150_000)])
    turns, done = 0, threading.Event()

    def load() -> None:
        loads(data)
        done.set()

    loader = threading.Thread(target=load)
    loader.start()
    while not done.is_set():
        turns += 1
        done.wait(0.001)
    loader.join()
    assert turns > 3


def test_a_pipeline_of_words_and_their_neighbours_is_loaded() -> None:
    model = feature_extraction.BagOfWords(ngram_range=(1, 2)) | naive_bayes.MultinomialNB()
    for text, label in (("cheap pills now", True), ("see you now", False)) * 5:
        model.learn_one(text, label)
    assert loads(dumps(model)).predict_proba_one("cheap pills") == model.predict_proba_one("cheap pills")
