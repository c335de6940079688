"""Checks of a model's parts, before it learns anything."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from river import base, compose, feature_extraction, metrics, preprocessing, stats, utils

from consumers.model.evaluation import default_metrics
from consumers.model.river_model import Answer
from millstream.check.findings import Finding
from millstream.stream.model_kind import final_step
from millstream.stream.model_parameters import Part, walk
from millstream.stream.stream import Stream
from schemas.events import Scalar
from schemas.label_spelling import Spellings

_OVER_TIME: Final = (feature_extraction.Agg, preprocessing.PreviousImputer, stats.Shift, utils.Rolling)
# River's wrappers pass these arguments on, so the inner model's own signature shows them.
_ANY: Final = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def look_at_parts(model: Any) -> Iterator[Finding]:
    """Yield findings on the parts of a model."""
    parts = list(walk(model))
    yield from _seeds(parts)
    yield from _over_time(parts)
    yield from _learning_while_predicting()
    yield from _transformers(parts)
    yield from _classes(parts)


def _seeds(parts: list[Part]) -> Iterator[Finding]:
    owners = {part.path: part.value for part in parts}
    unseeded = [
        f"{type(owners.get(owner)).__name__} ({owner})"
        for owner in (
            part.path.removesuffix(".seed") for part in parts if part.path.endswith(".seed") and part.value is None
        )
    ]
    if unseeded:
        yield Finding(
            "warning",
            "seeds",
            f"no seed: {', '.join(unseeded)}. Each build is another model, so only versions already published "
            "can be rebuilt to the last bit; give it seed=42 or the like",
        )


def _over_time(parts: list[Part]) -> Iterator[Finding]:
    noted: list[str] = []
    for part in parts:
        if any(part.path.startswith(path) for path in noted):
            continue
        if isinstance(part.value, utils.TimeRolling):
            yield Finding(
                "error",
                "time",
                f"{part.path} is a TimeRolling: it wants a time with each example, which none has; use utils.Rolling",
            )
            noted.append(part.path)
        elif isinstance(part.value, _OVER_TIME):
            held = [
                each for each in parts if each.path.startswith(part.path) and isinstance(each.value, utils.TimeRolling)
            ]
            if held:
                continue  # already reported as an error
            yield Finding(
                "warning",
                "time",
                f"{type(part.value).__name__} ({part.path}) keeps a feature over time inside the model: it changes "
                "when an example is learned, so it lags by the label's delay and knows labelled events only. "
                "Better: compute it before the event is sent",
            )
            noted.append(part.path)


def _learning_while_predicting() -> Iterator[Finding]:
    if compose.Pipeline._LEARN_UNSUPERVISED_DURING_PREDICT:
        text = "compose.learn_during_predict is on: predicting would change the model; take it out of the file"
        yield Finding("error", "transformers", text)


def _transformers(parts: list[Part]) -> Iterator[Finding]:
    learning = [
        type(part.value).__name__
        for part in parts
        if isinstance(part.value, base.Transformer)
        and not isinstance(part.value, (compose.Pipeline, compose.TransformerUnion, *_OVER_TIME))
        and type(part.value).learn_one is not base.Transformer.learn_one
    ]
    if learning:
        names = ", ".join(dict.fromkeys(learning))
        verb = "learns" if len(set(learning)) == 1 else "learn"
        yield Finding(
            "ok", "transformers", f"{names} {verb} with the model, when an example is learned, and not while predicting"
        )


def _classes(parts: list[Part]) -> Iterator[Finding]:
    """Yield scikit-learn estimators whose classes are not sorted: their shares would be swapped."""
    for part in parts:
        kind, classes = type(part.value), getattr(part.value, "classes", None)
        # Compared by name, because importing River's module would import all of scikit-learn.
        if kind.__name__ != "SKL2RiverClassifier" or not kind.__module__.startswith("river.") or classes is None:
            continue
        ordered = sorted(classes, key=lambda each: (isinstance(each, str), each))
        if list(classes) != ordered and hasattr(part.value.estimator, "predict_proba"):
            name = type(part.value.estimator).__name__
            plain = [each.item() if hasattr(each, "item") else each for each in ordered]
            yield Finding(
                "error",
                "classes",
                f"classes={classes!r} of {name} are out of order: River gives the share of one class to another; "
                f"write classes={plain!r}",
            )


def look_at_shares(stream: Stream, answer: Answer) -> Iterator[Finding]:
    """Yield the metrics that have no value for a model without shares."""
    if stream.task not in ("binary", "multiclass") or answer.value is None or answer.probabilities is not None:
        return
    made = default_metrics(stream.task) if stream.evaluation.metrics is None else stream.evaluation.metrics()
    each_of = list(made) if isinstance(made, (metrics.base.Metrics, list, tuple)) else [made]
    names = [type(each).__name__ for each in each_of if not getattr(each, "requires_labels", True)]
    if names:
        verb = "has" if len(names) == 1 else "have"
        yield Finding(
            "warning",
            "metrics",
            f"{', '.join(names)} {verb} no value here: the model has no shares of classes (predict_proba_one), and is "
            "served without; Evaluation(metrics=…) names others, such as metrics.F1()",
        )


def unpicklable(model: Any, path: Path) -> list[str]:
    """Return the lambdas and local functions or classes in a model, each with the solution."""
    found = []
    for part in walk(model):
        value = part.value
        name = getattr(value if isinstance(value, (types.FunctionType, type)) else type(value), "__qualname__", "")
        what = "a lambda" if name.endswith("<lambda>") else f"{name.rpartition('.')[2]}, defined inside a function"
        if "<" in name:
            found.append(
                f"{part.path} is {what}: write it as a def or class at the top of {path.name} and name it there"
            )
    return found


def look_at_weight(stream: Stream, model: Any, examples: list[tuple[Any, Scalar]]) -> Iterator[Finding]:
    """Yield findings on `weight`: it must be valid and the model must accept it."""
    if stream.weight is None:
        return
    last = final_step(model)
    if stream.task == "anomaly":
        yield Finding("error", "weight", "weight= has no meaning with task='anomaly': detectors learn without labels")
        return
    if not takes_weight(last):
        yield Finding(
            "error",
            "weight",
            f"weight= is given, and {type(last).__name__}.learn_one takes no weight (w): it would be lost",
        )
        return
    problem = _wrong_weight(stream, examples)
    if problem:
        yield Finding("error", "weight", problem)
    else:
        yield Finding("ok", "weight", f"{type(last).__name__} takes the weight of an example")


def takes_weight(model: Any) -> bool:
    """Return whether a model's `learn_one` takes `w`; for a wrapper, whether the inner model's does."""
    last = final_step(model)
    parameters = inspect.signature(type(last).learn_one).parameters
    if "w" in parameters:
        return True
    if not any(each.kind in _ANY for each in parameters.values()):
        return False
    inner = last._wrapped_model if isinstance(last, base.Wrapper) else None
    return inner is None or takes_weight(inner)


def _wrong_weight(stream: Stream, examples: list[tuple[Any, Scalar]]) -> str | None:
    weight = stream.weight
    if not callable(weight):
        values = list((weight or {}).values())
        if stream.task == "binary" and any(key not in (True, False) for key in weight or {}):
            return f"weight= names {', '.join(map(repr, weight or {}))}; labels of task='binary' are True and False"
        if stream.classes is not None:
            unknown = [repr(key) for key in weight or {} if Spellings(stream.classes).find(key) is None]
            if unknown and stream.task == "multiclass":
                return f"weight= names {', '.join(unknown)}, which is not among classes="
    else:
        try:
            values = [weight(features, label) for features, label in examples]
        except Exception as error:  # noqa: BLE001 - the user's own function
            return f"weight= raised {type(error).__name__}: {error}"
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            return f"weight= gave {value!r}; a weight is a finite number, at least 0"
    return None


def look_at_metrics(stream: Stream) -> Iterator[Finding]:
    """Yield whether `Evaluation(metrics=…)` builds metrics that fit the task."""
    if stream.evaluation.metrics is None:
        return
    try:
        made = stream.evaluation.metrics()
    except Exception as error:  # noqa: BLE001 - the user's own function
        yield Finding("error", "metrics", f"metrics= raised {type(error).__name__}: {error}")
        return
    each_of = list(made) if isinstance(made, (metrics.base.Metrics, list, tuple)) else [made]
    kind = metrics.base.RegressionMetric if stream.task == "regression" else metrics.base.ClassificationMetric
    for metric in each_of:
        inner = metric
        while isinstance(inner, metrics.base.WrapperMetric):
            inner = inner.metric
        if not isinstance(inner, kind):
            what = "regression" if stream.task == "regression" else "classes"
            yield Finding(
                "error", "metrics", f"metrics= returned {type(metric).__name__}, which is no metric over {what}"
            )
            return
    yield Finding("ok", "metrics", f"metrics: {', '.join(type(metric).__name__ for metric in each_of)}")
