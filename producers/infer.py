"""What a file shows of its columns: enough to write a stream's first contract from.

Only what the data shows is said. A range is what was seen, not what may come; whoever writes the stream
file decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from producers.csv_file import CsvFile
from producers.river_data import DEFAULT_LABEL, RiverData
from producers.rows import BadRow, Source, SourceError, SourceSpec
from producers.sources import open_source
from producers.values import Kind, widest
from schemas.events import FeatureValue, Scalar
from schemas.target import Task

SAMPLE_ROWS: Final = 10_000
MOST_CLASSES: Final = 20
_ROWS_TO_COMPARE: Final = 2000
_LEAST_ROWS: Final = 10
LABEL_NAMES: Final = ("label", "target", "class", "y", "outcome")
_ID_NAMES: Final = ("event_id", "id", "uuid")
TIME_NAMES: Final = ("event_time", "timestamp", "time", "datetime", "at", "date", "ts")
_POSITIVE: Final = frozenset({"1", "yes", "true", "y", "t", "up", "spam", "fraud", "positive", "pos", "bad"})
_PLAIN: Final = frozenset({"0", "1", "true", "false", "yes", "no"})


Guess: TypeAlias = tuple[Task, Scalar | None, tuple[Scalar, ...] | None]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature as the sample shows it.

    `distinct` is None above 1,000 values. `minimum` and `maximum` are what was seen of a number.
    `categories` are the values of a string with few of them, sorted.
    """

    name: str
    type: Kind
    required: bool
    missing: int
    distinct: int | None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What a source shows: its features, and guesses of what the other columns are.

    `positive` and `classes` are set where the label is text or has more than two values, as `Target`
    takes them. `empty` names columns without a single value. `rows` is how many were looked at.
    """

    columns: tuple[Column, ...]
    label: str | None
    task: Task
    positive: Scalar | None
    classes: tuple[Scalar, ...] | None
    id: str | None
    time: str | None
    empty: tuple[str, ...]
    rows: int


def infer(place: str, *, label: str | None = None, id: str | None = None, time: str | None = None) -> Inferred:  # noqa: A002 - the option's name
    """Look at the first `SAMPLE_ROWS` rows of a file or of ``river:NAME``.

    Columns that are not named are guessed by their names; the label is, failing that, the last column.

    Raises
    ------
    SourceError
        Where the source cannot be read, has no rows, or lacks a column that was named.
    """
    columns = _columns(open_source(place, SourceSpec(label=label or DEFAULT_LABEL, label_required=False)))
    for wanted in filter(None, (label, id, time)):
        if wanted not in columns:
            raise SourceError(f"{place} has no column {wanted!r}; it has: {', '.join(columns)}")
    label = label or _guess(columns, LABEL_NAMES, prefix="is_") or columns[-1]
    left = [name for name in columns if name != label]
    id = id or _guess(left, _ID_NAMES) or _unique(place, label, left)  # noqa: A001 - the option's name
    time = time or _guess([name for name in left if name != id], TIME_NAMES)
    return _look(place, label, id, time)


def _columns(source: Source) -> list[str]:
    columns: list[str] = source.columns()
    if not columns:
        raise SourceError(f"{source.name} has no rows to look at")
    return columns


def _guess(columns: Iterable[str], names: Iterable[str], prefix: str | None = None) -> str | None:
    by_lower = {column.lower(): column for column in reversed(list(columns))}
    for name in names:
        if name in by_lower:
            return by_lower[name]
    return next((column for lower, column in by_lower.items() if prefix and lower.startswith(prefix)), None)


def _unique(place: str, label: str, columns: Iterable[str]) -> str | None:
    """Return the first column that is named like some id and has another value in every row."""
    named = [column for column in columns if column.lower().endswith(("_id", "-id", "uuid")) or column.endswith("Id")]
    if not named:
        return None
    source = open_source(place, SourceSpec(label=label))
    rows = [row.features for row in islice(source.rows(lambda bad: None), _ROWS_TO_COMPARE)]
    for column in named:
        values = [str(features.get(column)) for features in rows if features.get(column) is not None]
        if len(values) == len(rows) >= _LEAST_ROWS and len(set(values)) == len(values):
            return column
    return None


def _look(place: str, label: str, id_: str | None, time: str | None) -> Inferred:
    plain = open_source(place, SourceSpec(label=label))
    time = time if time is not None and _is_time(place, label, time) else None
    spec = SourceSpec(label=label, id=id_, time=time)
    source = open_source(place, spec)
    seen: dict[str, _Seen] = {}
    labels = _Seen()
    rows = 0
    bad: list[BadRow] = []
    for row in islice(source.rows(bad.append), SAMPLE_ROWS):
        rows += 1
        labels.add(row.label)  # type: ignore[arg-type]
        for name, value in row.features.items():
            seen.setdefault(name, _Seen()).add(value)
    if not rows:
        raise SourceError(f"{plain.name} has no rows to look at" if not bad else str(bad[0]))
    kinds = source.kinds() if isinstance(source, CsvFile) else {}
    task, positive, classes = _task(labels)
    return Inferred(
        columns=tuple(found.column(name, rows, kinds.get(name)) for name, found in seen.items() if found.kind),
        label=label,
        task=task,
        positive=positive,
        classes=classes,
        id=id_,
        time=time,
        empty=tuple(name for name, found in seen.items() if not found.kind),
        rows=rows,
    )


def columns_of(rows: Iterable[Mapping[str, FeatureValue]]) -> tuple[Column, ...]:
    """Return what rows that are read already show of their columns; of those without a value, nothing."""
    seen: dict[str, _Seen] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            seen.setdefault(name, _Seen()).add(value)
    return tuple(found.column(name, count, None) for name, found in seen.items() if found.kind)


def task_of(labels: Iterable[Scalar]) -> Guess:
    """Return task, positive label and classes that labels look like; without any it is anomaly."""
    seen = _Seen()
    for label in labels:
        seen.add(label)
    return _task(seen)


def likely_positive(values: Iterable[Scalar]) -> Scalar | None:
    """Return which of one or two labels means True; none where they say so themselves."""
    found = set(values)
    if all(isinstance(value, bool) for value in found):
        return None
    return _positive(found) if all(isinstance(value, str) for value in found) else max(found, key=str)


def _is_time(place: str, label: str, time: str) -> bool:
    """Tell whether a column named like a time holds times: ``time`` may as well be an age in days."""
    source = open_source(place, SourceSpec(label=label, time=time))
    if isinstance(source, RiverData):
        return False
    bad: list[BadRow] = []
    found = list(islice(source.rows(bad.append), 100))
    return bool(found) and not bad and all(row.event_time_ms > _YEAR_1990_MS for row in found)


_YEAR_1990_MS: Final = 631_152_000_000


class _Seen:
    """What one column has shown so far."""

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.present = 0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.values: set[Scalar] | None = set()

    def add(self, value: FeatureValue) -> None:
        if value is None:
            return
        self.present += 1
        kind = _kind(value)
        self.kind = kind if self.kind is None else widest(self.kind, kind)
        if kind in {"number", "integer"}:
            assert isinstance(value, (int, float))  # noqa: S101 - what these two kinds are
            self.minimum = value if self.minimum is None else min(self.minimum, value)
            self.maximum = value if self.maximum is None else max(self.maximum, value)
        if self.values is not None and not isinstance(value, (list, bytes)):
            self.values.add(value)
            if len(self.values) > 1000:
                self.values = None

    def column(self, name: str, rows: int, kind: Kind | None) -> Column:
        kind = kind or self.kind
        assert kind is not None  # noqa: S101 - the caller leaves out columns without a value
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
        )


def _kind(value: FeatureValue) -> Kind:
    by_type: dict[type, Kind] = {bool: "boolean", int: "integer", float: "number", str: "string", bytes: "bytes"}
    return by_type.get(type(value), "vector")


def _task(labels: _Seen) -> Guess:
    """Guess task, positive and classes: two values are binary, words and few whole numbers are classes."""
    values, kind = labels.values, labels.kind
    if kind is None:
        return "anomaly", None, None
    if values is None:
        return "multiclass" if kind == "string" else "regression", None, None
    if len(values) <= 2 and {str(value).lower() for value in values} <= _PLAIN:
        return "binary", None, None
    return _by_words(values) if kind == "string" else _by_numbers(labels, values)


def _by_words(values: set[Scalar]) -> Guess:
    if len(values) == 2:
        # Named, so that a third spelling is refused and not taken for the negative one.
        return "binary", _positive(values), tuple(sorted(map(str, values)))
    return "multiclass", None, tuple(sorted(map(str, values))) if len(values) <= MOST_CLASSES else None


def _by_numbers(labels: _Seen, values: set[Scalar]) -> Guess:
    whole = [value for value in values if isinstance(value, int)]
    if labels.kind == "integer" and len(whole) == 2:
        return "binary", max(whole), tuple(sorted(whole))
    # Twenty labels a class, or the whole numbers are rather counts than names.
    if labels.kind == "integer" and len(whole) <= MOST_CLASSES and len(whole) * 20 <= labels.present:
        return "multiclass", None, tuple(sorted(whole))
    return "regression", None, None


def _positive(values: set[Scalar]) -> Scalar:
    """Guess which of two words means True: a known one, else the later in the alphabet."""
    words = sorted(map(str, values))
    return next((word for word in words if word.lower() in _POSITIVE), words[-1])
