"""The target: what kind of thing is predicted, and which labels count as such."""

from __future__ import annotations

import hashlib
import math
from typing import Final, Literal

import msgspec

from schemas.events import LabelValue, Scalar

Task = Literal["binary", "multiclass", "regression", "anomaly"]

_MOST_BITS: Final = 1023  # any number of so many is a finite double
_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no"})


class TargetError(ValueError):
    """A label is not of the kind this stream predicts; the message says what it is instead."""


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a stream predicts.

    Parameters
    ----------
    task
        binary, multiclass, regression, or anomaly (a score, labels optional).
    positive
        For binary: the label that means True, where labels are neither booleans nor 0 and 1.
    classes
        The class set, where it is known; any other label is refused.
    """

    task: Task
    positive: Scalar | None = None
    classes: tuple[Scalar, ...] | None = None

    def fingerprint(self) -> str:
        """Return a hash that differs where the target does."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def coerce(self, value: LabelValue) -> Scalar:
        """Return the label as the model is to see it.

        >>> Target(task="binary").coerce(1), Target(task="regression").coerce(3)
        (True, 3.0)

        Raises
        ------
        TargetError
            Where it is no label of this task.
        """
        if isinstance(value, dict):
            raise TargetError("a label with several outputs: models with one output only")
        if isinstance(value, float) and not math.isfinite(value):
            raise TargetError(f"the label is {value}")
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise TargetError(f"the label is a whole number of {value.bit_length()} bits; a double has no room for it")
        if self.task == "regression":
            return self._number(value)
        if self.task == "multiclass":
            return self._class(value)
        return self._boolean(value)

    def _number(self, value: Scalar) -> float:
        if isinstance(value, (bool, str)):
            raise TargetError(f"the label is {type(value).__name__} {value!r}, not a number")
        return float(value)

    def _class(self, value: Scalar) -> Scalar:
        if isinstance(value, float):
            if not value.is_integer():
                raise TargetError(f"the label is {value!r}: a class is a string, a whole number or a boolean")
            value = int(value)
        if self.classes is not None and value not in self.classes:
            raise TargetError(f"the label is {value!r}, which is not in the class set")
        return value

    def _boolean(self, value: Scalar) -> bool:
        if self.positive is not None:
            if isinstance(value, bool) and not isinstance(self.positive, bool):
                return value
            return value == self.positive
        if isinstance(value, bool):
            return value
        if isinstance(value, (int, float)) and value in (0, 1):
            return bool(value)
        if isinstance(value, str):
            lower = value.strip().lower()
            if lower in _TRUE:
                return True
            if lower in _FALSE:
                return False
        raise TargetError(
            f"the label is {value!r}: neither a boolean nor 0 or 1 (positive= names the one that is True)"
        )


def class_key(label: Scalar) -> str:
    """Return how a class is spelled as a key of `Outcome.probabilities`: as in JSON, strings as they are."""
    if isinstance(label, str):
        return label
    if isinstance(label, bool):
        return "true" if label else "false"
    return repr(label)
