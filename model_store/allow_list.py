"""Makes `allowed.json`: what the pickles of River's own models name, found by making them.

    python -m model_store.allow_list

Every estimator of the installed River is built with the parameters its own tests use, taught a few
examples, pickled, and read back with a loader that notes every name it is asked for. Metrics, drift
detectors and statistics as well.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import pickle
import pkgutil
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import river
from river import base, drift, metrics, stats, utils

from model_store.restricted import PROTOCOL

# What a learner's own state is made of, beside River's objects.
_ALWAYS: Final = {
    ("array", "array"),
    ("array", "_array_reconstructor"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "frozenset"),
    ("builtins", "range"),
    ("builtins", "set"),
    ("builtins", "slice"),
}
# Names that would let a pickle call what it likes, should a model ever need them: not by this list.
_NEVER: Final = {"eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "delattr", "globals", "input"}


class _Noting(pickle.Unpickler):
    """Loads what this very process has pickled, and notes what it names."""

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


def _classes() -> Iterator[type]:
    """Yield every public class of River, once."""
    seen = set()
    for module in pkgutil.iter_modules(river.__path__):
        if module.name in ("checks", "datasets", "evaluate", "stream", "test_estimators", "conftest", "api"):
            continue
        loaded = importlib.import_module(f"river.{module.name}")
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if kind.__module__.startswith("river.") and kind not in seen and not inspect.isabstract(kind):
                seen.add(kind)
                yield kind


def instances(kind: type) -> Iterator[Any]:
    """Yield objects of a River class, built as its own tests build them."""
    parameters = getattr(kind, "_unit_test_params", None)
    if parameters is None:
        try:
            yield kind()
        except Exception:  # noqa: BLE001 - a class that needs arguments its tests do not name
            return
        return
    for given in parameters():
        with contextlib.suppress(Exception):  # parameters for an optional library that is not here
            yield kind(**given)


def teach(model: Any, examples: int = 120) -> None:
    """Teach whatever it is some examples, so that it holds what it comes to hold."""
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
    except Exception:  # noqa: BLE001 - another kind of label is tried, or it stays as it was built
        return False
    return True


def collect() -> tuple[dict[str, list[str]], list[tuple[str, str, str]]]:
    """Return names by module, and (module, class, attribute) of bound methods."""
    names: set[tuple[str, str]] = set(_ALWAYS)
    attributes: set[tuple[str, str, str]] = set()
    for kind in _classes():
        for model in instances(kind):
            for _ in range(2):  # as built, and as taught
                try:
                    noting = _Noting(pickle.dumps(model, protocol=PROTOCOL))
                    noting.load()
                except Exception:  # noqa: BLE001 - what cannot be pickled cannot be a version
                    break
                names |= noting.names
                attributes |= noting.attributes
                teach(model)
    grouped: dict[str, list[str]] = defaultdict(list)
    for module, name in sorted(names):
        if name.partition(".")[0] not in _NEVER:
            grouped[module].append(name)
    return dict(sorted(grouped.items())), sorted(attributes)


def main() -> int:
    """Write the list beside this file."""
    grouped, attributes = collect()
    target = Path(__file__).with_name("allowed.json")
    listed = {"river": version("river"), "globals": grouped, "getattr": attributes}
    target.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    print(f"{target.name}: {sum(map(len, grouped.values()))} names, {len(attributes)} attributes")
    return 0


_KEEP = (drift, utils)  # imported for their classes to be known by name

if __name__ == "__main__":
    sys.exit(main())
