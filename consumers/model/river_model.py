"""Uniform interface to River's models for each task: predict and learn, without guessing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from river import compose

from consumers.model.argmax_models import decides_by_share
from schemas.events import Features, LabelValue, Scalar
from schemas.target import Task, class_key

_NOTHING_YET: Final = None
_new: Final = tuple.__new__  # builds a NamedTuple in half the time


class ModelError(ValueError):
    """The model could not process this event, or its answer is not a prediction."""


class Answer(NamedTuple):
    """Answer of a model to one event.

    `value` is the model's own decision, from `predict_one`. It is `None` if the model does not decide: before it has
    learned enough, or because it abstains. `probabilities` come from `predict_proba_one`, `None` if it has none.
    Classes are plain Python values: booleans for binary, else text, whole numbers and booleans.
    """

    value: Scalar | None
    probabilities: dict[Scalar, float] | None

    def wire_probabilities(self) -> dict[str, float] | None:
        """Return the probabilities as an Outcome holds them."""
        if self.probabilities is None:
            return None
        return {_spelled(label): float(share) for label, share in self.probabilities.items()}


_spelled: Final = lru_cache(maxsize=4096, typed=True)(class_key)
NO_ANSWER: Final = Answer(_NOTHING_YET, None)


class RiverModel(Protocol):
    """The uniform interface to a River model."""

    model: Any

    def ahead(self, several: Sequence[Features]) -> None:
        """Announce the next events in their order, so that a model in another process can answer them in one batch."""

    def predict(self, features: Features) -> Answer:
        """Return the model's answer. Exceptions of the model pass through unchanged."""

    def decide(self, features: Features) -> Answer:
        """Return only the model's decision, for metrics over labels."""

    def as_said(self, features: Features) -> Answer:
        """Return the answer with classes as the model spells them.

        Fingerprints use this form, so that the fingerprints of old versions stay valid.
        """

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        """Learn one example. Not atomic: after an exception the model must be discarded."""


def wrap(model: Any, task: Task) -> RiverModel:
    """Return `model` behind the interface for `task`."""
    if task == "anomaly":
        return _Anomaly(model)
    if task == "regression":
        return _Regression(model)
    return _Classification(model, task)


class _Here:
    def ahead(self, several: Sequence[Features]) -> None:
        """Do nothing: a model in this process answers each event when it is asked."""


class _OneValue(_Here):
    """Base of models whose answer is a number, which has only one spelling."""

    def predict(self, features: Features) -> Answer:
        raise NotImplementedError

    def decide(self, features: Features) -> Answer:
        return self.predict(features)

    def as_said(self, features: Features) -> Answer:
        return self.predict(features)


class _Classification(_Here):
    def __init__(self, model: Any, task: Task) -> None:
        self.model = model
        self._by_share = decides_by_share(model)
        self._plain, self._classes = _PLAIN[task]

    def predict(self, features: Features) -> Answer:
        shares = self._asked(features)
        if shares and self._by_share and len(shares) == 2:
            # Most models, and here in half the time: two finite shares of plain classes.
            (first, one), (second, other) = shares.items()
            finite = one - one == 0.0 and other - other == 0.0
            if finite and first.__class__ in self._classes and second.__class__ in self._classes:
                return _new(Answer, (second if other > one else first, shares))
        shares = self._checked(shares)
        if shares is not None and not self._classes.issuperset(map(type, shares)):
            value = self._decision(features, shares)
            return Answer(self._plain(value), {self._plain(label): share for label, share in shares.items()})
        if shares is None or not self._by_share:
            return Answer(self._plain(self.model.predict_one(features)), shares)
        return Answer(max(shares, key=shares.get), shares)  # type: ignore[arg-type]

    def decide(self, features: Features) -> Answer:
        return Answer(self._plain(self.model.predict_one(features)), None)

    def as_said(self, features: Features) -> Answer:
        shares = self._checked(self._asked(features))
        return Answer(self._decision(features, shares), shares)

    def _decision(self, features: Features, shares: dict[Any, float] | None) -> Any:
        if shares is None or not self._by_share:
            return self.model.predict_one(features)
        return max(shares, key=shares.get)  # type: ignore[arg-type]

    def _asked(self, features: Features) -> dict[Any, float] | None:
        """Return what the model says of the classes' shares, `None` if it has no such method."""
        try:
            return self.model.predict_proba_one(features)  # type: ignore[no-any-return]
        except NotImplementedError:
            return None
        except AttributeError as error:
            # A scikit-learn estimator without probabilities, as with loss="hinge". Such an error does not always have a
            # name.
            if _NO_SHARES_THERE not in str(error):
                raise
            return None

    def _checked(self, shares: dict[Any, float] | None) -> dict[Any, float] | None:
        """Return shares that are finite, `None` if there are none. Raises ModelError if they are not."""
        if not shares:
            return None
        for share in shares.values():
            if share - share != 0.0:
                if _knows_too_little(self.model):
                    return None
                raise ModelError(f"the model answered with a probability of {share}")
        return shares

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        if weight == 1.0:
            self.model.learn_one(features, label)
        else:
            self.model.learn_one(features, label, w=weight)


class _Regression(_OneValue):
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


class _Anomaly(_OneValue):
    """An anomaly detector: `value` is the score; labels serve for metrics, never for learning."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, features: Features) -> Answer:
        return Answer(_finite(self.model.score_one(features)), None)

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        self.model.learn_one(features)


def _knows_too_little(model: Any) -> bool:
    """Return whether a scikit-learn naive Bayes has yet to see one of its classes, or a second value of a feature.

    Until then its shares may be NaN although it decides. If that were an error, the event would never be joined, so the
    model would never see the class.
    """
    while isinstance(model, compose.Pipeline) and len(model):
        model = model._last_step
    estimator = getattr(model, "estimator", None)
    counts, variances = getattr(estimator, "class_count_", None), getattr(estimator, "var_", None)
    return counts is not None and (not counts.all() or (variances is not None and not variances.all()))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ModelError(f"the model answered with {number}")
    return number


def plain_value(value: Any) -> Scalar | None:
    """Return a numpy scalar as a plain Python value."""
    plain: Any = value
    if value is not None and value.__class__ not in _SCALARS and hasattr(value, "item"):
        plain = value.item()
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    raise ModelError(f"the model answered with {value!r:.60}, a {type(value).__name__}")


def _plain_boolean(value: Any) -> bool | None:
    """Return the class of a binary model as a boolean; 0, 1.0 and numpy's booleans are accepted."""
    plain = plain_value(value)
    if plain is None or isinstance(plain, bool):
        return plain
    if isinstance(plain, str) or plain not in (0, 1):
        raise ModelError(
            f"the model answered with the class {plain!r}: a binary stream teaches False and True, "
            "so give the model these as its classes"
        )
    return bool(plain)


def _plain_class(value: Any) -> Scalar | None:
    """Return a class in the spelling of labels: whole numbers are integers, not floats."""
    plain = plain_value(value)
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


_PLAIN: Final[Mapping[str, tuple[Callable[[Any], Any], frozenset[type]]]] = {
    "binary": (_plain_boolean, frozenset({bool})),
    "multiclass": (_plain_class, frozenset({bool, int, str})),
}
_SCALARS: Final = frozenset({bool, int, float, str})
_NO_SHARES_THERE: Final = "has no attribute 'predict_proba'"


def wire_value(value: Scalar | None) -> LabelValue | None:
    """Return a prediction as an Outcome holds it."""
    return plain_value(value)
