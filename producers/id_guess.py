"""Guessing of the column that names an event: one that is called like an id and never repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from producers.river_data import RiverData
from producers.rows import SourceSpec
from producers.sources import open_source

_NAMES: Final = ("event_id", "id", "uuid")
_LEAST_ROWS: Final = 10


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
