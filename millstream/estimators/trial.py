"""Trial of an estimator: its memory, and if a second fit or other rows change its answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from consumers.model.estimator_model import wrap_estimator
from consumers.model.river_model import ModelError, RiverModel, wire_value
from consumers.model.row_form import RowForm
from millstream.estimators.fitting import CannotTrain, Numbers, Recipe, Table, fit, rows_at
from schemas.events import Features, LabelValue
from schemas.target import Task

Served = tuple[LabelValue | None, dict[str, float] | None]
"""An answer as a predictor sends it: value and shares."""
TRIAL_ROWS: Final = 2000
_TOGETHER: Final = 500
_ASKED: Final = 200
_COMPANIES: Final = (2, 7, _ASKED)  # sizes of batches: compiled sums take other paths for small ones


class Tried(NamedTuple):
    """Result of a trial.

    Attributes
    ----------
    tolerance
        The largest difference of a share or a value between two fits, 0 if there is none.
    bytes_a_row
        Memory that a fit needs for each further row; 0 if too few rows were there to tell.
    """

    tolerance: float
    bytes_a_row: float


def try_fit(recipe: Recipe, table: Table, task: Task, form: RowForm, asked: Sequence[Features]) -> Tried:
    """Fit twice on a few rows, and compare the answers.

    Raises
    ------
    CannotTrain
        If the estimator cannot be fitted, or cannot answer.
    """
    few = part(table, _spread(len(table), min(len(table), TRIAL_ROWS)))
    half = part(few, _spread(len(few), len(few) // 2))
    first, whole = _measured_fit(recipe, few)
    tolerance = apart(first, fit(recipe.new(), few), task, form, asked[:_ASKED])
    if not _holds_as_many(half, few):
        return Tried(tolerance, 0.0)
    _, less = _measured_fit(recipe, half)
    return Tried(tolerance, max(0.0, (whole - less) / (len(few) - len(half))))


def apart(first: Any, second: Any, task: Task, form: RowForm, asked: Sequence[Features]) -> float:
    """Return the largest difference between two estimators' answers; infinity if only one answers."""
    return most_apart(*(answers_of(face_of(each, task, form), asked) for each in (first, second)))


def face_of(estimator: Any, task: Task, form: RowForm) -> RiverModel:
    """Return an estimator as predictors ask it. Raises CannotTrain if it cannot serve."""
    try:
        return wrap_estimator(estimator, task, form)
    except ModelError as error:
        raise CannotTrain(str(error)) from error


def depends_on_company(estimator: Any, task: Task, form: RowForm, asked: Sequence[Features]) -> bool:
    """Return whether the answer to an event depends on the other events in the call, to the last bit."""
    several = asked[:_ASKED]
    alone = answers_of(wrap_estimator(estimator, task, form.asked_alone()), several)
    face = wrap_estimator(estimator, task, form)
    for size in _COMPANIES:
        together: list[Served | None] = []
        for begin in range(0, len(several), size):
            together += answers_of(face, several[begin : begin + size])
        if together != alone:
            return True
    return False


def answers_of(face: RiverModel, several: Sequence[Features]) -> list[Served | None]:
    """Return the answers to events as a predictor sends them; `None` where it would report an error."""
    answers: list[Served | None] = []
    for begin in range(0, len(several), _TOGETHER):
        some = several[begin : begin + _TOGETHER]
        face.ahead(some)
        answers += [_answer(face, features) for features in some]
    return answers


def _answer(face: RiverModel, features: Features) -> Served | None:
    try:
        answer = face.predict(features)
    except Exception:  # noqa: BLE001 - an estimator may raise anything
        return None
    return wire_value(answer.value), answer.wire_probabilities()


def most_apart(first: Sequence[Served | None], second: Sequence[Served | None]) -> float:
    """Return the largest difference of a share or a number; 1 where a class differs without shares.

    >>> most_apart([(True, {"true": 0.75})], [(True, {"true": 0.5})]), most_apart([(1.5, None)], [(1.5, None)])
    (0.25, 0.0)
    """
    return max((_gap(one, other) for one, other in zip(first, second, strict=True)), default=0.0)


def _gap(one: Served | None, other: Served | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else np.inf
    (value, shares), (theirs, their_shares) = one, other
    if shares is not None and their_shares is not None:
        return max(abs(shares.get(key, 0.0) - their_shares.get(key, 0.0)) for key in {**shares, **their_shares})
    if isinstance(value, float) and isinstance(theirs, float):
        return abs(value - theirs)
    return float(value != theirs)


def _measured_fit(recipe: Recipe, table: Table) -> tuple[Any, int]:
    """Fit, and return the estimator and the most bytes that Python and numpy held meanwhile."""
    estimator = recipe.new()
    tracemalloc.start(1)
    try:
        fit(estimator, table)
        return estimator, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def part(table: Table, places: Numbers) -> Table:
    """Return some rows of a table."""
    return Table(rows_at(table.rows, places), table.labels[places], table.weights[places])


def _spread(count: int, wanted: int) -> Numbers:
    return np.linspace(0, count - 1, wanted).round().astype(np.intp)


def _holds_as_many(half: Table, few: Table) -> bool:
    """Return whether half of the rows tell about memory: a class less would be another model."""
    if len(few) < TRIAL_ROWS:
        return False
    return few.labels.dtype.kind == "f" or len(np.unique(half.labels)) == len(np.unique(few.labels))
