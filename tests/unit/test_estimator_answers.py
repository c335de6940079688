"""Estimators of scikit-learn behind the interface of River's models: labels, forms of rows, batches and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from store_parts import draft, store_on, version

from consumers.model.checkpoints import cpu_name
from consumers.model.estimator_model import decides_by_share, wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.river_model import ModelError
from consumers.model.row_form import RowForm, class_array
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from model_store import MemoryBackend, VersionRefused, dumps_estimator, loads_estimator
from schemas.events import Features, Scalar
from schemas.target import Task

ROWS: list[Features] = [{"x": float(n % 7), "y": 1.0 / (n + 1), "by": "sea" if n % 3 else "air"} for n in range(60)]


def tree_on_dicts(seed: int = 1) -> Any:
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=5, random_state=seed))


def fit(make: Callable[[], Any], labels: list[Scalar], task: Task, rows: Any = "dicts", **more: Any) -> Any:
    """Return a fitted estimator behind its interface, after a way through its file and the form's JSON."""
    several = more.pop("several", ROWS)
    form = RowForm.of(rows, several, **more)
    y, classes = class_array(labels, task)
    plain = {**form.as_json(), "classes": list(classes)}
    estimator = make().fit(form.matrix(several), y)
    loaded = loads_estimator(dumps_estimator(estimator), cap_bytes=1 << 26)
    return wrap_estimator(loaded, task, RowForm.from_json(json.loads(json.dumps(plain))))


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([n % 7 > 3 for n in range(60)], "binary"),
        (["abc"[n % 3] for n in range(60)], "multiclass"),
        (["a\0", "a"] * 30, "multiclass"),  # numpy's texts of fixed width make these equal
        ([n % 3 for n in range(60)], "multiclass"),
        ([2**80 + n % 3 for n in range(60)], "multiclass"),
        ([1, "one", False] * 20, "multiclass"),  # numpy makes texts of these by a rule of its own
    ],
)
def test_classes_are_spelled_as_the_log_spells_them(labels: list[Scalar], task: Task) -> None:
    there = fit(tree_on_dicts, labels, task)
    met: set[str] = set()
    for features in ROWS:
        answer = there.predict(features)
        assert {repr(each) for each in answer.probabilities} == {repr(each) for each in labels}
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.value is max(answer.probabilities, key=answer.probabilities.get)
        met.add(repr(answer.value))
    assert met <= {repr(each) for each in labels}


def test_a_regressor_answers_with_a_plain_number() -> None:
    there = fit(
        lambda: make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingRegressor(max_iter=5)),
        [float(n % 7) for n in range(60)],
        "regression",
    )
    answer = there.predict(ROWS[3])
    assert type(answer.value) is float
    assert answer.probabilities is None
    assert there.decide(ROWS[3]) == there.as_said(ROWS[3]) == answer


def frame() -> Any:
    columns: ColumnTransformer = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["by"]), remainder="passthrough"
    )
    return make_pipeline(columns, HistGradientBoostingClassifier(max_iter=5, random_state=1))


@pytest.mark.parametrize("make", [tree_on_dicts, frame])
def test_missing_features_and_unknown_texts_have_answers(make: Callable[[], Any]) -> None:
    there = fit(make, [n % 7 > 3 for n in range(60)], "binary", "frame" if make is frame else "dicts")
    for features in ({"x": 1.0}, {}, {"x": None, "by": None}, {"by": "rail", "x": 3, "new": "text"}):
        assert there.predict(features).probabilities is not None, features


def test_the_kinds_of_a_frame_are_those_of_training_not_of_the_batch() -> None:
    several: list[Features] = [{"n": 1, "t": "a", "b": True, "v": [1.0, 2.0], "raw": b"x"}, {"n": 2.5, "v": [3.0, 4.0]}]
    form = RowForm.of("frame", several)
    assert [(each.name, each.kind, each.width) for each in form.columns] == [
        ("b", "number", 1), ("n", "number", 1), ("t", "text", 1), ("v", "vector", 2),
    ]  # fmt: skip
    for batch in (several, [{}], [{"t": 3}], several[1:]):
        made = form.matrix(batch)
        assert list(made.columns) == ["b", "n", "t", "v.0", "v.1"]
        assert [str(each) for each in made.dtypes] == ["float64", "float64", "object", "float64", "float64"]
    assert form.matrix([{"t": 3}])["t"][0] == "3"
    assert form.matrix([{"t": None}])["t"][0] == ""
    for refused in ({"n": "3"}, {"v": [1.0]}, {"v": 1.0}, {"t": b"x"}):
        with pytest.raises(ModelError):
            form.matrix([refused])
    with pytest.raises(ModelError, match="is a vector in some rows, and a number in others"):
        RowForm.of("frame", [{"v": [1.0]}, {"v": 1.0}])


