"""Inference of a file's columns, label and task, for a stream's first contract.

The result only describes the data. A range is the observed one, not the allowed one; the author of the stream file
decides that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, TypeAlias

from producers.cell_spellings import is_missing
from producers.cell_types import Kind, widest
from producers.column_guess import ColumnGuess
from producers.columns import Column
from producers.csv_file import CsvFile
from producers.file_formats import open_source
from producers.id_guess import check_id, guess_id, numbers_as_ids, texts_as_ids
from producers.river_data import DEFAULT_LABEL, RiverData
from producers.rows import BadRow, RowSource, SourceError, SourceRow, SourceSpec
from schemas.contract import Contract
from schemas.events import Features, FeatureValue, LabelValue, Scalar
from schemas.target import Task

SAMPLE_ROWS: Final = 10_000
EXAMPLES: Final = 2_000
MOST_CLASSES: Final = 20
_MOST_ROWS: Final = 1_000_000  # rows that are searched for a first label
_SHOWN: Final = 5
LABEL_NAMES: Final = ("label", "target", "class", "y", "outcome")
TIME_NAMES: Final = ("event_time", "timestamp", "time", "datetime", "at", "date", "ts")
_POSITIVE: Final = frozenset({"1", "yes", "true", "y", "t", "up", "spam", "fraud", "positive", "pos", "bad"})
_PLAIN: Final = frozenset({"0", "1", "true", "false", "yes", "no"})


Guess: TypeAlias = tuple[Task, Scalar | None, tuple[Scalar, ...] | None]


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """Result of the inference: features, and guesses about the other columns.

    `positive` and `classes` are set, in the form of `Target`, if the label is text or has more than two values. `empty`
    names columns without any value. `rows` is the number of examined rows. `left_out` names columns that are not
    features, with the reason. `notes` are sentences for the reader of the stream file, one for each uncertain guess.
    `examples` are the first rows with a label, to try models on.
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    examples: tuple[tuple[Features, LabelValue], ...] = ()


def infer(place: str, *, label: str | None = None, id: str | None = None, time: str | None = None) -> Inferred:  # noqa: A002 - the option's name
    """Examine the first `SAMPLE_ROWS` rows of a file or of ``river:NAME``.

    Columns that are not given are guessed by their names; if no name fits, the label is the last column.

    Raises
    ------
    SourceError
        If the source cannot be read, has no rows, or lacks a given column.
    """
    columns = _columns(open_source(place, SourceSpec(label=label or DEFAULT_LABEL, label_required=False)))
    for wanted in filter(None, (label, id, time)):
        if wanted not in columns:
            raise SourceError(f"{place} has no column {wanted!r}; it has: {', '.join(columns)}")
    label = label or _guess(columns, LABEL_NAMES, prefix="is_") or columns[-1]
    left = [name for name in columns if name != label]
    names = guess_id(place, label, left, SAMPLE_ROWS) if id is None else check_id(place, label, id, SAMPLE_ROWS)
    id = names.column  # noqa: A001 - the option's name
    if time is None:
        time = _guess([name for name in left if name != id], TIME_NAMES)
        time = time if time is not None and _why_no_time(place, label, time) is None else None
    elif (why := _why_no_time(place, label, time)) is not None:
        raise SourceError(f"--time {time}: {why}")
    found = _look(place, label, id, time)
    noted = () if names.note is None else (names.note,)
    return replace(found, notes=(*noted, *found.notes, *_unseen(columns, found, (label, id, found.time))))


def _columns(source: RowSource) -> list[str]:
    columns: list[str] = source.columns()
    if not columns:
        bad: list[BadRow] = []
        next(source.raw_rows(bad.append), None)
        raise SourceError(str(bad[0]) if bad else f"{source.name} has no rows to look at")
    return columns


def _guess(columns: Iterable[str], names: Iterable[str], prefix: str | None = None) -> str | None:
    by_lower = {column.lower(): column for column in reversed(list(columns))}
    for name in names:
        if name in by_lower:
            return by_lower[name]
    return next((column for lower, column in by_lower.items() if prefix and lower.startswith(prefix)), None)


def _unseen(columns: Iterable[str], found: Inferred, named: Iterable[str | None]) -> Iterator[str]:
    """Yield a note on columns that first appear after the examined rows."""
    seen = {*(column.name for column in found.columns), *found.empty, *found.left_out, *named}
    late = [column for column in columns if column not in seen]
    if late:
        shown = ", ".join(late[:_SHOWN]) + (", …" if len(late) > _SHOWN else "")
        yield f"{shown}: in no row that was looked at, but later in the file; add what is a feature"


def _look(place: str, label: str, id_: str | None, time: str | None) -> Inferred:
    source = open_source(place, SourceSpec(label=label, id=id_, time=time))
    seen: dict[str, _Seen] = {}
    labels = _Seen()
    rows = 0
    bad: list[BadRow] = []
    examples: list[tuple[Features, LabelValue]] = []
    for row in _sample(source.rows(bad.append)):
        rows += 1
        if row.label is not None and len(examples) < EXAMPLES:
            examples.append((row.features, row.label))
        labels.add(row.label)  # type: ignore[arg-type]
        for name, value in row.features.items():
            seen.setdefault(name, _Seen()).add(value)
    if not rows:
        raise SourceError(f"{source.name} has no rows to look at" if not bad else str(bad[0]))
    labels.settle(always=True)
    for found in seen.values():
        found.settle()
    guesses = source.guesses() if isinstance(source, CsvFile) else {}
    there = {name: found.column(name, rows, guesses.get(name)) for name, found in seen.items() if found.kind}
    left_out = {name: f"dates or times, such as {seen[name].example!r}" for name in there if seen[name].all_dates}
    left_out |= {name: "times in ms since 1970" for name, column in there.items() if _is_ms(column)}
    ids = {name: numbers_as_ids(column) or seen[name].ids for name, column in there.items()}
    ids |= {name: "whole numbers beyond 64 bits" for name, guess in guesses.items() if name in there and guess.long_ids}
    left_out |= {name: why for name, why in ids.items() if why is not None and name not in left_out}
    columns = tuple(column for name, column in there.items() if name not in left_out)
    empty = tuple(name for name, found in seen.items() if not found.kind)
    task, positive, classes = _task(labels)
    return Inferred(
        columns=columns,
        label=label,
        task=task,
        positive=positive,
        classes=classes,
        id=id_,
        time=time,
        empty=empty,
        rows=rows,
        left_out=left_out,
        notes=tuple(_notes(columns, left_out, empty, bad, rows)),
        examples=tuple(examples),
    )


