"""Hostile files of estimators: none of them executes anything, and none makes compiled code read other memory."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from model_store import VersionRefused, dumps_estimator, loads_estimator

CAP = 1 << 26
X = np.random.default_rng(0).normal(size=(60, 4))
Y = X[:, 0] > 0
TEXTS = ["rain again", "sun today"] * 30
Schema = dict[str, Any]


# --- files that would execute something -------------------------------------------------------------------


def rewritten(change: Callable[[Schema], None], more: dict[str, bytes] | None = None) -> bytes:
    """Return the file of a small estimator with its schema changed, and with further files."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = dumps_estimator(LogisticRegression().fit(X, Y))
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                change(schema)
                data = json.dumps(schema).encode()
            new.writestr(name, data)
        for name, data in (more or {}).items():
            new.writestr(name, data)
    return out.getvalue()


def node(module: str, name: str, loader: str, **more: Any) -> Schema:
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 7000 + len(name), **more}


def text(value: Any) -> Schema:
    return node("builtins", "str", "JsonNode", content=json.dumps(value), is_json=True)


def args(*values: Any) -> Schema:
    return node("builtins", "tuple", "TupleNode", content=[text(value) for value in values])


def functions() -> dict[str, Schema]:
    """Return a node of each function that does as bad when it is called."""
    return {
        f"{module}.{name}": node(module, name, "FunctionNode")
        for module, name in [
            ("os", "system"), ("posix", "system"), ("subprocess", "call"), ("subprocess", "getoutput"),
            ("builtins", "eval"), ("builtins", "exec"), ("builtins", "__import__"), ("importlib", "import_module"),
            ("pickle", "loads"), ("joblib", "load"), ("shutil", "rmtree"), ("ctypes", "CDLL"), ("numpy", "load"),
            ("sklearn.utils._testing", "os.system"), ("webbrowser", "open"), ("pty", "spawn"),
        ]
    }  # fmt: skip


def hostile(marker: Path) -> dict[str, Schema]:
    """Return nodes each of which would write the marker, or do as bad, if it were constructed."""
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    function = functions()
    objects = {
        "an object": node("subprocess", "Popen", "ObjectNode", content=text(command)),
        "a class": node("subprocess", "Popen", "TypeNode"),
        "a partial": node(
            "functools", "partial", "PartialNode",
            content={"func": function["os.system"], "args": args(command), "kwds": text({}), "namespace": text(None)},
        ),
        "a method": node(
            "pathlib", "Path", "MethodNode",
            content={"func": "touch", "obj": node("pathlib", "Path", "ObjectNode", content=text(str(marker)))},
        ),
        "a method caller": node("operator", "methodcaller", "OperatorFuncNode", attrs=args("touch")),
        "an attribute": node("operator", "attrgetter", "OperatorFuncNode", attrs=args("__class__.__mro__")),
        "another operator": node("operator", "call", "OperatorFuncNode", attrs=args(command)),
        "an operator of another module": node("os", "system", "OperatorFuncNode", attrs=args(command)),
        "reduced": node(
            "os", "system", "ReduceNode", content=text({}), __reduce__={"args": args(command)},
        ),
        "reduced as a tree": node(
            "os", "system", "TreeNode", content=text({}), __reduce__={"args": args(command)},
        ),
        "reduced as a loss": node(
            "os", "system", "LossNode", content=text({}), __reduce__={"args": args(command)},
        ),
        "constructed": node("subprocess", "Popen", "ConstructorFromReduceNode", content=args(command)),
        "a default": node(
            "collections", "defaultdict", "DefaultDictNode", content={
                "main": node("builtins", "dict", "DictNode", content={}, key_types=node("builtins", "list", "ListNode",
                             content=[])),
                "default_factory": node("subprocess", "Popen", "TypeNode"),
            },
        ),
        "a kind of tuple": node("subprocess", "Popen", "TupleNode", content=[text(command)]),
        "a kind of list": node("subprocess", "Popen", "ListNode", content=[text(command)]),
        "a kind of dictionary": node(
            "subprocess", "Popen", "DictNode", content={"args": text(command)},
            key_types=node("builtins", "list", "ListNode", content=[node("builtins", "str", "TypeNode")]),
        ),
        "a kind of array": node("subprocess", "Popen", "NdArrayNode", type="json", content=[text(command)],
                                shape=args(1)),
        "a pickle as an array": node("numpy", "ndarray", "NdArrayNode", type="numpy", file="bad.npy"),
        "a pickle as a matrix": node("scipy.sparse._csr", "csr_matrix", "SparseMatrixNode", type="scipy",
                                     file="bad.npz"),
        "a generator": node(
            "numpy.random._generator", "Generator", "RandomGeneratorNode",
            content={"bit_generator": text({"bit_generator": "seed"}), "seed_seq": text({})},
        ),
        "a data type": node("subprocess", "Popen", "DTypeNode", content=text(code)),
        "an older loader": {**node("subprocess", "Popen", "ObjectNode", content=text(command)), "__protocol__": 0},
    }  # fmt: skip
    return {**function, **objects}


class _Touches:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def pickled(marker: Path) -> dict[str, bytes]:
    """Return arrays whose values are pickles."""
    array, matrix = io.BytesIO(), io.BytesIO()
    bad = np.array([_Touches(marker)], dtype=object)
    np.save(array, bad, allow_pickle=True)
    np.savez(matrix, data=bad, indices=[0], indptr=[0, 1], shape=(1, 1), format=b"csr")
    return {"bad.npy": array.getvalue(), "bad.npz": matrix.getvalue()}


