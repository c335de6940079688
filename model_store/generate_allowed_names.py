"""Generator of `allowed_pickle_names.json`, the list of names that pickles of River's own models use.

    python -m model_store.generate_allowed_names

It uses two sources, because neither is enough. First, the source of River's classes: every class that a model can
consist of (a tree's leaf appears only when the tree grows, so pickling a few models would miss most), and every method
that a class keeps as a value (`self.calc_tau = self._calc_tau_2`). Second, every estimator, metric, detector and
statistic is built as in River's own tests, trained, pickled, and read with a loader that notes all other names: parts
of numpy, of the standard library, functions.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import pickle
import pkgutil
import random
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import river
from river import base, compat, drift, metrics, stats, utils
from sklearn import linear_model
from sklearn import naive_bayes as sk_bayes

from model_store.restricted_pickle import PROTOCOL
from runtime.exits import OK

# A learner's own state consists of these types, beside River's objects.
_ALWAYS: Final = {
    ("array", "array"),
    ("array", "_array_reconstructor"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("builtins", "complex"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    # Types of parameters that River's own tests leave at their defaults: `on=` of a text pipeline, patterns, n-grams,
    # and the times of a rolling window.
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("river.feature_extraction.vectorize", "find_all_ngrams"),
    ("operator", "itemgetter"),
    ("re", "_compile"),
}
# Names that would let a pickle call anything. They are never listed, even if a model needs them. The loader has its own
# safe forms of `iter`, `range` and `getattr`.
_NEVER: Final = {
    "eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "delattr", "globals", "input", "iter",
    "range",
}  # fmt: skip
# Parts of River that models do not contain: they read files, open sockets, or run evaluations.
_NOT_MODELS: Final = {"checks", "datasets", "envs", "evaluate", "stream", "test_estimators", "conftest", "api"}


class _Noting(pickle.Unpickler):
    """Unpickler that notes all names; it loads only pickles that this process has made."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: set[tuple[str, str]] = set()
        self.attributes: set[tuple[str, str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return self._note_getattr
        self.names.add((module, name))
        return super().find_class(module, name)

    def _note_getattr(self, owner: Any, name: str) -> Any:
        kind = owner if isinstance(owner, type) else type(owner)
        self.attributes.add((kind.__module__, kind.__qualname__, name))
        return getattr(owner, name)


def _of_models(module: str) -> bool:
    root, *parts = module.split(".")
    return root == "river" and _NOT_MODELS.isdisjoint(parts) and not any(part.startswith("test_") for part in parts)


def _modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(river.__path__, "river."):
        if not _of_models(found.name):
            continue
        with contextlib.suppress(ImportError):  # an optional dependency of River is missing
            yield importlib.import_module(found.name)
    # The compiled parts contain modules without files.
    yield from [sys.modules[name] for name in sorted(sys.modules) if name.startswith("river._river_rust")]


def all_classes() -> Iterator[type]:
    """Yield every class of River that a model can consist of, once."""
    seen: set[type] = set()
    for module in _modules():
        waiting = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
        while waiting:
            kind = waiting.pop()
            if kind in seen or not _of_models(kind.__module__) or issubclass(kind, (BaseException, type)):
                continue
            seen.add(kind)
            waiting += [inner for inner in vars(kind).values() if inspect.isclass(inner)]
            if not inspect.isabstract(kind):
                yield kind


def _methods_kept(kind: type) -> Iterator[str]:
    """Yield the names of methods that a class uses as values, without calling them."""
    for owner in kind.__mro__:
        if not owner.__module__.startswith("river."):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError):
            continue  # compiled
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Load)
                and not node.attr.startswith("__")
                and id(node) not in called
                and isinstance(node.value, ast.Name)
                and node.value.id in ("self", "cls", owner.__name__)
            ):
                yield node.attr


def _note_methods(kind: type, names: set[tuple[str, str]], attributes: set[tuple[str, str, str]]) -> None:
    """Note the names in pickles of the methods that a class keeps as values."""
    kept = set(_methods_kept(kind))
    if issubclass(kind, (metrics.base.Metric, stats.base.Statistic)):
        kept.add("clone")  # other objects keep it to create new ones
    for name in kept:
        value = inspect.getattr_static(kind, name, None)
        if isinstance(value, staticmethod):
            names.add((value.__func__.__module__, value.__func__.__qualname__))
        elif isinstance(value, (FunctionType, classmethod)):
            attributes.add((kind.__module__, kind.__qualname__, name))


