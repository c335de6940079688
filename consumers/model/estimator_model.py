"""Fitted estimators of scikit-learn behind the interface of River's models, a batch in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

from consumers.model.dict_matrix import faster
from consumers.model.river_model import Answer, ModelError, RiverModel, plain_value
from consumers.model.row_form import RowForm
from runtime.exits import RoleFailure
from schemas.events import Features, Scalar
from schemas.target import Task

__all__ = ["RowForm", "wrap_estimator"]

_FATAL: Final = (KeyboardInterrupt, SystemExit)
_Said: TypeAlias = "Answer | BaseException"


class Asks(Protocol):
    """Asks an estimator for many rows at once; see `_Classes` and `_Numbers`."""

    def __call__(self, rows: Any) -> list[Answer | BaseException]:
        """Return an answer for each row, or what a prediction of this row raises."""


def wrap_estimator(estimator: Any, task: Task, form: RowForm) -> RiverModel:
    """Return a fitted estimator behind the interface of River's models.

    Raises
    ------
    ModelError
        If it is not fitted, or its classes are not those of the task.
    """
    asks: Asks = _Numbers(estimator) if task == "regression" else _Classes(estimator, task, form)
    return EstimatorModel(estimator, form, asks)


class EstimatorModel:
    """A `RiverModel` whose model is a fitted estimator; it does not learn.

    An event that the estimator refuses has an error of its own: the other events of the batch are answered.
    """

    def __init__(self, model: Any, form: RowForm, asks: Asks) -> None:
        self.model = model
        self.form = form
        self._asks = asks
        self._ahead: Sequence[Features] = ()
        self._said: list[_Said] = []
        self._next = 0

    def ahead(self, several: Sequence[Features]) -> None:
        """Answer the next events, in one call unless they are asked alone."""
        self._ahead, self._said, self._next = several, self._answered(several), 0

    def predict(self, features: Features) -> Answer:
        place = self._next
        if place < len(self._said) and self._ahead[place] is features:
            self._next = place + 1
            said = self._said[place]
        else:
            said = self._answered([features])[0]
        if said.__class__ is Answer:
            return said
        raise said  # type: ignore[misc]

    def decide(self, features: Features) -> Answer:
        return Answer(self.predict(features).value, None)

    def as_said(self, features: Features) -> Answer:
        return self.predict(features)

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        raise NotImplementedError("an estimator is trained by jobs, not by single events")

    def _answered(self, several: Sequence[Features]) -> list[_Said]:
        with one_thread():
            if self.form.alone:
                return [said for features in several for said in self._together([features])]
            return self._together(several)

    def _together(self, several: Sequence[Features]) -> list[_Said]:
        if not several:
            return []
        try:
            return self._asks(self.form.matrix(several))
        except (*_FATAL, RoleFailure):
            raise
        except BaseException as error:  # noqa: BLE001 - compiled parts may raise anything
            if len(several) == 1:
                return [error]
        # Which one was refused is found by halves: so a bad event costs few calls, not one for each other event.
        half = len(several) // 2
        return [*self._together(several[:half]), *self._together(several[half:])]


class _Numbers:
    """A regressor."""

    def __init__(self, estimator: Any) -> None:
        self._predict = _method(estimator, "predict")

    def __call__(self, rows: Any) -> list[_Said]:
        values = np.asarray(self._predict(rows), dtype=np.float64).reshape(-1)
        answers: list[_Said] = [Answer(value, None) for value in values.tolist()]
        for number in np.flatnonzero(~np.isfinite(values)).tolist():
            answers[number] = ModelError(f"the model answered with {values[number]}")
        return answers


class _Classes:
    """A classifier. Its decision is the class with the largest share, unless it has a rule of its own."""

    def __init__(self, estimator: Any, task: Task, form: RowForm) -> None:
        self._spelled = _spelling(task, form.classes)
        self._shares = faster(estimator, "predict_proba")
        self._decide: Callable[[Any], Any] | None = None
        if self._shares is None or not decides_by_share(estimator):
            self._decide = _method(estimator, "predict")
        self._classes = [self._spelled(each) for each in _classes_of(estimator)]

    def __call__(self, rows: Any) -> list[_Said]:
        decided = None if self._decide is None else [self._spelled(each) for each in self._decide(rows)]
        if self._shares is None:
            return [Answer(value, None) for value in decided or ()]
        matrix = np.asarray(self._shares(rows))
        shares, classes = matrix.tolist(), self._classes
        if matrix.shape[1:] != (len(classes),):
            raise ModelError(f"the model answered with {matrix.shape[1:]} probabilities for {len(classes)} classes")
        if decided is None:
            decided = [classes[place] for place in matrix.argmax(axis=1).tolist()]
        by_class: list[dict[Scalar, float]]
        if len(classes) == 2:
            first, second = classes
            by_class = [{first: one, second: other} for one, other in shares]
        else:
            by_class = [dict(zip(classes, row, strict=True)) for row in shares]
        answers: list[_Said] = [*map(Answer._make, zip(decided, by_class, strict=True))]
        finite = np.isfinite(matrix)
        if not finite.all():
            for number in np.flatnonzero(~finite.all(axis=1)).tolist():
                answers[number] = ModelError(f"the model answered with the probabilities {shares[number]}")
        return answers


_OWN_RULE: Final = frozenset(
    {"FixedThresholdClassifier", "NuSVC", "OneVsOneClassifier", "OneVsRestClassifier", "OutputCodeClassifier", "SVC",
     "TunedThresholdClassifierCV"}
)  # fmt: skip


def decides_by_share(estimator: Any) -> bool:
    """Return whether `predict` is the class with the largest share of `predict_proba`, but for ties.

    Support vectors and thresholds decide otherwise, and so may the user's own classes; they are asked twice.
    """
    kind = type(estimator)
    if getattr(kind, "DECIDES_BY_SHARE", False):
        return True
    if not kind.__module__.startswith("sklearn."):
        return False
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        return decides_by_share(steps[-1][1])
    for name in ("best_estimator_", "final_estimator_"):
        if (inner := getattr(estimator, name, None)) is not None:
            return decides_by_share(inner)
    return kind.__name__ not in _OWN_RULE


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: the order of a sum over threads changes, and so its last bit.

    Threads that wait for each other would also take processors away from the other roles.
    """
    from joblib import parallel_config

    with _threads().limit(limits=1), parallel_config(backend="sequential"):
        yield


