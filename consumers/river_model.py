"""One face over River's kinds of models, by task: predict, learn, and nothing that guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from schemas.events import Features, LabelValue, Scalar
from schemas.target import Task, class_key

_NOTHING_YET: Final = None


class ModelError(ValueError):
    """The model could not take this event, or answered with something that is no prediction."""


class Answer(NamedTuple):
    """What a model says of one event.

    `value` is `None` before the model has learned enough to say anything; `probabilities` are keyed by
    the classes as the model knows them.
    """

    value: Scalar | None
    probabilities: dict[Scalar, float] | None

    def wire_probabilities(self) -> dict[str, float] | None:
        """Return the probabilities as they go into an Outcome."""
        if self.probabilities is None:
            return None
        return {class_key(label): float(share) for label, share in self.probabilities.items()}


NO_ANSWER: Final = Answer(_NOTHING_YET, None)


class RiverModel(Protocol):
    """A River model behind one face."""

    model: Any

    def ahead(self, several: Sequence[Features]) -> None:
        """Take note of what will be asked next, in this order: for those to whom each question is a journey."""

    def predict(self, features: Features) -> Answer:
        """Return the model's answer. Whatever the model raises comes out as it is."""

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        """Learn one example. Not atomic: after an exception the model must be thrown away."""


def wrap(model: Any, task: Task) -> RiverModel:
    """Return `model` behind the face that fits `task`."""
    if task == "anomaly":
        return _Anomaly(model)
    if task == "regression":
        return _Regression(model)
    return _Classification(model)


class _Here:
    def ahead(self, several: Sequence[Features]) -> None:
        """Each is answered when it is asked."""


class _Classification(_Here):
    def __init__(self, model: Any) -> None:
        self.model = model
        self._probabilities = True

    def predict(self, features: Features) -> Answer:
        if self._probabilities:
            try:
                shares = self.model.predict_proba_one(features)
            except NotImplementedError:
                self._probabilities = False
            else:
                if not shares:
                    return NO_ANSWER
                for share in shares.values():
                    if share - share != 0.0:
                        raise ModelError(f"the model answered with a probability of {share}")
                return Answer(max(shares, key=shares.get), shares)
        return Answer(plain_value(self.model.predict_one(features)), None)

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        if weight == 1.0:
            self.model.learn_one(features, label)
        else:
            self.model.learn_one(features, label, w=weight)


class _Regression(_Here):
    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, features: Features) -> Answer:
        value = self.model.predict_one(features)
        if value is None:
            return NO_ANSWER
        return Answer(_finite(value), None)

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        if weight == 1.0:
            self.model.learn_one(features, label)
        else:
            self.model.learn_one(features, label, w=weight)


class _Anomaly(_Here):
    """`value` is the score; a label is for measuring, never for learning."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, features: Features) -> Answer:
        return Answer(_finite(self.model.score_one(features)), None)

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        self.model.learn_one(features)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ModelError(f"the model answered with {number}")
    return number


def plain_value(value: Any) -> Scalar | None:
    """Return a numpy scalar as the Python value it stands for."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    plain: Scalar = value.item()
    return plain


def wire_value(value: Scalar | None) -> LabelValue | None:
    """Return a prediction as it goes into an Outcome."""
    return plain_value(value)
