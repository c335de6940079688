"""Rows as an estimator of scikit-learn is given them: the same form in training and in serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np

from consumers.model.river_model import ModelError
from schemas.events import Features, FeatureValue, Scalar
from schemas.label_spelling import class_key
from schemas.target import Task

Rows: TypeAlias = Literal["dicts", "frame", "vector"]
ColumnKind: TypeAlias = Literal["number", "text", "vector"]
_SPREAD: Final = frozenset({list, tuple, bytes})  # values that scikit-learn's vectorizers do not take
_NAN: Final = float("nan")
_LONG: Final = 2**63  # numpy's largest kind of whole numbers ends below it


class Column(msgspec.Struct, frozen=True, array_like=True):
    """A column of a frame. A vector of `width` numbers is as many columns: ``name.0``, ``name.1``, …"""

    name: str
    kind: ColumnKind
    width: int = 1


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: Rows
    columns: tuple[Column, ...] = ()
    vector: str = ""
    width: int = 0
    alone: bool = False
    classes: tuple[bool | int | float | str, ...] = ()


_read_written: Final = msgspec.json.Decoder(_Written).decode


@dataclass(frozen=True)
class RowForm:
    """Form of the rows that an estimator was fitted on, and is given when it answers.

    A missing number is NaN and a missing text is empty, because vectorizers of texts refuse everything else. Bytes are
    left out: the stream's `prepare` makes numbers of them.

    Attributes
    ----------
    rows
        ``dicts`` (a list of features by name), ``frame`` (a pandas DataFrame), or ``vector`` (a matrix of doubles).
    columns
        Columns of a frame, in their order.
    vector, width
        The feature that is a row of the matrix, and how many numbers it has.
    alone
        True if the answer to a row depends on the other rows in the call, so that each is asked alone.
    classes
        The classes as labels spell them, if the estimator knows them by their texts: see `class_array`.

    Examples
    --------
    >>> form = RowForm.of("frame", [{"km": 3, "by": "sea"}, {"by": "air"}])
    >>> [(each.name, each.kind) for each in form.columns]
    [('by', 'text'), ('km', 'number')]
    """

    rows: Rows
    columns: tuple[Column, ...] = ()
    vector: str = ""
    width: int = 0
    alone: bool = False
    classes: tuple[Scalar, ...] = ()

    @classmethod
    def of(cls, rows: Rows, several: Iterable[Features], *, vector: str = "") -> RowForm:
        """Return the form of the rows that an estimator is to be fitted on.

        Raises
        ------
        ModelError
            If `vector` is not in all rows with the same width, or a column is a vector in some rows only.
        """
        if rows == "dicts":
            return cls(rows)
        if rows == "vector":
            return cls(rows, vector=vector, width=_width(vector, {_length(each, vector) for each in several}))
        met: dict[str, dict[type, int]] = {}
        for features in several:
            for name, value in features.items():
                kinds = met.setdefault(name, {})
                length = len(value) if isinstance(value, list) else 0
                kinds[value.__class__] = max(kinds.get(value.__class__, 0), length)
        return cls(rows, tuple(column for name in sorted(met) if (column := _column(name, met[name])) is not None))

    def matrix(self, several: Sequence[Features]) -> Any:
        """Return rows for the estimator's methods.

        Raises
        ------
        ModelError, TypeError, ValueError, OverflowError
            If one of the rows does not have this form.
        """
        if self.rows == "dicts":
            if _SPREAD.isdisjoint(map(type, chain.from_iterable(map(dict.values, several)))):
                return several
            return [_flat(features) for features in several]
        if self.rows == "vector":
            return self._vectors(several)
        return self._frame(several)

    def _vectors(self, several: Sequence[Features]) -> Any:
        name, width = self.vector, self.width
        for features in several:
            length = _length(features, name)
            if length != width:
                found = f"{length} numbers" if length else "none"
                raise ModelError(f"the model needs the vector {name!r} with {width} numbers; the event has {found}")
        return np.array([features[name] for features in several], dtype=np.float64).reshape(len(several), width)

    def _frame(self, several: Sequence[Features]) -> Any:
        import pandas as pd

        made: dict[str, Any] = {}
        for column in self.columns:
            name = column.name
            if column.kind == "number":
                made[name] = _numbers(name, [features.get(name) for features in several])
            elif column.kind == "text":
                texts = np.empty(len(several), dtype=object)
                texts[:] = [_text(features.get(name)) for features in several]
                made[name] = pd.Series(texts, dtype=object)
            else:
                spread = _spread(column, [features.get(name) for features in several])
                made.update({f"{name}.{number}": spread[:, number] for number in range(column.width)})
        return pd.DataFrame(made, index=range(len(several)))

    def as_json(self) -> dict[str, Any]:
        """Return the form as a manifest holds it."""
        whole = _Written(self.rows, self.columns, self.vector, self.width, self.alone, self.classes)
        plain: dict[str, Any] = msgspec.to_builtins(whole)
        return plain

    @classmethod
    def from_json(cls, plain: Any) -> RowForm:
        """Return the form in a manifest. Raises ModelError if it is none."""
        try:
            read = _read_written(msgspec.json.encode(plain))
        except (msgspec.DecodeError, TypeError) as error:
            raise ModelError(f"the version says nothing valid about the form of its rows: {error}") from error
        return cls(read.rows, read.columns, read.vector, read.width, read.alone, read.classes)

    def asked_alone(self) -> RowForm:
        """Return the form for an estimator whose answers depend on the other rows in the call."""
        return replace(self, alone=True)


def class_array(labels: Sequence[Scalar], task: Task) -> tuple[Any, tuple[Scalar, ...]]:
    """Return labels as scikit-learn takes them, and the `classes` of the form.

    Labels of one kind stay what they are, so that `class_weight` and scorers find them. Classes of several kinds, which
    numpy would make equal or turn into texts by a rule of its own, are known to the estimator by their spelling.

    >>> class_array([True, False], "binary")
    (array([ True, False]), ())
    >>> class_array([1, "a", 1], "multiclass")
    (array(['1', 'a', '1'], dtype=object), (1, 'a'))
    """
    if task == "regression":
        return np.array(labels, dtype=np.float64), ()
    kinds = set(map(type, labels))
    if kinds == {bool}:
        return np.array(labels, dtype=np.bool_), ()
    if kinds == {int} and all(-_LONG <= label < _LONG for label in labels if isinstance(label, int)):
        return np.array(labels, dtype=np.int64), ()
    texts = np.empty(len(labels), dtype=object)  # of fixed width, numpy's texts lose what is at their end
    texts[:] = [class_key(label) for label in labels]
    return texts, () if kinds == {str} else tuple(dict(zip(texts, labels, strict=True)).values())


def _column(name: str, kinds: dict[type, int]) -> Column | None:
    """Return the column for the kinds of values that a feature has, `None` if no estimator can take them."""
    found = kinds.keys() - {type(None), bytes}
    if list in found:
        if found != {list}:
            raise ModelError(f"feature {name!r} is a vector in some rows, and a {_other(found)} in others")
        return Column(name, "vector", kinds[list])
    if str in found:
        return Column(name, "text")
    return Column(name, "number") if found else None


def _other(kinds: set[type]) -> str:
    return "text" if str in kinds else "number"


def _length(features: Features, name: str) -> int:
    value = features.get(name)
    return len(value) if isinstance(value, list) else 0


def _width(name: str, lengths: set[int]) -> int:
    if len(lengths) != 1 or 0 in lengths:
        said = ", ".join("no numbers" if not length else str(length) for length in sorted(lengths)[:5]) or "no rows"
        raise ModelError(f"the rows need the vector {name!r} with the same number of numbers; there are {said}")
    return lengths.pop()


def _flat(features: Features) -> Features:
    """Return features with vectors as one number for each place, and without bytes."""
    if _SPREAD.isdisjoint(map(type, features.values())):
        return features
    flat: Features = {}
    for name, value in features.items():
        if isinstance(value, (list, tuple)):
            flat.update({f"{name}.{number}": each for number, each in enumerate(value)})
        elif not isinstance(value, bytes):
            flat[name] = value
    return flat


def _text(value: FeatureValue) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, bytes)):
        raise ModelError("a column of texts has a value that is none")
    return class_key(value)


def _numbers(name: str, values: list[Any]) -> Any:
    if not {str, bytes, list}.isdisjoint(map(type, values)):
        raise ModelError(f"the model needs a number as {name!r}")
    return np.array([_NAN if value is None else value for value in values], dtype=np.float64)


def _spread(column: Column, values: list[Any]) -> Any:
    missing = [_NAN] * column.width
    for value in values:
        if value is not None and (not isinstance(value, list) or len(value) != column.width):
            raise ModelError(f"the model needs {column.width} numbers as {column.name!r}")
    rows = [missing if value is None else value for value in values]
    return np.array(rows, dtype=np.float64).reshape(len(values), column.width)
