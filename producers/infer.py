"""Inference of a file's columns, label and task, for a stream's first contract.

The result only describes the data. A range is the observed one, not the allowed one; the author of the stream file
decides that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, NamedTuple

from producers.column_guess import ColumnGuess
from producers.column_statistics import ColumnStatistics
from producers.columns import Choice, Column
from producers.csv_file import CsvFile
from producers.file_formats import open_source
from producers.id_guess import IdGuess, check_id, guess_id
from producers.label_guess import MOST_CLASSES, Labels, notes_of_alike, task_of, why_task
from producers.river_data import DEFAULT_LABEL, RiverData
from producers.rows import BadRow, RowSource, SourceError, SourceRow, SourceSpec
from producers.time_guess import TIME_NAMES, ordered_time, why_no_time
from schemas.contract import Contract
from schemas.events import Features, FeatureValue, LabelValue, Scalar
from schemas.label_spelling import class_key
from schemas.target import Task

SAMPLE_ROWS: Final = 10_000
EXAMPLES: Final = 2_000
NONE: Final = "none"  # as --id or --time: no column
_MOST_ROWS: Final = 1_000_000  # rows that are searched for a first label
_SHOWN: Final = 5
LABEL_NAMES: Final = ("label", "target", "class", "y", "outcome")


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """Result of the inference: features, and guesses about the other columns.

    `positive` and `classes` are set, in the form of `Target`, if the label is text or has more than two values. `empty`
    names columns without any value. `rows` is the number of examined rows. `left_out` names columns that are not
    features, with the reason. `notes` are sentences for the reader of the stream file, one for each uncertain guess.
    `examples` are the first rows with a label, to try models on, and `example_times` their times (ms) if there is a
    column of the time. `choices` say what was taken for label, task, id and
    time, and why.
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
    example_times: tuple[int, ...] = ()
    choices: tuple[Choice, ...] = ()


def infer(
    place: str,
    *,
    label: str | None = None,
    id: str | None = None,  # noqa: A002 - the option's name
    time: str | None = None,
    task: Task | None = None,
) -> Inferred:
    """Examine the first `SAMPLE_ROWS` rows of a file or of ``river:NAME``.

    Columns that are not given are guessed by their names and values. ``"none"`` for `id` or `time` means no column.

    Raises
    ------
    SourceError
        If the source cannot be read, has no rows, or lacks a given column, or its labels are not those of `task`.
    """
    columns = _columns(open_source(place, SourceSpec(label=label or DEFAULT_LABEL, label_required=False)))
    no_id, no_time = (given == NONE and NONE not in columns for given in (id, time))
    for wanted in (label, None if no_id else id, None if no_time else time):
        if wanted is not None and wanted not in columns:
            raise SourceError(f"{place} has no column {wanted!r}; it has: {', '.join(columns)}")
    label, why_label = (label, "--label") if label is not None else _label(place, columns, task)
    left = [name for name in columns if name != label]
    if no_id:
        names = IdGuess(None)
    else:
        names = guess_id(place, label, left, SAMPLE_ROWS) if id is None else check_id(place, label, id, SAMPLE_ROWS)
    by_name = _guess([name for name in left if name != names.column], TIME_NAMES) if time is None else None
    taken = _time(place, label, None if no_time else time, by_name)
    looked = _look(place, label, names.column, taken)
    why_time = "--time" if time is not None else "named like a time"
    if time is None and taken is None:
        taken = ordered_time(place, label, looked.dates, SAMPLE_ROWS)
        why_time = "its times never fall from row to row"
        looked = looked if taken is None else _look(place, label, names.column, taken)
    named = (label, names.column, taken)
    found, labels = _inferred(looked, named, task), looked.labels
    choices = (
        *_label_choices(found, labels, why_label, task),
        Choice("id", names.column or NONE, names.why if id is None else f"--id {NONE}" if no_id else "--id"),
        Choice("time", taken, why_time) if taken else Choice("time", NONE, _no_time(no_time, looked.dates)),
    )
    notes = (*filter(None, [names.note]), *_label_notes(place, found), *found.notes, *_unseen(columns, found, named))
    return replace(found, notes=notes, choices=choices)


def _label(place: str, columns: Sequence[str], task: Task | None) -> tuple[str | None, str]:
    """Guess the label's column: by its name, else the last one whose values can be labels."""
    by_name = _guess(columns, LABEL_NAMES, prefix="is_")
    if by_name is not None:
        return by_name, "named like a label"
    if task == "anomaly":
        return None, "no column is named like a label"
    looked = _look(place, None, None, None)
    fit = [column.name for column in looked.columns if _may_be_label(column)]
    if not fit or fit[-1] == columns[-1]:
        return columns[-1], "last column"
    last = looked.left_out.get(columns[-1], "too many different values")
    return max(fit, key=columns.index), f"last column, as {columns[-1]} holds {last},"


def _may_be_label(column: Column) -> bool:
    few = column.distinct is not None and column.distinct <= MOST_CLASSES
    return column.type in {"number", "integer", "boolean"} or (column.type == "string" and few)


