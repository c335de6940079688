"""Losses of answers, from 0 to a bound, by which the rule and `models compare` measure models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.events import LabelValue, Scalar
from schemas.label_spelling import class_key, whole_number
from schemas.target import Target

LossKind = Literal["error", "brier", "log_loss", "absolute", "cost", "function"]
Shares = dict[str, float]

LEAST_SHARE: Final = 0.001
"""Probabilities are clipped at this in the logarithmic loss, which gives it a bound."""
_LOG_BOUND: Final = -math.log(LEAST_SHARE)
_TRUE: Final = class_key(True)


@dataclass(frozen=True)
class LossRule:
    """The loss to measure by.

    Attributes
    ----------
    most
        The largest loss of one event, for ``absolute`` and ``function``.
    false_positive, false_negative
        The costs, for ``cost``.
    function
        For ``function``: takes label and answer. The answer is the predicted number of a regression and the score of an
        anomaly, otherwise the probabilities by class.
    """

    target: Target
    kind: LossKind
    most: float | None = None
    false_positive: float = 0.0
    false_negative: float = 0.0
    function: Callable[[Any, Any], float] | None = None

    @property
    def bound(self) -> float:
        """The largest loss of one event.

        It is 1 for ``error``, 1 for ``brier`` of a binary target and 2 of a multiclass one, -ln 0.001 for ``log_loss``,
        the larger cost for ``cost``, and `most` for the others.
        """
        if self.most is not None:
            return self.most
        if self.kind == "brier":
            return 1.0 if self.target.task == "binary" else 2.0
        if self.kind == "cost":
            return max(self.false_positive, self.false_negative)
        return _LOG_BOUND if self.kind == "log_loss" else 1.0


class Loss:
    """The loss of an answer, given the label.

    An answer that is missing (an error, no prediction and no probabilities) or unusable (of a kind that the task does
    not have, not finite) costs the bound. If a model names a class without probabilities, that class counts as certain;
    if it gives only probabilities, the most probable class counts as its decision.

    Attributes
    ----------
    bound
        The largest loss of one event.
    failed
        Number of events for which the stream's own function raised an exception, or returned no finite number.

    Examples
    --------
    >>> loss = Loss(LossRule(Target(task="binary"), "brier"))
    >>> loss(True, True, {"true": 0.75, "false": 0.25}), loss(True, None, None), loss.bound
    (0.0625, 1.0, 1.0)
    """

    def __init__(self, rule: LossRule) -> None:
        self._rule = rule
        self.bound = rule.bound
        self.failed = 0
        self._of: Callable[[Any, Any, Shares], float] = {
            "error": _error,
            "brier": self._brier,
            "log_loss": _log_loss,
            "absolute": self._absolute,
            "cost": self._cost,
            "function": self._function,
        }[rule.kind]
        self._numbers = rule.target.task in ("regression", "anomaly")

    def __call__(
        self,
        label: LabelValue,
        prediction: LabelValue | None,
        probabilities: Shares | None,
        error: object | None = None,
    ) -> float:
        """Return the loss, from 0 to `bound`.

        Parameters
        ----------
        label
            As in the log of labels.
        prediction, probabilities, error
            As in an `Outcome` or a `Challenger`; any `error` other than `None` means that there is no answer.

        Raises
        ------
        TargetError
            If the label is invalid for the target.
        """
        truth = self._rule.target.of_log(label)
        if error is not None:
            return self.bound
        if self._numbers:
            return self._of(truth, prediction, {}) if _is_number(prediction) else self.bound
        answer = self._answer(truth, prediction, probabilities)
        return self.bound if answer is None else self._of(truth, *answer)

    def _answer(self, truth: Scalar, prediction: Any, probabilities: Shares | None) -> tuple[bool, Shares] | None:
        """Return whether a class is right, and the probabilities; `None` if there is no usable answer."""
        shares = probabilities or {}
        binary = self._rule.target.task == "binary"
        # Any client can write to a topic: values of the wrong kind count as no answer.
        if not all(share - share == 0.0 for share in shares.values()):
            return None
        if prediction is None:
            return (_is_most_probable(truth, shares, binary), shares) if shares else None
        if not isinstance(prediction, (bool,) if binary else (bool, int, float, str)) or prediction != prediction:  # noqa: PLR0124 - NaN
            return None
        return prediction == truth, shares or {class_key(prediction): 1.0}

    # --- each loss ---------------------------------------------------------------------------------

    def _brier(self, truth: Scalar, right: bool, shares: Shares) -> float:
        """Return the squared distance from the label.

        Of the probability of true for a binary target, of the whole vector of probabilities for a multiclass one.
        """
        if self._rule.target.task == "binary":
            return (_share(shares, True) - (1.0 if truth is True else 0.0)) ** 2
        label = class_key(truth)
        others = sum(_clipped(share) ** 2 for key, share in shares.items() if key != label)
        return min(self.bound, (1.0 - _share(shares, truth)) ** 2 + others)

    def _absolute(self, truth: Any, prediction: Any, shares: Shares) -> float:
        distance = abs(float(prediction) - truth)
        return min(self.bound, distance) if math.isfinite(distance) else self.bound

    def _cost(self, truth: Scalar, right: bool, shares: Shares) -> float:
        if right:
            return 0.0
        return self._rule.false_negative if truth else self._rule.false_positive

    def _function(self, truth: Scalar, answer: Any, shares: Shares) -> float:
        assert self._rule.function is not None  # noqa: S101 - a rule of this kind has one
        try:
            found = float(self._rule.function(truth, answer if self._numbers else self._by_class(truth, shares)))
        except Exception:  # noqa: BLE001 - a stream's own function may raise anything
            found = math.nan
        if not math.isfinite(found):
            self.failed += 1
            return self.bound
        return min(self.bound, max(0.0, found))

    def _by_class(self, truth: Scalar, shares: Shares) -> dict[Scalar, float]:
        """Return the probabilities by class, as labels are spelled in the log; that of the label is always there.

        Without a class set, keys are read as the kind that the label has.
        """
        target = self._rule.target
        if target.task == "binary":
            high = _share(shares, True)
            low = shares.get(class_key(False), 1.0 - high)
            return {True: high, False: _clipped(low)}
        known = {class_key(each): each for each in map(target.of_log, target.classes or ())}
        found = {known.get(key, _as_kind_of(truth, key)): _clipped(share) for key, share in shares.items()}
        return {truth: _clipped(shares.get(class_key(truth), 0.0)), **found}


def _error(truth: Scalar, right: bool, shares: Shares) -> float:
    return 0.0 if right else 1.0


def _log_loss(truth: Scalar, right: bool, shares: Shares) -> float:
    return 0.0 - math.log(max(LEAST_SHARE, _share(shares, truth)))


def _share(shares: Shares, label: Scalar) -> float:
    return _clipped(shares.get(class_key(label), 0.0))


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_most_probable(truth: Scalar, shares: Shares, binary: bool) -> bool:
    if binary:
        return (_share(shares, True) > 0.5) is truth
    return max(shares, key=lambda key: shares[key]) == class_key(truth)


def _as_kind_of(truth: Scalar, key: str) -> Scalar:
    if isinstance(truth, bool):
        return key == _TRUE if key in (_TRUE, class_key(False)) else key
    whole = whole_number(key) if isinstance(truth, int) else None
    return key if whole is None else whole
