"""Inference of the event's id column, and of columns with other ids, which are not quantities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.columns import Column
from producers.file_formats import open_source
from producers.river_data import RiverData
from producers.rows import SourceSpec
from schemas.exact_integers import EXACT

_NAMES: Final = ("event_id", "id", "uuid")
_LEAST_ROWS: Final = 10
_FEW: Final = 50
_NEARLY_ALL: Final = 0.9
_LIKE_ID: Final = re.compile(r".*(_id|-id|[a-z]Id|ID|uuid|guid|_ref|_key)|id")


@dataclass(frozen=True)
class IdGuess:
    """The column of event ids, if there is one, a note if the decision is uncertain, and the reason."""

    column: str | None
    note: str | None = None
    why: str = "no column is named like an id and has no value twice"


def guess_id(place: str, label: str | None, columns: Sequence[str], most_rows: int) -> IdGuess:
    """Return the column with unique values in the first rows; columns with a name like an id's come first."""
    exact = [column for name in _NAMES for column in columns if column.lower() == name]
    like = [column for column in columns if column.lower().endswith(("_id", "-id", "uuid")) or column.endswith("Id")]
    candidates = list(dict.fromkeys((*exact, *like)))
    rows, repeated, missing = _compare(place, label, candidates, most_rows)
    for column in candidates:
        if not repeated[column] and not missing[column] and (column in exact or rows >= _LEAST_ROWS):
            return IdGuess(column, why=f"named like an id, and {rows:,} rows have {rows:,} values")
    if not exact or not rows:
        return IdGuess(None)
    column = exact[0]
    why = f"{repeated[column]:,} of {rows:,} rows have a value of a row before them"
    if not repeated[column]:
        why = f"{missing[column]:,} of {rows:,} rows have none"
    return IdGuess(None, f"{column}: not taken as the id, as {why}; --id {column} takes it all the same")


def check_id(place: str, label: str | None, column: str, most_rows: int) -> IdGuess:
    """Return the given column, with a note if its values repeat."""
    rows, repeated, _ = _compare(place, label, [column], most_rows)
    if not repeated[column]:
        return IdGuess(column)
    return IdGuess(column, f"{column}: {repeated[column]:,} of {rows:,} rows have the id of a row before them")


def _compare(
    place: str, label: str | None, columns: Sequence[str], most_rows: int
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the number of rows, and for each column the numbers of repeated and of missing values."""
    if not columns or isinstance(source := open_source(place, SourceSpec(label=label, id=columns)), RiverData):
        return 0, dict.fromkeys(columns, 0), dict.fromkeys(columns, 1)
    rows = [raw.named for raw in islice(source.raw_rows(lambda _bad: None), most_rows)]
    repeated, missing = {}, {}
    for column in columns:
        values = [str(row[column]) for row in rows if row.get(column) not in (None, "")]
        repeated[column] = len(values) - len(set(values))
        missing[column] = len(rows) - len(values)
    return len(rows), repeated, missing


def numbers_as_ids(column: Column) -> str | None:
    """Return a text about a column of whole numbers that look like ids; `None` for quantities.

    Such numbers are too large for a model's doubles; or there are many, and the column is named like an id.
    """
    if column.type != "integer" or column.minimum is None or column.maximum is None:
        return None
    many = column.distinct is None or column.distinct > _FEW
    if max(-column.minimum, column.maximum) <= EXACT and not (many and _LIKE_ID.fullmatch(column.name)):
        return None
    count = "over 1,000" if column.distinct is None else column.distinct
    return f"what looks like ids, {count} whole numbers such as {column.maximum}"


def texts_as_ids(distinct: int, rows: int, example: str) -> str | None:
    """Return a text about single words that look like ids, `distinct` of them in `rows`; `None` if they repeat.

    As words they would enlarge the model with each row, and would not help to predict the next one.
    """
    if distinct <= _FEW or distinct < _NEARLY_ALL * rows:
        return None
    return f"what looks like ids, {distinct:,} different texts in {rows:,} rows, such as {example!r:.40}"
