"""Rows from a CSV file with a header."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from producers.files import FileSource
from producers.rows import OnBad, RawRow, SourceError, SourceSpec
from producers.values import ColumnGuess, Kind, NotAValue, Read, reader

SAMPLE_ROWS: Final = 10_000
_CELL_CHARS: Final = 16 << 20
_DELIMITERS: Final = ",;\t|"

Cells = tuple[int, list[str]]
OnBadLine = Callable[[int, str], None]


class CsvFile(FileSource):
    """A CSV file: a header line, then a row a line; commas, semicolons, tabs or bars, whichever the header has."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._kinds: dict[str, Kind | None] | None = None

    def columns(self) -> list[str]:
        """Return the header's names.

        Raises
        ------
        SourceError
            Where there is no header, or a name is missing or twice there.
        """
        return self._header()[0]

    def kinds(self) -> dict[str, Kind | None]:
        """Return of which type each column is, by its first `SAMPLE_ROWS` rows; None where all are missing."""
        if self._kinds is None:
            guesses = {name: ColumnGuess() for name in self.columns()}
            columns = list(guesses.values())
            for seen, (_, cells) in enumerate(self.cells(lambda _line, _reason: None)):
                if seen >= SAMPLE_ROWS:
                    break
                for guess, cell in zip(columns, cells, strict=True):
                    guess.add(cell)
            self._kinds = {name: guess.kind for name, guess in guesses.items()}
        return self._kinds

    def count(self) -> int | None:
        """Return the number of lines below the header: more than there are rows where cells hold line breaks."""
        lines = self.count_lines()
        return None if lines is None else max(0, lines - 1)

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        names = self.columns()
        self.require_columns(names)
        plan, named = self._plan(names)
        for line, cells in self.cells(lambda line, reason: on_bad(self.bad(line, reason))):
            name, read = "", None
            try:
                features = {}
                for position, name, read in plan:
                    features[name] = read(cells[position])
                meaning: dict[str, object] = {}
                for position, name, read in named:
                    meaning[name] = cells[position] if read is None else read(cells[position])
            except NotAValue as error:
                on_bad(self.bad(line, f"column {name!r}: {error}{self._hint(name)}"))
                continue
            yield RawRow(line, features, meaning, "\x1f".join(cells).encode())

    def cells(self, on_bad: OnBadLine) -> Iterator[Cells]:
        """Yield each row's cells, with the number of its first line; blank lines are passed over."""
        names, delimiter = self._header()
        undecodable: list[int] = []
        lines = self._text(undecodable)
        next(lines, None)
        # The default of 128 KiB is a setting of the process; a document in a cell is longer.
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARS))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            first = rows.line_num + 2
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                on_bad(first, f"not CSV: {error}")
                continue
            if undecodable:
                on_bad(undecodable[0], "not UTF-8: save the file as UTF-8")
                undecodable.clear()
            elif len(cells) == len(names):
                yield first, cells
            elif cells:
                on_bad(first, f"{len(cells)} columns; the header has {len(names)}")

    def _text(self, undecodable: list[int]) -> Iterator[str]:
        for number, line in self.lines():
            try:
                yield line.decode()
            except UnicodeDecodeError:
                undecodable.append(number)
                yield line.decode(errors="replace")

    def _header(self) -> tuple[list[str], str]:
        undecodable: list[int] = []
        first = next(self._text(undecodable), "").rstrip("\r\n")
        if undecodable:
            raise SourceError(f"{self.name}, line 1: not UTF-8: save the file as UTF-8")
        if not first.strip():
            raise SourceError(f"{self.name} is empty: its first line must name the columns")
        delimiter = max(_DELIMITERS, key=first.count)
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter, strict=True))]
        except csv.Error as error:
            raise SourceError(f"{self.name}, line 1: not a CSV header: {error}") from error
        for position, name in enumerate(names, start=1):
            if not name:
                raise SourceError(
                    f"{self.name}, line 1: column {position} has no name (an index that pandas wrote? index=False)"
                )
            if name in names[: position - 1]:
                raise SourceError(f"{self.name}, line 1: two columns are named {name!r}")
        return names, delimiter

    def _plan(self, names: list[str]) -> tuple[list[tuple[int, str, Read]], list[tuple[int, str, Read | None]]]:
        """Say for each column how its cells are read: the features', and those the spec names."""
        spec = self.spec
        contract = spec.contract
        features: list[tuple[int, str, Read]] = []
        named: list[tuple[int, str, Read | None]] = []
        for position, name in enumerate(names):
            if name == spec.label:
                named.append((position, name, reader(spec.label_type() or self.kinds()[name])))
            elif name in spec.named:
                named.append((position, name, None))
            elif name in contract.features:
                features.append((position, name, reader(contract.features[name].type, exact=True)))
            else:
                features.append((position, name, reader(self.kinds()[name])))
        return features, named

    def _hint(self, name: str) -> str:
        if name in self.spec.contract.features or name in self.spec.named:
            return ""
        return f" (as the first {SAMPLE_ROWS:,} rows have; features={{{name!r}: 'string'}} takes any text)"
