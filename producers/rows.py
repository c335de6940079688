"""Rows of a data source, and their conversion to events and labels."""

from __future__ import annotations

import abc
import math
import time
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

import msgspec

from producers.cell_spellings import dotted_date
from producers.cell_types import Kind, NotAValue
from schemas.contract import Contract
from schemas.events import Features, FeatureValue, LabelValue
from schemas.exact_integers import EXACT, NotExact, long_of, vector_of
from schemas.preparing import Prepare
from schemas.target import Target, TargetError

_MOST_LABELS: Final = 1000
_YEAR_9999_MS: Final = 253_402_300_800_000


class SourceError(ValueError):
    """A file or data set cannot be read as events; the message names it and the solution."""


class BadRow(SourceError):  # noqa: N818 - it describes a row, not an error of the program
    """One row cannot be an event.

    Attributes
    ----------
    source, line, reason
        Parts of the message. `line` is the line of a text file, from 1, else the record's number.
    rows
        Number of rows of the file that are lost: an unclosed quote swallows other rows.
    """

    def __init__(self, source: str, line: int, reason: str, unit: str = "line", rows: int = 1) -> None:
        super().__init__(f"{source}, {unit} {line}: {reason}")
        self.source = source
        self.line = line
        self.reason = reason
        self.rows = rows


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Meaning of a source's columns.

    Parameters
    ----------
    target
        The target; a row whose label does not fit it is a bad row. `None` accepts any label.
    label
        The label's column. `None` means that there is no label and every column is a feature.
    id
        The column or columns of the event's id. Several are joined with ``/``. Without any, an event's id is ``<file's
        stem>-<row>-<8 hex of its content>``, so that the same file gives the same ids each time.
    time
        The column of the event's time: ISO 8601 or 31.01.2026 12:00 (both UTC by default), or ms since 1970. Without
        it, an event's time is the time at which its row was read.
    contract
        Its types decide how text is converted; without it, types are inferred from a CSV file's columns.
    label_required
        True if a source without the label's column is refused. A row without a value in that column is always accepted:
        its event has no label yet.
    prepare
        The stream's function that computes the features from those in a row.
    """

    target: Target | None = None
    label: str | None = "label"
    id: str | Sequence[str] | None = None
    time: str | None = None
    contract: Contract = field(default_factory=Contract)
    label_required: bool = True
    prepare: Prepare | None = None

    @property
    def id_columns(self) -> tuple[str, ...]:
        """Return `id` as a tuple, empty if there is none."""
        if self.id is None:
            return ()
        return (self.id,) if isinstance(self.id, str) else tuple(self.id)

    @property
    def named(self) -> dict[str, str]:
        """Return the columns that are not features, with their meanings."""
        named = dict.fromkeys(self.id_columns, "the id")
        if self.time is not None:
            named[self.time] = "the time"
        if self.label is not None:
            named[self.label] = "the label"
        return named

    def label_type(self) -> Kind | None:
        """Return the type for labels that are text: ``number``, ``string``, or `None` to use the column's type."""
        if self.target is None:
            return None
        if self.target.task == "regression":
            return "number"
        known = (self.target.positive, *(self.target.classes or ()))
        return "string" if any(isinstance(value, str) for value in known) else None


class SourceRow(msgspec.Struct, frozen=True, gc=False):
    """One event of a source. `row_number` counts from 1; `line` is its position in the file."""

    event_id: str
    event_time_ms: int
    features: Features
    label: LabelValue | None
    row_number: int
    line: int


class RawRow(msgspec.Struct, frozen=True, gc=False):
    """One row from a file format: features are converted, the other columns are raw."""

    line: int
    features: Features
    named: dict[str, object]
    content: bytes


OnBad = Callable[[BadRow], None]