def instances(kind: type) -> Iterator[Any]:
    """Yield objects of a River class, built as in River's own tests."""
    parameters: Any = getattr(kind, "_unit_test_params", lambda: ({},))
    # For a class that cannot be built (unknown arguments, an optional library), only its source is used.
    with contextlib.suppress(Exception):
        for given in parameters():
            with contextlib.suppress(Exception):
                yield kind(**given)


def estimators() -> Iterator[Any]:
    """Yield scikit-learn's incremental classifiers and regressors, in River's wrappers."""
    losses = ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron")
    numeric = ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive")
    deciding = [linear_model.SGDClassifier(loss=loss) for loss in (*losses, *numeric)]
    deciding += [linear_model.Perceptron(), linear_model.PassiveAggressiveClassifier()]
    deciding += [kind() for kind in (sk_bayes.BernoulliNB, sk_bayes.ComplementNB, sk_bayes.GaussianNB)]
    yield from (compat.SKL2RiverClassifier(each, [False, True]) for each in [*deciding, sk_bayes.MultinomialNB()])
    counting = [linear_model.SGDRegressor(loss=loss) for loss in numeric]
    yield from (compat.SKL2RiverRegressor(each) for each in [*counting, linear_model.PassiveAggressiveRegressor()])


def teach(model: Any, examples: int = 120) -> None:
    """Train a model on some examples, so that it contains the objects that training creates."""
    rng = random.Random(1)  # noqa: S311 - examples, not secrets
    for number in range(examples):
        features = {"a": rng.random(), "b": rng.gauss(0, 1), "c": float(number % 3)}
        for label in (features["a"] > 0.5, features["a"] * 3):
            if _takes(model, features, label):
                break


def _takes(model: Any, features: dict[str, float], label: Any) -> bool:
    try:
        if isinstance(model, stats.base.Univariate):
            model.update(features["a"])
        elif isinstance(model, base.DriftDetector):
            model.update(int(features["a"] > 0.5))
        elif isinstance(model, metrics.base.Metric):
            model.update(label, {True: 0.25, False: 0.75} if not getattr(model, "requires_labels", True) else label)
        elif getattr(model, "_supervised", False):
            model.learn_one(features, label)
        elif hasattr(model, "learn_one"):
            model.learn_one(features)
        else:
            return True
    except Exception:  # noqa: BLE001 - another kind of label is tried, else the object stays untrained
        return False
    return True


def _built(kind: type) -> Iterator[Any]:
    yield from instances(kind)
    if kind is compat.SKL2RiverClassifier:
        yield from estimators()


def collect() -> tuple[dict[str, list[str]], list[tuple[str, str, str]]]:
    """Return names by module, and (module, class, attribute) of bound methods."""
    names: set[tuple[str, str]] = set(_ALWAYS)
    attributes: set[tuple[str, str, str]] = set()
    for kind in all_classes():
        names.add((kind.__module__, kind.__qualname__))
        _note_methods(kind, names, attributes)
        for model in _built(kind):
            for _ in range(2):  # untrained, then trained
                try:
                    noting = _Noting(pickle.dumps(model, protocol=PROTOCOL))
                    noting.load()
                except Exception:  # noqa: BLE001 - an object that cannot be pickled cannot be in a version
                    break
                names |= noting.names
                attributes |= noting.attributes
                teach(model)
    grouped: dict[str, list[str]] = defaultdict(list)
    for module, name in sorted(names):
        if name not in _NEVER and not module.startswith("__"):
            grouped[module].append(name)
    return dict(sorted(grouped.items())), sorted(attributes)


def main() -> int:
    """Write the list beside this file."""
    grouped, attributes = collect()
    target = Path(__file__).with_name("allowed_pickle_names.json")
    listed = {"river": version("river"), "globals": grouped, "getattr": attributes}
    target.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    print(f"{target.name}: {sum(map(len, grouped.values()))} names, {len(attributes)} attributes")
    return OK


_KEEP = (drift, utils)  # imported so that their classes are found by name

if __name__ == "__main__":
    sys.exit(main())
