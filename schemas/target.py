"""The target of a stream: its task and the labels that are valid for it."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import Final, Literal

import msgspec

from schemas.events import LabelValue, Scalar
from schemas.label_spelling import Spellings, class_key, folded, number, shown, whole_number

__all__ = ["Target", "TargetError", "Task", "class_key"]

Task = Literal["binary", "multiclass", "regression", "anomaly"]

_MOST_BITS: Final = 1023  # any whole number of so many bits fits into a finite double
_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no"})
# Programs write these for a missing value. "none" is not among them, because it may be a class.
_MISSING: Final = frozenset({"NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "?"})


class TargetError(ValueError):
    """A label is invalid for the stream's target; the message describes it."""


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The target of a stream.

    Parameters
    ----------
    task
        binary, multiclass, regression, or anomaly (a score, labels optional).
    positive
        For binary: the label that means True, if labels are neither booleans nor 0 and 1.
    classes
        The class set, if it is known; any other label is refused.
    """

    task: Task
    positive: Scalar | None = None
    classes: tuple[Scalar, ...] | None = None

    def fingerprint(self) -> str:
        """Return a hash that is equal only for equal targets."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def check(self) -> None:
        """Raise TargetError unless the target is consistent.

        Raises
        ------
        TargetError
            If no label could be valid, or two classes have the same spelling.
        """
        if self.positive is False:
            raise TargetError("positive=False: leave it out, labels that are booleans mean what they say")
        if self.classes is None or self.task == "regression":
            return
        if not self.classes:
            raise TargetError("classes= is empty")
        met = Spellings()
        for label in map(_scalar, self.classes):
            if (same := met.find(label)) is not None:
                raise TargetError(f"classes= has {shown(same)} and {shown(label)}, which are one class")
            met.add(label)
            if self.task == "multiclass":
                _whole(label)
            elif self.positive is None or self.positive is True:
                self._insist_on_word(label)
        positive = None if self.task == "multiclass" or isinstance(self.positive, bool) else self.positive
        if positive is not None and met.find(positive) is None:
            raise TargetError(f"positive={shown(self.positive)} is not in the class set {shown(self.classes)}")

    def _insist_on_word(self, label: Scalar) -> None:
        try:
            _word(label)
        except TargetError as error:
            raise TargetError(f"positive= must say which of classes={shown(self.classes)} is True") from error

    def coerce(self, value: LabelValue) -> Scalar:
        """Return the label as it is written to the examples log, from any of its spellings.

        A label that is not a known class is refused. If `classes` is not given, any other label of the same kind as
        `positive` is negative, unless it differs from `positive` only in its spelling.

        >>> Target(task="binary").coerce(1), Target(task="regression").coerce(3)
        (True, 3.0)
        >>> [Target(task="binary", positive=2).coerce(label) for label in (2, "2", 2.0, 3)]
        [True, True, True, False]

        Raises
        ------
        TargetError
            If it is not a valid label of this task.
        """
        if value.__class__ is bool and self.task == "binary":
            return value
        scalar = _scalar(value)
        if self.task == "regression":
            return self._number(scalar)
        return self._class(scalar) if self.task == "multiclass" else self._boolean(scalar)

    def of_log(self, value: LabelValue) -> Scalar:
        """Return a label of the examples log in the form for the model.

        Labels were coerced before they were written, perhaps long ago and by other rules. A class that was accepted
        then keeps its spelling, so that a replay gives the same model.

        Raises
        ------
        TargetError
            Like `coerce`.
        """
        if self.task != "multiclass":
            return self.coerce(value)
        scalar = _scalar(value)
        label = _whole(scalar)
        return label if self.classes is None or label in self.classes else self.coerce(label)

    @cached_property
    def _spelled(self) -> Spellings:
        return Spellings(self.classes or ())

    def _number(self, value: Scalar) -> float:
        if isinstance(value, (bool, str)):
            raise TargetError(f"the label is {type(value).__name__} {shown(value)}, not a number")
        return float(value)

    def _class(self, value: Scalar) -> Scalar:
        label = _whole(value)
        if self.classes is not None:
            return self._known(label)
        return _text(label) if isinstance(label, str) else label

    def _known(self, label: Scalar) -> Scalar:
        """Return the class of the set that a label spells."""
        found = self._spelled.find(label)
        if found is None and isinstance(label, str) and (whole := whole_number(label)) is not None:
            found = self._spelled.find(whole)
        if found is None:
            raise TargetError(f"the label is {shown(label)}, which is not in the class set {shown(self.classes)}")
        return _whole(found)

    def _boolean(self, value: Scalar) -> bool:
        if isinstance(value, bool):
            return value
        if self.classes is not None:
            value = self._known(value)
            if self.positive is not None and not isinstance(self.positive, bool):
                return value == self._known(self.positive)
        if self.positive is None or isinstance(self.positive, bool):
            return _word(value)
        return self._is_text(value, self.positive) if isinstance(self.positive, str) else self._is_number(value)

    def _is_number(self, value: Scalar) -> bool:
        """Return whether a label equals `positive`, which is a number."""
        found = number(value) if isinstance(value, str) else value
        if found is None:
            raise self._of_another_kind(value)
        return found == self.positive

    def _is_text(self, value: Scalar, positive: str) -> bool:
        """Return whether a label equals `positive`, which is a text."""
        whole = whole_number(positive)
        if not isinstance(value, str):
            if whole is None:
                raise self._of_another_kind(value)
            return value == whole
        text = _text(value)
        if text == positive.strip() or (whole is not None and whole == whole_number(text)):
            return True
        if folded(text) == folded(positive):
            raise TargetError(
                f"the label is {shown(value)}, which is almost positive={shown(positive)}: it must be spelled as that, "
                "or be one of classes="
            )
        if text in _MISSING:
            raise TargetError(f"the label is {shown(value)}, which is no label unless classes= names it")
        return False

    def _of_another_kind(self, value: Scalar) -> TargetError:
        kind = "a text" if isinstance(value, str) else "a number"
        return TargetError(f"the label is {shown(value)}, {kind}, and positive={shown(self.positive)} is not")


