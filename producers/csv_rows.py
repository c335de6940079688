"""Parser of CSV rows with line numbers; it detects and reports quotes that swallow rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_CELL_CHARS: Final = 16 << 20
_LEAST_MARKS: Final = 6  # delimiters within one cell, at the positions they have in rows
_CLOSES: Final = re.compile(r'[^"]*(?:""[^"]*)*"(?!")')


class BadLines(NamedTuple):
    """Lines that are not valid rows: first line, reason, and the number of rows lost."""

    line: int
    reason: str
    rows: int = 1


class CsvRows:
    """Splits lines into rows of cells.

    Parameters
    ----------
    delimiter, columns
        The delimiter of cells, and the header's number of columns.
    """

    def __init__(self, delimiter: str, columns: int) -> None:
        self._delimiter = delimiter
        self._columns = columns
        self._taken: list[str] = []  # lines of the current row

    def read(
        self, lines: Iterator[str], first: int, on_bad: Callable[[BadLines], None]
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield each row's cells, with the number of its first line; blank lines are skipped.

        Parameters
        ----------
        first
            Number of the first line.
        """
        # The process-wide default of 128 KiB is too small for a document in a cell.
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARS))
        rows = csv.reader(self._noting(lines), delimiter=self._delimiter, strict=True)
        while True:
            self._taken.clear()
            line = rows.line_num + first
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                on_bad(self._broken(line, error))
                continue
            if len(self._taken) > 2 and self._swallows():
                on_bad(self._swallowed(line))
            elif len(cells) == self._columns:
                yield line, cells
            elif cells:
                on_bad(BadLines(line, self._miscounted(line, cells)))

    def _noting(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            self._taken.append(line)
            yield line

    def _miscounted(self, line: int, cells: list[str]) -> str:
        text = f"{len(cells)} columns; the header has {self._columns}"
        if len(self._taken) > 1:
            text += f'; the row has quotes (") and runs to line {line + len(self._taken) - 1}'
        if len(cells) > self._columns and self._delimiter == ",":
            text += " (a cell that holds commas, such as a decimal one, goes in quotes)"
        return text

    def _broken(self, line: int, error: csv.Error) -> BadLines:
        if len(self._taken) < 2:
            return BadLines(line, f"not CSV: {error}")
        return self._swallowed(line)

    def _swallows(self) -> bool:
        """Return whether the lines in a row look like rows, so that a stray quote has swallowed them."""
        within, marks = [each for each in self._taken[1:-1] if each.strip()], self._columns - 1
        if len(within) * marks < _LEAST_MARKS:
            return False
        return all(each.count(self._delimiter) == marks for each in within)

    def _swallowed(self, line: int) -> BadLines:
        opened = line + _opening(self._taken, self._delimiter)
        last = line + len(self._taken) - 1
        rows = sum(1 for each in self._taken if each.strip())
        reason = (
            f'a quote (") opens here and takes the lines up to {last} into one cell, {rows:,} rows: '
            'close it, or write it twice ("") inside a quoted cell where it is meant as a character'
        )
        return BadLines(opened, reason, rows)


def _opening(lines: list[str], delimiter: str) -> int:
    """Return the index of the line where the last quoted cell opens that continues on the next line."""
    opens = re.compile(rf'(?:^|{re.escape(delimiter)})"')
    found, inside = 0, False
    for index, line in enumerate(lines):
        at, opened = 0, False
        while (match := (_CLOSES.match if inside else opens.search)(line, at)) is not None:
            at, inside = match.end(), not inside
            opened = inside
        if opened:
            found = index
    return found