NAMES = tuple(hostile(Path("x")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", ["whole", "parameter"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_executed(name: str, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    def change(schema: Schema) -> None:
        bad = hostile(marker)[name]
        if place == "whole":
            protocol = schema["protocol"]
            schema.clear()
            schema.update({**bad, "protocol": bad.pop("__protocol__", protocol), "_skops_version": "0.16"})
        else:
            schema["content"]["content"]["C"] = bad

    with pytest.raises(VersionRefused):
        loads_estimator(rewritten(change, pickled(marker)), cap_bytes=CAP)
    assert not marker.exists()


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) + len(MEMORY) >= 40


# --- files that would make compiled code follow an index to other memory ----------------------------------


def _with(model: Any, change: Callable[[Any], None]) -> Any:
    change(model)
    return model


def _set(array: Any, place: Any, value: Any) -> None:
    array[place] = value


def trees() -> Any:
    return HistGradientBoostingClassifier(max_iter=3, random_state=1).fit(X, Y)


def bad_tree(field: str, value: int) -> Any:
    model = DecisionTreeClassifier(random_state=1).fit(X, Y)
    state = model.tree_.__getstate__()
    state["nodes"][field][0] = value
    model.tree_.__setstate__(state)
    return model


def bad_boosted(field: str, value: int) -> Any:
    model = trees()
    model._predictors[0][0].nodes[field][0] = value
    return model


def bad_neighbours() -> Any:
    model = KNeighborsClassifier(algorithm="kd_tree").fit(X, Y)
    state = [*model._tree.__getstate__()]
    state[1] = np.array(state[1])
    state[1][0] = 1 << 40
    model._tree.__setstate__(tuple(state))
    return model


def bad_matrix() -> Any:
    model = LogisticRegression().fit(X, Y).sparsify()
    model.coef_ = sparse.csr_matrix(model.coef_)
    model.coef_.indices[0] = 1 << 20
    return model


def smaller_trees() -> Any:
    model = RandomForestClassifier(3, random_state=1).fit(X, Y)
    model.n_features_in_ = 2
    return model


MEMORY: dict[str, Callable[[], Any]] = {
    "a child beyond the tree": lambda: bad_tree("left_child", 1 << 40),
    "a child before its parent": lambda: bad_tree("right_child", 0),
    "a feature that is not there": lambda: bad_tree("feature", 99),
    "a negative feature": lambda: bad_tree("feature", -3),
    "a forest with fewer features than its trees": smaller_trees,
    "boosting with a tree of more features": lambda: _with(
        GradientBoostingClassifier(n_estimators=2).fit(X, Y), lambda model: setattr(model, "n_features_in_", 1)
    ),
    "a boosted child beyond the tree": lambda: bad_boosted("left", 4_000_000_000),
    "a boosted loop": lambda: bad_boosted("right", 0),
    "a boosted feature that is not there": lambda: bad_boosted("feature_idx", 1 << 40),
    "a boosted category without a set": lambda: bad_boosted("is_categorical", 1),
    "a neighbour that is not there": bad_neighbours,
    "a vocabulary beyond its matrix": lambda: _with(
        DictVectorizer().fit([{"a": 1.0, "b": 2.0}]), lambda model: model.vocabulary_.update(a=1 << 40)
    ),
    "words beyond their matrix": lambda: _with(
        CountVectorizer().fit(TEXTS), lambda model: model.vocabulary_.update(rain=1 << 40)
    ),
    "a category beyond its columns": lambda: _with(
        OneHotEncoder().fit([["a"], ["b"]]), lambda model: _set(model._n_features_outs, 0, 1)
    ),
    "a matrix with a column that is not there": bad_matrix,
    "more support vectors than there are": lambda: _with(
        SVC().fit(X, Y), lambda model: _set(model._n_support, 0, 1 << 20)
    ),
    "a reader of files": lambda: make_pipeline(HashingVectorizer(input="filename"), LogisticRegression()).fit(
        [__file__] * 60, Y
    ),
    "a reader of files inside": lambda: TfidfVectorizer(input="filename", vocabulary={"a": 0}).fit([__file__]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MEMORY)
def test_an_index_that_points_outside_is_refused(name: str) -> None:
    with pytest.raises(VersionRefused, match="inside"):
        loads_estimator(dumps_estimator(MEMORY[name]()), cap_bytes=CAP)


@pytest.mark.filterwarnings("ignore")
def test_what_points_inside_is_loaded() -> None:
    categories = np.array([["a"], ["b"], ["c"]] * 20, dtype=object)
    whole = [
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(
            np.column_stack([np.arange(60) % 3, X]), Y
        ),
        GradientBoostingClassifier(n_estimators=3).fit(X, Y),
        RandomForestClassifier(3, max_leaf_nodes=5).fit(X, Y),
        KNeighborsClassifier(algorithm="kd_tree").fit(X, Y),
        SVC(probability=True).fit(X, np.arange(60) % 3),
        OneHotEncoder(min_frequency=5, drop="first").fit(categories),
        OneHotEncoder(max_categories=2).fit(categories),
        make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1.0, "b": "x"}, {"a": 2.0}], [False, True]),
        make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, Y),
        FunctionTransformer(np.log1p),
        LogisticRegression().fit(sparse.csr_matrix(X), Y).sparsify(),
    ]
    for model in whole:
        assert type(loads_estimator(dumps_estimator(model), cap_bytes=CAP)) is type(model)