def _sample(rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    """Yield the first `SAMPLE_ROWS` rows; if they have no label, also as many rows with one."""
    labelled = False
    for row in islice(rows, SAMPLE_ROWS):
        labelled = labelled or row.label is not None
        yield row
    if not labelled:
        later = islice(rows, _MOST_ROWS)
        yield from islice((row for row in later if row.label is not None), SAMPLE_ROWS)


def _notes(
    columns: Sequence[Column], left_out: Mapping[str, str], empty: Sequence[str], bad: Sequence[BadRow], rows: int
) -> Iterator[str]:
    yield from (f"{column.name}: {column.remark}" for column in columns if column.remark)
    for name, why in left_out.items():
        yield f"{name}: left out, as it holds {why}; a model needs numbers or categories made of them"
    if empty:
        shown = ", ".join(empty[:_SHOWN]) + (f" and {len(empty) - _SHOWN:,} more" if len(empty) > _SHOWN else "")
        yield f"{shown}: left out, as no row has a value there"
    if len(columns) > (most := Contract().max_features):
        set_to = f"Validation(max_features={len(columns)})"
        yield f"{len(columns):,} features, where {most:,} are the most of one event: {set_to} is set"
    if bad:
        lost = sum(each.rows for each in bad)
        yield f"{lost:,} of {rows + lost:,} rows cannot be read and were left out; the first is {bad[0]}"


def columns_of(rows: Iterable[Mapping[str, FeatureValue]]) -> tuple[Column, ...]:
    """Return the columns of decoded rows, without those that have no value."""
    seen: dict[str, _Seen] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            seen.setdefault(name, _Seen()).add(value)
    for found in seen.values():
        found.settle()
    return tuple(found.column(name, count, None) for name, found in seen.items() if found.kind)


def task_of(labels: Iterable[Scalar]) -> Guess:
    """Guess task, positive label and classes from labels; without labels the task is anomaly."""
    seen = _Seen()
    for label in labels:
        seen.add(label)
    return _task(seen)


def likely_positive(values: Iterable[Scalar]) -> Scalar | None:
    """Guess which of one or two labels means True; `None` if they are booleans by themselves."""
    found = set(values)
    if all(isinstance(value, bool) for value in found):
        return None
    return _positive(found) if all(isinstance(value, str) for value in found) else max(found, key=str)


def _why_no_time(place: str, label: str, time: str) -> str | None:
    """Return why a column does not hold times, `None` if it does: ``time`` may also be an age in days."""
    source = open_source(place, SourceSpec(label=label, time=time))
    if isinstance(source, RiverData):
        return f"{place} has no times"
    bad: list[BadRow] = []
    found = list(islice(source.rows(bad.append), 100))
    wrong = [each for each in bad if "the time column" in each.reason]
    if wrong:
        return str(wrong[0])
    if not found or any(row.event_time_ms <= _YEAR_1990_MS for row in found):
        return f"{place} has times before 1990 there: they must be ISO 8601 or ms since 1970"
    return None


def _is_ms(column: Column) -> bool:
    """Return whether a column of whole numbers has a time's name and values from 1990 to 2100."""
    if column.minimum is None or column.maximum is None or not _LIKE_TIME.fullmatch(column.name):
        return False
    return column.type == "integer" and _YEAR_1990_MS <= column.minimum <= column.maximum <= _YEAR_2100_MS


_LIKE_TIME: Final = re.compile(r".*(_at|_ts|[Tt]ime|[Dd]ate|stamp|[a-z]At)")
_YEAR_1990_MS: Final = 631_152_000_000
_YEAR_2100_MS: Final = 4_102_444_800_000


class _Seen:
    """Statistics of one column."""

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

    def add(self, value: FeatureValue) -> None:
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

    def column(self, name: str, rows: int, guess: ColumnGuess | None) -> Column:
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
        # Both classes are listed, so that a third spelling is refused and not taken for the negative one.
        return "binary", _positive(values), tuple(sorted(map(str, values)))
    return "multiclass", None, tuple(sorted(map(str, values))) if len(values) <= MOST_CLASSES else None


def _by_numbers(labels: _Seen, values: set[Scalar]) -> Guess:
    whole = [value for value in values if isinstance(value, int)]
    if labels.kind == "integer" and len(whole) == 2:
        return "binary", max(whole), tuple(sorted(whole))
    # With fewer than twenty labels for each class, whole numbers are probably counts and not classes.
    if labels.kind == "integer" and len(whole) <= MOST_CLASSES and len(whole) * 20 <= labels.present:
        return "multiclass", None, tuple(sorted(whole))
    return "regression", None, None


def _positive(values: set[Scalar]) -> Scalar:
    """Guess which of two words means True: a known word, else the later one in the alphabet."""
    words = sorted(map(str, values))
    return next((word for word in words if word.lower() in _POSITIVE), words[-1])