class RowSource(abc.ABC):
    """Source of rows that returns the same rows in the same order each time.

    Attributes
    ----------
    name
        The user's spelling, for messages.
    stem
        Beginning of event ids if the source has no id column.
    """

    unit = "line"

    def __init__(self, name: str, stem: str, spec: SourceSpec) -> None:
        self.name = name
        self.stem = stem
        self.spec = spec
        # Labels of a class that were checked, with their types: 1, 1.0 and True are one key of a dict.
        self._fitting: set[tuple[type, object]] = set()

    @abc.abstractmethod
    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        """Yield the rows; pass unreadable ones to `on_bad` and continue."""

    @abc.abstractmethod
    def columns(self) -> list[str]:
        """Return the names of all columns, including the label's."""

    @abc.abstractmethod
    def count(self) -> int | None:
        """Return the approximate number of rows, `None` if counting would cost too much."""

    @abc.abstractmethod
    def sha256(self) -> str:
        """Return the hash of the content, as 64 hex digits."""

    def require_whole(self) -> None:
        """Read the whole source, to find damage that `sha256` does not notice.

        Raises
        ------
        SourceError
            If the source is damaged or truncated.
        """
        return

    def stamp(self) -> object:
        """Return a cheap value that changes with the content."""
        return None

    def bad(self, line: int, reason: str, rows: int = 1) -> BadRow:
        """Return the error for a row, or for several rows with the same cause."""
        return BadRow(self.name, line, reason, self.unit, rows)

    def require_columns(self, columns: Sequence[str]) -> None:
        """Raise SourceError if a named column is missing, or one column has two meanings."""
        for column, meaning in self.spec.named.items():
            feature = self.spec.contract.features.get(column)
            if feature is not None and feature.required:
                raise SourceError(
                    f"{self.name}: column {column!r} is {meaning}, so it is no feature, and features= requires it "
                    "(required=True): every row would be refused. Take it out of features=, or name another column"
                )
        sent = [column for column in columns if column not in self.spec.named]
        for why in self.spec.contract.clashing(sent):
            raise SourceError(f"{self.name} has a column for a feature of the calendar: {why}")
        for column, meaning in self.spec.named.items():
            if column in columns or (meaning == "the label" and not self.spec.label_required):
                continue
            there = ", ".join(columns[:30]) + (", …" if len(columns) > 30 else "")
            raise SourceError(f"{self.name} has no column {column!r} ({meaning}); it has: {there}")

    def rows(self, on_bad: OnBad | None = None) -> Iterator[SourceRow]:
        """Yield the events.

        Parameters
        ----------
        on_bad
            Called with each row that cannot be an event; such rows keep their number. Without it, the first such row is
            raised.

        Raises
        ------
        SourceError
            If the whole source cannot be read, or lacks a column.
        BadRow
            If a row is bad and there is no `on_bad`.
        """
        number = 0
        make = self._row

        def refuse(bad: BadRow) -> None:
            nonlocal number
            number += 1
            if on_bad is None:
                raise bad
            on_bad(bad)

        for raw in self.raw_rows(refuse):
            try:
                row = make(raw, number + 1)
            except NotAValue as error:
                refuse(self.bad(raw.line, str(error)))
                continue
            number += 1
            yield row

    def _row(self, raw: RawRow, number: int) -> SourceRow:
        spec, named = self.spec, raw.named
        if spec.id is None:
            event_id = f"{self.stem}-{number}-{zlib.crc32(raw.content):08x}"
        else:
            event_id = _event_id(spec.id_columns, named)
        when = int(time.time() * 1000) if spec.time is None else _time_ms(spec.time, named.get(spec.time))
        label = None if spec.label is None else named.get(spec.label)
        if label is not None and (not isinstance(label, Hashable) or (label.__class__, label) not in self._fitting):
            self._check_label(label)  # raises for a value that is no label, such as a dict
            if len(self._fitting) < _MOST_LABELS:
                self._fitting.add((label.__class__, label))
        return SourceRow(event_id, when, raw.features, label, number, raw.line)  # type: ignore[arg-type]

    def _check_label(self, label: object) -> None:
        if not isinstance(label, (bool, int, float, str)):
            raise NotAValue(f"the label is {type(label).__name__}: it must be a number, a string or a boolean")
        if isinstance(label, float) and not math.isfinite(label):
            raise NotAValue(f"the label is {label}")
        if isinstance(label, int):
            _long(label, "the label")
        if self.spec.target is None:
            return
        try:
            self.spec.target.coerce(label)
        except TargetError as error:
            raise NotAValue(str(error)) from error


def feature(name: str, value: object) -> FeatureValue:
    """Return a decoded value as a feature value.

    Raises
    ------
    NotAValue
        If it cannot be a feature.
    """
    if value is None or isinstance(value, (bool, str, bytes)):
        return value
    if isinstance(value, int):
        return _long(value, f"feature {name!r}")
    if isinstance(value, float):
        if math.isinf(value):
            raise NotAValue(f"feature {name!r} is {value}: numbers must be finite")
        # NaN means missing everywhere in Millstream, and a missing value is always None.
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return _vector(name, value)
    if isinstance(value, (datetime, date)):
        return _datetime_ms(value)
    if isinstance(value, dict):
        raise NotAValue(f"feature {name!r} is an object: write its parts as columns of their own")
    raise NotAValue(f"feature {name!r} is of type {type(value).__name__}, which no feature can be")


def _vector(name: str, values: list[object]) -> list[float]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NotAValue(f"feature {name!r} is a list that holds {value!r}: only lists of numbers are taken")
        if not math.isfinite(value):
            raise NotAValue(f"feature {name!r} is a list that holds {value}: numbers must be finite")
    try:
        return vector_of(values, f"feature {name!r}")  # type: ignore[arg-type]
    except NotExact as error:
        raise NotAValue(str(error)) from error


def _long(value: int, what: str) -> int:
    try:
        return long_of(value, what)
    except NotExact as error:
        raise NotAValue(str(error)) from error


def _event_id(columns: tuple[str, ...], named: dict[str, object]) -> str:
    parts = []
    for column in columns:
        value = named.get(column)
        if value is None or value == "":
            raise NotAValue(f"the id column {column!r} is empty")
        if isinstance(value, (bool, list, dict, bytes)):
            raise NotAValue(f"the id column {column!r} holds {value!r}: an id is a string or a number")
        if isinstance(value, float) and abs(value) >= EXACT:
            raise NotAValue(f"the id column {column!r} holds {value!r}, a double that may be rounded: write it as text")
        parts.append(str(value))
    if len(parts) == 1:
        return parts[0]
    # Escaped, so that ("a/b", "c") and ("a", "b/c") give different ids.
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _time_ms(column: str, value: object) -> int:
    try:
        if isinstance(value, str):
            ms = _text_ms(value.strip())
        elif isinstance(value, (datetime, date)):
            ms = _datetime_ms(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            ms = int(value)
        else:
            raise ValueError("no time")  # noqa: TRY004 - the handler below writes the message
        if not -_YEAR_9999_MS < ms < _YEAR_9999_MS:
            raise ValueError("too far away")
    except (ValueError, OverflowError) as error:
        raise NotAValue(
            f"the time column {column!r} holds {value!r}: neither ISO 8601 (2026-01-31T12:00:00Z) nor "
            "31.01.2026 12:00 nor ms since 1970"
        ) from error
    return ms


def _text_ms(text: str) -> int:
    try:
        # A text of digits always means ms, although "20260131" would also be a basic ISO date.
        return int(text)
    except ValueError:
        return _datetime_ms(dotted_date(text) or datetime.fromisoformat(text))


def _datetime_ms(when: datetime | date) -> int:
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return round(when.timestamp() * 1000)
