"""Inference of the column of an event's time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Final

from producers.columns import Column
from producers.file_formats import open_source
from producers.river_data import RiverData
from producers.rows import BadRow, SourceSpec

TIME_NAMES: Final = ("event_time", "timestamp", "time", "datetime", "at", "date", "ts")
_LIKE_TIME: Final = re.compile(r".*(_at|_ts|[Tt]ime|[Dd]ate|stamp|[a-z]At)")
_YEAR_1990_MS: Final = 631_152_000_000
_YEAR_2100_MS: Final = 4_102_444_800_000
_CHECKED_ROWS: Final = 100
_LEAST_ROWS: Final = 20  # fewer may be in order by chance


def why_no_time(place: str, label: str | None, time: str) -> str | None:
    """Return why a column does not hold times, `None` if it does: ``time`` may also be an age in days."""
    if isinstance(open_source(place, SourceSpec(label=label, time=time)), RiverData):
        return f"{place} has no times"
    times, wrong = _times(place, label, time, _CHECKED_ROWS)
    if wrong:
        return wrong
    if not times or min(times) <= _YEAR_1990_MS:
        return f"{place} has times before 1990 there: they must be ISO 8601, as 31.12.2026 12:30, or ms since 1970"
    return None


def ordered_time(place: str, label: str | None, columns: Sequence[str], rows: int) -> str | None:
    """Return the only one of some columns whose times never fall from row to row; `None` if there is no such one."""
    found = [column for column in columns if _in_order(place, label, column, rows)]
    return found[0] if len(found) == 1 else None


def _in_order(place: str, label: str | None, column: str, rows: int) -> bool:
    times, wrong = _times(place, label, column, rows)
    in_order = len(times) >= _LEAST_ROWS and all(first <= second for first, second in pairwise(times))
    return in_order and not wrong and times[0] < times[-1] and times[0] > _YEAR_1990_MS


def _times(place: str, label: str | None, column: str, rows: int) -> tuple[list[int], str | None]:
    """Return the times of the first rows, and the first error."""
    bad: list[BadRow] = []
    source = open_source(place, SourceSpec(label=label, time=column, label_required=False))
    times = [row.event_time_ms for row in islice(source.rows(bad.append), rows)]
    return times, next((str(each) for each in bad if "the time column" in each.reason), None)


def is_ms(column: Column) -> bool:
    """Return whether a column of whole numbers has a time's name and values from 1990 to 2100."""
    if column.minimum is None or column.maximum is None or not _LIKE_TIME.fullmatch(column.name):
        return False
    return column.type == "integer" and _YEAR_1990_MS <= column.minimum <= column.maximum <= _YEAR_2100_MS
