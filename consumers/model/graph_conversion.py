"""Conversion of fitted estimators to ONNX, and the comparison of a graph with the original."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from consumers.model.estimator_model import wrap_estimator
from consumers.model.graph_model import GraphEstimator
from consumers.model.river_model import Answer, RiverModel
from consumers.model.row_form import RowForm
from model_store.onnx_graph import NoOnnx, require_graph
from runtime.exits import RoleFailure
from schemas.events import Features
from schemas.target import Task

MOST_APART: Final = 1e-4
_SHOWN: Final = 5
_ONE_LINE: Final = 300
_LEAVE_OUT: Final = "or leave out onnx=True"
_OTHERWISE: Final = (
    "a graph may count in 32 bits where scikit-learn counts in 64, so scale large numbers down or round them before "
    f"they come in, {_LEAVE_OUT}"
)


class CannotConvert(ValueError):  # noqa: N818
    """The estimator has no graph, or its graph answers otherwise."""


class GraphDiffers(CannotConvert):
    """The graph of the estimator does not answer as the estimator does."""


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
    if without := _without_converter(inner):
        raise CannotConvert(
            f"skl2onnx has no converter for {', '.join(without[:_SHOWN])}: take another step instead, {_LEAVE_OUT}"
        ) from last
    if form.rows == "frame" and type(_first_part(inner)).__name__ != "ColumnTransformer":
        raise CannotConvert(
            "rows='frame' has a graph only for a pipeline that begins with a ColumnTransformer: begin with one, "
            f"{_LEAVE_OUT}"
        ) from last
    why = " ".join(str(last).split())[:_ONE_LINE]
    raise CannotConvert(f"skl2onnx does not convert it ({type(last).__name__}: {why}): {_LEAVE_OUT[3:]}") from last


def _first_part(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[0][1] if steps else estimator


def _without_converter(estimator: Any) -> list[str]:
    """Return the steps of an estimator that skl2onnx does not know, as ``name (Class)``."""
    from skl2onnx._supported_operators import sklearn_operator_name_map as known
    from sklearn.base import BaseEstimator

    parts = {"the estimator": estimator, **estimator.get_params(deep=True)}
    return [
        f"{name} ({type(part).__name__})"
        for name, part in parts.items()
        if isinstance(part, BaseEstimator) and type(part) not in known
    ]


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


def tested_graph(
    estimator: Any, task: Task, form: RowForm, several: Sequence[Features]
) -> tuple[bytes, GraphEstimator]:
    """Return the graph of an estimator, and an estimator that answers with it, compared on events.

    Raises
    ------
    CannotConvert, ModelError, StoreError
        If it cannot be converted, or the two do not answer the same: see `insist_on_equal`.
    """
    graph = to_graph(estimator, form)
    answering = converted(graph, estimator, task, form)
    insist_on_equal(wrap_estimator(estimator, task, form), wrap_estimator(answering, task, form), several)
    return graph, answering


def wrap_graph(graph: bytes, estimator: Any, task: Task, form: RowForm) -> RiverModel:
    """Return a converted estimator behind the interface of River's models, answering with its graph."""
    return wrap_estimator(converted(graph, estimator, task, form), task, form)


def insist_on_equal(original: RiverModel, graph: RiverModel, several: Sequence[Features]) -> float:
    """Return the largest distance of two models' answers.

    Raises
    ------
    GraphDiffers
        If classes differ, or shares by more than 1e-4; numbers relative to their size, if it is larger than 1. Also if
        only one of them answers an event.
    """
    original.ahead(several)
    graph.ahead(several)
    worst = 0.0
    for features in several:
        one, other = _answer(original, features), _answer(graph, features)
        if one is None or other is None:
            if one is not other:
                who = ("its graph", "it") if other is None else ("it", "its graph")
                raise GraphDiffers(f"{who[0]} refuses an event that {who[1]} answers: {_OTHERWISE}")
            continue
        apart = _apart(one, other)
        if one.value != other.value and one.probabilities is not None and apart > 0:
            raise GraphDiffers(f"its graph answers {other.value!r} where it answers {one.value!r}: {_OTHERWISE}")
        worst = max(worst, apart)
        if not worst <= MOST_APART:
            raise GraphDiffers(
                f"its graph answers otherwise by {apart:.3g}, of which {MOST_APART} are accepted: {_OTHERWISE}"
            )
    return worst


def _answer(face: RiverModel, features: Features) -> Answer | None:
    """Return the answer to an event, `None` if it is refused."""
    try:
        return face.predict(features)
    except RoleFailure:
        raise
    except Exception:  # noqa: BLE001 - an estimator may raise anything
        return None


def _apart(one: Answer, other: Answer) -> float:
    if one.probabilities is not None and other.probabilities is not None:
        theirs = other.probabilities
        return max(abs(share - theirs[label]) for label, share in one.probabilities.items())
    value = float(one.value or 0)
    return abs(value - float(other.value or 0)) / max(1.0, abs(value))
