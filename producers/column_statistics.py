"""Statistics of a column over a sample of rows: type, extremes, categories, and use as a feature."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from producers.cell_spellings import is_missing
from producers.cell_types import Kind, widest
from producers.column_guess import ColumnGuess
from producers.columns import Column
from producers.id_guess import numbers_as_ids, texts_as_ids
from producers.label_guess import MOST_CLASSES
from producers.time_guess import is_ms
from schemas.events import FeatureValue, Scalar

MOST_CODES: Final = 50  # different texts of digits; more of them are numbers and not codes
_LEAST_ROWS: Final = 20  # in fewer, a column may have one value by chance
_LIKE_ROW_NUMBER: Final = re.compile(
    r"(unnamed:? ?\d*|index|idx|rows?|row_?(number|num|nr|no|id)|n[ro]\.?|#|line)?", re.IGNORECASE
)
_SHOWN: Final = 5


class ColumnStatistics:
    """Statistics of one column, over its values one by one."""

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.present = 0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.values: set[Scalar] | None = set()
        self.words: Counter[str] = Counter()  # such as "NA": missing among numbers, a text among texts
        self.texts = ColumnGuess()
        self.example = ""
        self._spaced = False
        self._distinct = 0  # distinct texts among the first values
        self._counted = 0
        self._last: int | None = None
        self._numbers_rows = True  # each whole number is one more than that of the row before

    def add(self, value: FeatureValue) -> None:
        """Add one value."""
        if value is None:
            return
        if isinstance(value, str):
            if is_missing(value):
                self.words[value] += 1
                return
            self.texts.add(value)
            self.example = self.example or value
            self._spaced = self._spaced or " " in value.strip()
        self.present += 1
        kind = _kind(value)
        if self._numbers_rows:
            self._numbers_rows = kind == "integer" and (self._last is None or value == self._last + 1)
            self._last = value if isinstance(value, int) else None
        self.kind = kind if self.kind is None else widest(self.kind, kind)
        if kind in {"number", "integer"}:
            assert isinstance(value, (int, float))  # noqa: S101 - these two kinds are numbers
            self.minimum = value if self.minimum is None else min(self.minimum, value)
            self.maximum = value if self.maximum is None else max(self.maximum, value)
        if self.values is not None and not isinstance(value, (list, bytes)):
            self.values.add(value)
            self._distinct, self._counted = len(self.values), self.present
            if len(self.values) > 1000:
                self.values = None

    def settle(self, *, always: bool = False) -> None:
        """Count words such as "NA" as texts unless other values are numbers; if all are words, only if `always`."""
        if self.kind in {"number", "integer"} or not self.words or (self.kind is None and not always):
            return
        self.kind = "string"
        self.present += self.words.total()
        if self.values is not None:
            self.values.update(self.words)

    @property
    def ids(self) -> str | None:
        """Return a text about values that look like ids; `None` for others."""
        if self.kind != "string" or self._spaced:
            return None
        return texts_as_ids(self._distinct, self._counted, self.example)

    @property
    def all_dates(self) -> bool:
        """Return whether all texts are dates or times; call it after `settle`."""
        return self.kind == "string" and self.minimum is None and self.texts.dates

    def left_out(self, column: Column, rows: int) -> str | None:
        """Return why a column is no feature; `None` if it may be one. Call it after `settle`."""
        if self.all_dates:
            return f"dates or times, such as {self.example!r}"
        if is_ms(column):
            return "times in ms since 1970"
        if self._numbers_rows and _LIKE_ROW_NUMBER.fullmatch(column.name):
            return "the number of the row"
        if (why := numbers_as_ids(column) or self.ids) is not None:
            return why
        if column.required and column.distinct == 1 and rows >= _LEAST_ROWS:
            return f"one value, {next(iter(self.values or ()))!r:.40}, in all {rows:,} rows"
        return self.hidden_numbers if column.type == "string" else None

    @property
    def hidden_numbers(self) -> str | None:
        """Return a text on many different texts that are numbers for people; `None` for other columns."""
        hidden = self.texts.hidden_numbers if self.kind == "string" else None
        if hidden is None or self._distinct <= MOST_CODES:
            return None
        return self.texts.remark or f"numbers written as text ({hidden})"

    def column(self, name: str, rows: int, guess: ColumnGuess | None) -> Column:
        """Return the description of the column; `guess` knows how a text file spells its values."""
        kind = (guess and guess.kind) or self.kind
        assert kind is not None  # noqa: S101 - the caller omits columns without a value
        numeric = kind in {"number", "integer"}
        values = self.values
        few = kind == "string" and values is not None and len(values) <= MOST_CLASSES and len(values) * 10 <= rows
        return Column(
            name=name,
            type=kind,
            required=self.present == rows,
            missing=rows - self.present,
            distinct=None if values is None else len(values),
            minimum=self.minimum if numeric else None,
            maximum=self.maximum if numeric else None,
            categories=tuple(sorted(map(str, values))) if few and values else None,
            remark=self._remark(kind) if guess is None else _remark(guess.missing, guess.remark),
        )

    def _remark(self, kind: Kind) -> str | None:
        """Return a remark on a column whose values are already typed."""
        if kind == "string" and self.texts.kind in {"number", "integer"}:
            return f"text that holds numbers, such as {self.example!r}: write them without quotes if they are to count"
        return _remark(self.words if kind in {"number", "integer"} else {}, None)


def _remark(missing: Mapping[str, int], remark: str | None) -> str | None:
    said = [] if remark is None else [remark]
    if missing:
        words = ", ".join(f"{word!r} ({count:,} rows)" for word, count in list(missing.items())[:_SHOWN])
        said.append(f"{words} taken as a missing value")
    return "; ".join(said) or None


def _kind(value: FeatureValue) -> Kind:
    by_type: dict[type, Kind] = {bool: "boolean", int: "integer", float: "number", str: "string", bytes: "bytes"}
    return by_type.get(type(value), "vector")