def _time(place: str, label: str | None, given: str | None, by_name: str | None) -> str | None:
    if given is not None:
        if (why := why_no_time(place, label, given)) is not None:
            raise SourceError(f"--time {given}: {why}")
        return given
    return by_name if by_name is not None and why_no_time(place, label, by_name) is None else None


def _no_time(no_time: bool, dates: Sequence[str]) -> str:
    if no_time:
        return "--time none"
    if not dates:
        return "no column of times was found"
    return f"{', '.join(dates[:_SHOWN])} may be something else than the event's time; --time NAME takes it"


def _label_choices(found: Inferred, labels: Labels, why: str, task: Task | None) -> Iterator[Choice]:
    count = len(labels.counts)
    many = "no values" if not count else "1 value" if count == 1 else f"{count:,} values"
    seen = labels.text
    yield Choice("label", found.label or NONE, why if found.label is None else f"{why} with {many}", seen)
    yield Choice("task", found.task, "--task" if task is not None else why_task(labels, found.task))
    if found.positive is not None:
        others = [each for each in labels.counts if str(each) != str(found.positive)]
        yield Choice("positive", class_key(found.positive), f"means True; {', '.join(map(str, others))} False")


def _label_notes(place: str, found: Inferred) -> Sequence[str]:
    """Return notes on labels that differ only in their spelling."""
    if found.label is None or found.task == "regression":
        return ()
    spec = SourceSpec(label=None, id=found.label, label_required=False)
    source = open_source(place, spec)
    if isinstance(source, RiverData):
        return ()
    spelled: Counter[str] = Counter()
    for number, row in enumerate(islice(source.raw_rows(lambda _bad: None), _MOST_ROWS)):
        if number >= SAMPLE_ROWS and spelled:
            break
        value = row.named.get(found.label)
        if isinstance(value, (bool, int, float, str)) and value != "":
            spelled[class_key(value)] += 1
    return notes_of_alike(found.label, spelled, (found.task, found.positive, found.classes))


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


class _Looked(NamedTuple):
    """What the sample of rows showed. `left_out` has a reason for each column that is no feature."""

    columns: tuple[Column, ...]
    left_out: dict[str, str]
    empty: tuple[str, ...]
    dates: tuple[str, ...]
    labels: Labels
    bad: list[BadRow]
    rows: int
    examples: tuple[tuple[Features, LabelValue], ...]
    example_times: tuple[int, ...]


def _look(place: str, label: str | None, id_: str | None, time: str | None) -> _Looked:
    source = open_source(place, SourceSpec(label=label, id=id_, time=time, label_required=False))
    seen: dict[str, ColumnStatistics] = {}
    labels: list[Scalar] = []
    rows = 0
    bad: list[BadRow] = []
    examples: list[tuple[Features, LabelValue]] = []
    times: list[int] = []
    for row in _sample(source.rows(bad.append)):
        rows += 1
        if row.label is not None:
            labels.append(row.label)  # type: ignore[arg-type]
            if len(examples) < EXAMPLES:
                examples.append((row.features, row.label))
                times += [] if time is None else [row.event_time_ms]
        for name, value in row.features.items():
            seen.setdefault(name, ColumnStatistics()).add(value)
    if not rows:
        raise SourceError(f"{source.name} has no rows to look at" if not bad else str(bad[0]))
    for found in seen.values():
        found.settle()
    guesses: Mapping[str, ColumnGuess] = source.guesses() if isinstance(source, CsvFile) else {}
    there = {name: found.column(name, rows, guesses.get(name)) for name, found in seen.items() if found.kind}
    long_ids = {name for name, guess in guesses.items() if guess.long_ids}
    left_out: dict[str, str] = {}
    for name, column in there.items():
        why = "whole numbers beyond 64 bits" if name in long_ids else seen[name].left_out(column, rows)
        if why is not None:
            left_out[name] = why
    return _Looked(
        columns=tuple(column for name, column in there.items() if name not in left_out),
        left_out=left_out,
        empty=tuple(name for name, found in seen.items() if not found.kind),
        dates=tuple(name for name, why in left_out.items() if seen[name].all_dates or why.startswith("times in")),
        labels=Labels.of(labels),
        bad=bad,
        rows=rows,
        examples=tuple(examples),
        example_times=tuple(times),
    )


def _inferred(looked: _Looked, named: tuple[str | None, str | None, str | None], given: Task | None) -> Inferred:
    task, positive, classes = task_of(looked.labels, given)
    return Inferred(
        columns=looked.columns,
        label=named[0],
        task=task,
        positive=positive,
        classes=classes,
        id=named[1],
        time=named[2],
        empty=looked.empty,
        rows=looked.rows,
        left_out=looked.left_out,
        notes=tuple(_notes(looked.columns, looked.left_out, looked.empty, looked.bad, looked.rows)),
        examples=looked.examples,
        example_times=looked.example_times,
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
    seen: dict[str, ColumnStatistics] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            seen.setdefault(name, ColumnStatistics()).add(value)
    for found in seen.values():
        found.settle()
    return tuple(found.column(name, count, None) for name, found in seen.items() if found.kind)