def test_texts_are_hashed_from_a_column() -> None:
    texts = ("rain again", "sun today", "")
    several: list[Features] = [{"text": texts[n % 3]} for n in range(60)]
    there = fit(
        lambda: make_pipeline(
            make_column_transformer((HashingVectorizer(n_features=64, alternate_sign=False), "text")),
            LogisticRegression(),
        ),
        [n % 3 == 0 for n in range(60)],
        "binary",
        "frame",
        several=several,
    )
    assert there.predict({"text": "rain again"}).value is True
    assert there.predict({"text": "sun today"}).value is False
    assert there.predict({}).value is False


def test_a_vector_is_the_matrix() -> None:
    several: list[Features] = [{"image": [float(n % 2), 1.0, 0.5], "other": "text"} for n in range(60)]
    there = fit(LogisticRegression, [n % 2 for n in range(60)], "multiclass", "vector", several=several, vector="image")
    assert there.predict({"image": [1, 1, 0.5]}).value == 1
    for features, words in (({}, "has none"), ({"image": [1.0]}, "has 1 numbers"), ({"image": 1.0}, "has none")):
        with pytest.raises(ModelError, match=words):
            there.predict(features)
    with pytest.raises(ModelError, match="there are no numbers, 3"):
        RowForm.of("vector", [*several, {}], vector="image")


def test_dicts_have_vectors_spread_and_no_bytes() -> None:
    form = RowForm.of("dicts", [])
    assert form.matrix([{"v": [1.0, 2.0], "raw": b"x", "n": 1}]) == [{"v.0": 1.0, "v.1": 2.0, "n": 1}]
    assert form.matrix([ROWS[0]])[0] is ROWS[0]


@pytest.mark.parametrize(
    "batch",
    [
        [{"x": 1.5, "y": 2}, {"x": True, "y": -0.0}],
        [{"y": 1.5, "x": float("nan")}] * 3,
        [{"x": 1.0}, {"x": 2.0, "new": 3.0}],
        [{"new": 1.0}] * 2,
        [{}, {}],
        [{"x": 1.0, "y": None}],
        [{"x": "text", "y": 1.0}],
        [{"x": 10**400}],
        [{"x": [1.0, 2.0], "raw": b"x"}],
    ],
)
def test_numbers_by_name_are_the_matrix_that_the_vectorizer_makes(batch: list[Features]) -> None:
    rows: list[Features] = [{"x": float(n % 7), "y": n, "z": n % 2} for n in range(60)]
    labels = [n % 7 > 3 for n in range(60)]
    estimator = tree_on_dicts().fit(rows, labels)
    there = wrap_estimator(estimator, "binary", RowForm("dicts"))
    try:
        expected = [dict(zip((False, True), each, strict=True)) for each in estimator.predict_proba(batch).tolist()]
    except (OverflowError, TypeError):
        expected = []
    there.ahead(batch)
    for features, shares in zip(batch, expected, strict=False):
        assert there.predict(features).probabilities == shares


class _Counting:
    """A classifier that refuses some rows, and counts the calls."""

    classes_ = np.array([False, True])
    asked: list[int]

    def __init__(self) -> None:
        self.asked = []

    def predict_proba(self, rows: list[Features]) -> Any:
        self.asked.append(len(rows))
        if any("bad" in each for each in rows):
            raise ValueError("bad")
        return np.array([[0.25, 0.75]] * len(rows))

    def predict(self, rows: list[Features]) -> Any:
        return [True] * len(rows)


