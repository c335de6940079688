"""scikit-learn estimators as files of a version: equal after loading, and nothing else is loaded (S2)."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators
from store_parts import draft, store_on, version
from threadpoolctl import threadpool_limits

from model_store import (
    CannotPickle,
    Damaged,
    MemoryBackend,
    NoSkops,
    PickleNotAllowed,
    VersionRefused,
    dumps_estimator,
    loads_estimator,
)

CAP = 1 << 26
RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(60, 4)))
CLASSES = (X[:, 0] > X[:, 1]).astype(int)
NUMBERS = X @ [1.0, 2.0, 3.0, 4.0]


def fitted(kind: str) -> list[Any]:
    """Return every estimator of a kind that takes plain numbers and fits without parameters."""
    found = []
    for _, make in all_estimators(type_filter=kind):
        try:
            model = make()
            if "n_estimators" in model.get_params():
                model.set_params(n_estimators=10)  # of a hundred, which say no more about loading
            found.append(model.fit(X, CLASSES if kind == "classifier" else NUMBERS))
        except Exception:  # noqa: BLE001, S112 - it needs others inside, or other labels
            continue
    return found


def answers(model: Any) -> list[Any]:
    ask = ("predict", "predict_proba", "decision_function")
    return [getattr(model, name)(X) for name in ask if hasattr(model, name)]


@pytest.mark.parametrize(("kind", "least"), [("classifier", 33), ("regressor", 43)])
@pytest.mark.filterwarnings("ignore")
def test_every_estimator_of_scikit_learn_answers_the_same_after_loading(kind: str, least: int) -> None:
    equal = bitwise = asked = 0
    with threadpool_limits(1):  # threads that wait for each other by spinning take minutes on a busy machine
        models = fitted(kind)
    for model in models:
        loaded = loads_estimator(dumps_estimator(model), cap_bytes=CAP)
        assert type(loaded) is type(model)
        for before, after in zip(answers(model), answers(loaded), strict=True):
            # A matrix may lie in memory otherwise than before, and its product differ in the last bits.
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)
            bitwise += bool(np.array_equal(after, before))
            asked += 1
        equal += 1
    print(f"scikit-learn {sklearn.__version__}: {equal} of kind {kind} equal, {bitwise} of {asked} answers bitwise")
    assert equal >= least
    assert bitwise >= asked - 2


def test_a_pipeline_is_a_file_of_a_version_beside_what_river_learned() -> None:
    columns = ColumnTransformer([("n", StandardScaler(), [0, 1]), ("c", OneHotEncoder(), [2])])
    rows = np.column_stack([X[:, 0], X[:, 1], CLASSES])
    model = make_pipeline(columns, LogisticRegression()).fit(rows, CLASSES)
    store = store_on(MemoryBackend())
    manifest = store.publish(draft(version(1, 60)), {"estimator": dumps_estimator(model)})
    loaded = store.load_estimator(manifest, "estimator")
    np.testing.assert_array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
    with pytest.raises(VersionRefused):
        store.load(manifest, "estimator")  # it is no pickle


def test_an_estimator_needs_the_libraries_that_made_it_and_says_how_to_make_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, store_libraries = store_on(MemoryBackend()), sys.modules["model_store.libraries"]
    with monkeypatch.context() as patch:
        patch.setattr(store_libraries, "_HERE", {**store_libraries.libraries(), "river": "0.1.0"})
        manifest = store.publish(draft(version(1, 60)), {"estimator": dumps_estimator(LogisticRegression())})
    assert store.load_estimator(manifest, "estimator").C == 1.0, "River is no part of it"
    monkeypatch.setattr(store_libraries, "_HERE", {**store_libraries.libraries(), "scikit-learn": "0.1.0"})
    with pytest.raises(VersionRefused, match=r"scikit-learn .*: train it again with `millstream train"):
        store.load_estimator(manifest, "estimator")


def test_an_estimator_that_would_not_be_loaded_again_is_not_saved() -> None:
    with pytest.raises(CannotPickle, match=r"it holds .*os\.system|posix\.system"):
        dumps_estimator(FunctionTransformer(os.system))
    with pytest.raises(CannotPickle, match="cannot be saved"):
        dumps_estimator(make_pipeline(FunctionTransformer(lambda x: x)))


def rewritten(change: Any) -> bytes:
    """Return the file of a small tree with its schema changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = dumps_estimator(LogisticRegression().fit(X, CLASSES))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                change(schema)
                data = json.dumps(schema).encode()
            new.writestr(name, data)
    return out.getvalue()


def _another_type(schema: dict[str, Any]) -> None:
    schema["__class__"], schema["__module__"] = "Popen", "subprocess"


def _another_loader(schema: dict[str, Any]) -> None:
    schema["__loader__"] = "ReduceNode"


def _a_function(schema: dict[str, Any]) -> None:
    schema["content"]["content"]["C"] = {
        "__class__": "function", "__module__": "os", "__loader__": "FunctionNode", "content": "system", "__id__": 7,
    }  # fmt: skip


def _a_method(schema: dict[str, Any]) -> None:
    schema["content"]["content"]["C"] = {
        "__class__": "method", "__module__": "builtins", "__loader__": "MethodNode", "__id__": 8,
        "content": {"func": "__reduce__", "obj": {
            "__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode", "__id__": 9,
        }},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (_another_type, PickleNotAllowed),
        (_a_function, PickleNotAllowed),
        (_another_loader, Damaged),
        (_a_method, Damaged),
    ],
)
def test_what_names_anything_else_is_refused(change: Any, refused: type[VersionRefused]) -> None:
    with pytest.raises(refused):
        loads_estimator(rewritten(change), cap_bytes=CAP)
    assert loads_estimator(rewritten(lambda schema: None), cap_bytes=CAP).C == 1.0


def test_a_file_that_unpacks_to_more_than_the_cap_is_not_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("schema.json", bytes(1 << 24))
    with pytest.raises(Damaged, match=f"at most 100000 and {1 << 20}"):
        loads_estimator(out.getvalue(), cap_bytes=1 << 20)


@pytest.mark.parametrize("number", range(64))
def test_a_damaged_file_is_refused(number: int) -> None:
    whole = rewritten(lambda schema: None)
    for data in (whole[: len(whole) * number // 64], whole[: number * 16] + bytes(32) + whole[number * 16 + 32 :]):
        try:
            loads_estimator(data, cap_bytes=CAP)
        except VersionRefused:
            continue
        assert data != whole[: len(data)] or len(data) == len(whole)  # what was hit is not read


def test_without_skops_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(NoSkops, match=r"pip install 'millstream\[batch\]'"):
        dumps_estimator(RandomForestClassifier())