def _scalar(value: LabelValue) -> Scalar:
    """Return a label that a model can learn. Raises TargetError if it is a list, null, not finite or too large."""
    if isinstance(value, dict):
        raise TargetError("a label with several outputs: models with one output only")
    if isinstance(value, float) and not math.isfinite(value):
        raise TargetError(f"the label is {value}")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise TargetError(f"the label is a whole number of {value.bit_length()} bits; a double has no room for it")
    if not isinstance(value, (bool, int, float, str)):
        raise TargetError(f"the label is {shown(value)}: it must be a number, a string or a boolean")
    return value


def _whole(value: Scalar) -> Scalar:
    """Return a label as a class; a double is a class only if it is a whole number."""
    if not isinstance(value, float):
        return value
    if not value.is_integer():
        raise TargetError(f"the label is {value!r}: a class is a string, a whole number or a boolean")
    return int(value)


def _text(value: str) -> str:
    """Return a text without white space at its ends. Raises TargetError if nothing is left."""
    text = value.strip()
    if not text:
        raise TargetError(f"the label is {shown(value)}, an empty text")
    return text


def _word(value: Scalar) -> bool:
    """Return a label as a boolean, for a target without `positive`."""
    if isinstance(value, str):
        whole = whole_number(value)
        lower = value.strip().lower() if whole is None else str(whole)
        if lower in _TRUE or lower in _FALSE:
            return lower in _TRUE
    elif value in (0, 1):
        return bool(value)
    raise TargetError(
        f"the label is {shown(value)}: neither a boolean nor 0 or 1 (positive= names the one that is True)"
    )
