"""Guessing of the column that names an event, and of columns that name other things: ids are no quantities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.columns import Column
from producers.open_source import open_source
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
    """The column that names events, if there is one, and a note where another reader could decide otherwise."""

    column: str | None
    note: str | None = None


def guess_id(place: str, label: str, columns: Sequence[str], most_rows: int) -> IdGuess:
    """Return the column with another value in each of the first rows, those with a name of their own first."""
    exact = [column for name in _NAMES for column in columns if column.lower() == name]
    like = [column for column in columns if column.lower().endswith(("_id", "-id", "uuid")) or column.endswith("Id")]
    candidates = list(dict.fromkeys((*exact, *like)))
    rows, repeated, missing = _compare(place, label, candidates, most_rows)
    for column in candidates:
        if not repeated[column] and not missing[column] and (column in exact or rows >= _LEAST_ROWS):
            return IdGuess(column)
    if not exact or not rows:
        return IdGuess(None)
    column = exact[0]
    why = f"{repeated[column]:,} of {rows:,} rows have a value of a row before them"
    if not repeated[column]:
        why = f"{missing[column]:,} of {rows:,} rows have none"
    return IdGuess(None, f"{column}: not taken as the id, as {why}; --id {column} takes it all the same")


def check_id(place: str, label: str, column: str, most_rows: int) -> IdGuess:
    """Return the column that was named, with a note where it repeats."""
    rows, repeated, _ = _compare(place, label, [column], most_rows)
    if not repeated[column]:
        return IdGuess(column)
    return IdGuess(column, f"{column}: {repeated[column]:,} of {rows:,} rows have the id of a row before them")


def _compare(
    place: str, label: str, columns: Sequence[str], most_rows: int
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return how many rows there are, and by column how many of them repeat a value and how many have none."""
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
    """Return what is said of a column of whole numbers that name things; None for quantities.

    They are too large for a double, of which a model is made; or many, and named like an id.
    """
    if column.type != "integer" or column.minimum is None or column.maximum is None:
        return None
    many = column.distinct is None or column.distinct > _FEW
    if max(-column.minimum, column.maximum) <= EXACT and not (many and _LIKE_ID.fullmatch(column.name)):
        return None
    count = "over 1,000" if column.distinct is None else column.distinct
    return f"what looks like ids, {count} whole numbers such as {column.maximum}"


def texts_as_ids(distinct: int, rows: int, example: str) -> str | None:
    """Return what is said of texts of one word each, `distinct` different ones in `rows`; None where they repeat.

    Counted as words they would make a model larger with each row, and say nothing of the next one.
    """
    if distinct <= _FEW or distinct < _NEARLY_ALL * rows:
        return None
    return f"what looks like ids, {distinct:,} different texts in {rows:,} rows, such as {example!r:.40}"