@cache
def _threads() -> Any:
    import sklearn.ensemble  # noqa: F401 - loads the library of threads that is to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _method(estimator: Any, name: str) -> Callable[[Any], Any]:
    found = faster(estimator, name)
    if found is None:
        raise ModelError(f"the model is a {type(estimator).__name__}, which does not {name}")
    return found


def _classes_of(estimator: Any) -> list[Any]:
    try:
        return list(estimator.classes_)
    except AttributeError as error:
        raise ModelError(f"the model is a {type(estimator).__name__} that is not fitted: {error}") from error


def _spelling(task: Task, classes: Sequence[Scalar]) -> Callable[[Any], Scalar]:
    """Return what turns a class of the estimator into the class as labels spell it."""
    if classes:
        from schemas.label_spelling import class_key

        by_text = {class_key(each): each for each in classes}

        def spelled(value: Any) -> Scalar:
            try:
                return by_text[value]
            except (KeyError, TypeError):
                raise ModelError(f"the model answered with the class {value!r:.60}, which no label has") from None

        return spelled
    return _boolean if task == "binary" else _plain


def _plain(value: Any) -> Scalar:
    plain = plain_value(value)
    if plain is None:
        raise ModelError("the model answered with None as a class")
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _boolean(value: Any) -> bool:
    plain = _plain(value)
    if not isinstance(plain, (bool, int)) or plain not in (0, 1):
        raise ModelError(f"the model answered with the class {plain!r}: a binary stream has False and True")
    return bool(plain)