def test_a_batch_is_one_call_and_a_refused_event_costs_few_more() -> None:
    model = _Counting()
    there = wrap_estimator(model, "binary", RowForm("dicts"))
    good: list[Features] = [{"n": n} for n in range(64)]
    there.ahead(good)
    assert [there.predict(each).value for each in good] == [True] * 64
    assert model.asked == [64]
    bad = [*good[:20], {"bad": 1}, *good[20:]]
    there.ahead(bad)
    assert len(model.asked) < 2 + 2 * 8
    for each in bad:
        if "bad" in each:
            with pytest.raises(ValueError, match="bad"):
                there.predict(each)
        else:
            assert there.predict(each).probabilities == {False: 0.25, True: 0.75}
    there.ahead([])
    assert there.predict(good[0]).value is True, "one that was not announced"


def test_asked_alone_each_event_is_a_call() -> None:
    model = _Counting()
    there = wrap_estimator(model, "binary", RowForm("dicts").asked_alone())
    there.ahead(ROWS)
    assert model.asked == [1] * 60


def test_the_models_own_decision_is_the_prediction() -> None:
    labels: list[Scalar] = [n % 7 > 3 for n in range(60)]
    low = fit(
        lambda: FixedThresholdClassifier(tree_on_dicts(), threshold=0.01, response_method="predict_proba"),
        labels,
        "binary",
    )
    assert {low.predict(each).value for each in ROWS} == {True}
    ridge = fit(lambda: make_pipeline(DictVectorizer(), RidgeClassifier()), labels, "binary")
    answer = ridge.predict(ROWS[6])
    assert (type(answer.value), answer.probabilities) == (bool, None)
    assert not decides_by_share(make_pipeline(SVC()))
    assert decides_by_share(make_pipeline(DictVectorizer(), RandomForestClassifier()))


def test_answers_that_are_not_finite_are_refused_alone() -> None:
    vectors: list[Features] = [{"v": [float(n % 2)]} for n in range(20)]
    form = RowForm.of("vector", vectors, vector="v")
    naive = GaussianNB().fit(form.matrix(vectors), [n % 2 == 0 for n in range(20)])
    naive.var_[:] = 0.0
    there = wrap_estimator(naive, "binary", form)
    with np.errstate(all="ignore"):
        there.ahead(vectors)
    with pytest.raises(ModelError, match="answered with the probabilities"):
        there.predict(vectors[0])
    line = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    line.coef_ = np.array([float("inf")])
    with pytest.raises(ModelError, match="answered with inf"):
        wrap_estimator(line, "regression", form).predict({"v": [2.0]})


def test_what_is_no_classifier_of_this_task_is_refused() -> None:
    with pytest.raises(ModelError, match="not fitted"):
        wrap_estimator(LogisticRegression(), "binary", RowForm("dicts"))
    fitted = LogisticRegression().fit([[0.0], [1.0]], ["a", "b"])
    with pytest.raises(ModelError, match="the class 'a': a binary stream"):
        wrap_estimator(fitted, "binary", RowForm("dicts"))
    with pytest.raises(ModelError, match="nothing valid about the form"):
        RowForm.from_json({"rows": "lists"})
    with pytest.raises(NotImplementedError):
        wrap_estimator(_Counting(), "binary", RowForm("dicts")).learn({}, True, 1.0)


def test_a_version_with_an_estimator_is_loaded_and_tried_like_any_other() -> None:
    there = fit(tree_on_dicts, [n % 7 > 3 for n in range(60)], "binary")
    probe = [dict(sorted(each.items())) for each in ROWS[:8]]
    store = store_on(MemoryBackend())
    extra = {"form": there.form.as_json(), "probe": probe, "probed": fingerprint(there, probe)}
    files = {"estimator": dumps_estimator(there.model)}
    manifest = store.publish(draft(version(1, 60), cpu=cpu_name(), extra=extra), files)
    loader = VersionLoader(store, "binary", lambda manifest: RunWith(sees=frozenset({"y"})))
    with pytest.raises(ModelError, match="does not answer as it did"):
        loader.load(manifest, None)
    loaded = VersionLoader(store, "binary", lambda manifest: RunWith()).load(manifest, None)
    assert not loaded.apart
    assert [loaded.face.predict(each) for each in ROWS] == [there.predict(each) for each in ROWS]
    formless = store.publish(draft(version(2, 60)), files)
    with pytest.raises(VersionRefused, match="nothing valid about the form"):
        loader.load(formless, None)
