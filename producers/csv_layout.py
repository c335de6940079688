"""Layout of a CSV file: its delimiter, its column names, and the line of its header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from producers.rows import SourceError

SAMPLE_LINES: Final = 200
_DELIMITERS: Final = ",;\t|"
_SEP: Final = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's own first line


@dataclass(frozen=True)
class Layout:
    """Column names, delimiter, and number of lines before the first row."""

    names: list[str]
    delimiter: str
    head_lines: int


def layout_of(name: str, lines: Sequence[str], *, tabs: bool) -> Layout:
    """Infer the layout from the first lines of a file.

    Parameters
    ----------
    name
        The file's name, for messages.
    tabs
        True if the file's name implies tabs as delimiter.

    Raises
    ------
    SourceError
        If the header is missing, or a name in it is missing or repeated.
    """
    said = _SEP.fullmatch(lines[0]) if lines else None
    head_lines = 1 if said is None else 2
    rest = lines[head_lines - 1 :]
    header = rest[0].rstrip("\r\n") if rest else ""
    if not header.strip():
        raise SourceError(f"{name} is empty: its first line must name the columns")
    if "\r" in header:
        raise SourceError(f"{name}: its lines end with a carriage return alone; save it with line feeds")
    by_name = "\t" if tabs and "\t" in header else None
    delimiter = said[1] if said is not None else by_name or _delimiter(header, rest[1:])
    try:
        names = [each.strip() for each in next(csv.reader([header], delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise SourceError(f"{name}, line {head_lines}: not a CSV header: {error}") from error
    for position, each in enumerate(names, start=1):
        if not each:
            raise SourceError(
                f"{name}, line {head_lines}: column {position} has no name (an index that pandas wrote? index=False)"
            )
        if each in names[: position - 1]:
            raise SourceError(f"{name}, line {head_lines}: two columns are named {each!r}")
    return Layout(names, delimiter, head_lines)


def _delimiter(header: str, rows: Sequence[str]) -> str:
    """Return the delimiter that splits the rows like the header; of several, the one with the most columns."""
    best, most = ",", (0.0, 1)
    for delimiter in _DELIMITERS:
        columns = next(iter(_widths([header], delimiter)), 1)
        if columns < 2:
            continue
        widths = _widths(rows, delimiter)
        fitting = sum(width == columns for width in widths) / len(widths) if widths else 0.0
        if (fitting, columns) > most or most[1] < 2:
            best, most = delimiter, (fitting, columns)
    return best


def _widths(lines: Sequence[str], delimiter: str) -> list[int]:
    """Return the number of cells of each row, up to the first row with invalid quotes."""
    widths: list[int] = []
    with suppress(csv.Error):
        widths.extend(len(row) for row in csv.reader(lines, delimiter=delimiter, strict=True) if row)
    return widths
