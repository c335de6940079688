"""Conversion of fitted estimators to ONNX, and the comparison of a graph with the original."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from consumers.model.estimator_model import wrap_estimator
from consumers.model.graph_model import GraphEstimator
from consumers.model.river_model import RiverModel
from consumers.model.row_form import RowForm
from model_store.onnx_graph import NoOnnx, require_graph
from schemas.events import Features
from schemas.target import Task

MOST_APART: Final = 1e-4


class CannotConvert(ValueError):  # noqa: N818
    """The estimator has no graph, or its graph answers otherwise."""


def to_graph(estimator: Any, form: RowForm) -> bytes:
    """Return a fitted estimator as an ONNX graph.

    A vectorizer of dictionaries as first step stays outside of it: see `first_step`.

    Raises
    ------
    CannotConvert
        If skl2onnx cannot convert it.
    NoOnnx
        If skl2onnx is not installed.
    """
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    except ImportError:
        raise NoOnnx from None
    first = first_step(estimator, form)
    inner = estimator if first is None else estimator[1:]
    last: Exception | None = None
    for numbers in (DoubleTensorType, FloatTensorType):
        if form.rows == "frame":
            kinds = {"text": StringTensorType, "number": numbers}
            if any(each.kind == "vector" for each in form.columns):
                raise CannotConvert("a frame with a vector has no graph: use rows='vector'")
            inputs = [(each.name, kinds[each.kind]([None, 1])) for each in form.columns]
        else:
            width = form.width if first is None else len(first.vocabulary_)
            inputs = [("rows", numbers([None, width]))]
        options = {"zipmap": False} if hasattr(inner, "classes_") else None
        try:
            with _booleans_as_integers():
                graph: bytes = to_onnx(inner, initial_types=inputs, options=options).SerializeToString()
            require_graph(graph)  # operators that are not there for doubles are found when it is loaded
            return graph
        except NoOnnx:
            raise
        except Exception as error:  # noqa: BLE001 - a converter may raise anything
            last = error
    raise CannotConvert(f"skl2onnx does not convert it: {type(last).__name__}: {last}"[:500]) from last


@contextlib.contextmanager
def _booleans_as_integers() -> Iterator[None]:
    """Let attributes be lists of booleans: skl2onnx makes them for boosted trees, and onnx 1.23 refuses them."""
    from onnx import helper

    make = helper.make_attribute

    def made(key: str, value: Any, *args: Any, **more: Any) -> Any:
        if isinstance(value, (list, tuple)) and any(isinstance(each, (bool, np.bool_)) for each in value):
            value = [int(each) for each in value]
        return make(key, value, *args, **more)

    helper.make_attribute = made
    try:
        yield
    finally:
        helper.make_attribute = make


def first_step(estimator: Any, form: RowForm) -> Any:
    """Return the vectorizer of dictionaries that an estimator begins with, `None` if it takes no dictionaries.

    Raises
    ------
    CannotConvert
        If it takes dictionaries otherwise.
    """
    if form.rows != "dicts":
        return None
    steps = getattr(estimator, "steps", None)
    if steps and len(steps) > 1 and type(steps[0][1]).__name__ == "DictVectorizer":
        return steps[0][1]
    raise CannotConvert("rows='dicts' has a graph only for a pipeline that begins with a DictVectorizer")


def converted(graph: bytes, estimator: Any, task: Task, form: RowForm) -> GraphEstimator:
    """Return an estimator that answers with its graph."""
    classes = None if task == "regression" else [*estimator.classes_]
    return GraphEstimator(graph, form, classes, first_step(estimator, form))


def wrap_graph(graph: bytes, estimator: Any, task: Task, form: RowForm) -> RiverModel:
    """Return a converted estimator behind the interface of River's models, answering with its graph."""
    return wrap_estimator(converted(graph, estimator, task, form), task, form)


def insist_on_equal(original: RiverModel, graph: RiverModel, several: Sequence[Features]) -> float:
    """Return the largest distance of two models' answers.

    Raises
    ------
    CannotConvert
        If classes differ, or shares by more than 1e-4; numbers relative to their size, if it is larger than 1.
    """
    original.ahead(several)
    graph.ahead(several)
    worst = 0.0
    for features in several:
        one, other = original.predict(features), graph.predict(features)
        if one.probabilities is None or other.probabilities is None:
            apart = abs(float(one.value or 0) - float(other.value or 0)) / max(1.0, abs(float(one.value or 0)))
        else:
            apart = max(abs(share - other.probabilities[label]) for label, share in one.probabilities.items())
            if one.value != other.value and apart > 0:
                raise CannotConvert(f"its graph answers {other.value!r} where it answers {one.value!r}")
        worst = max(worst, apart)
        if not worst <= MOST_APART:
            raise CannotConvert(f"its graph answers otherwise by {apart:.3g}; at most {MOST_APART} is accepted")
    return worst
