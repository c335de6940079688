"""Rows from a CSV file with a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from producers.cell_types import Kind, NotAValue, Read, reader
from producers.column_guess import ColumnGuess, settle
from producers.csv_layout import SAMPLE_LINES, Layout, layout_of
from producers.csv_rows import BadLines, CsvRows
from producers.file_source import NOT_UTF8, FileSource
from producers.rows import OnBad, RawRow, SourceError, SourceSpec

SAMPLE_ROWS: Final = 10_000
_SAMPLE_CHARS: Final = 1 << 20

Cells = tuple[int, list[str]]
OnBadLines = Callable[[BadLines], None]


class CsvFile(FileSource):
    """A CSV file with a header line; its delimiter is a comma, semicolon, tab or bar, by what fits the rows."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._guesses: dict[str, ColumnGuess] | None = None
        self._layout_read: Layout | None = None

    def columns(self) -> list[str]:
        """Return the header's names.

        Raises
        ------
        SourceError
            If the header is missing, or a name in it is missing or repeated.
        """
        return self._layout().names

    def guesses(self) -> dict[str, ColumnGuess]:
        """Return the inference of each column from the first `SAMPLE_ROWS` rows."""
        if self._guesses is None:
            guesses = {name: ColumnGuess() for name in self.columns()}
            columns = list(guesses.values())
            for seen, (_, cells) in enumerate(self.cells(lambda _bad: None)):
                if seen >= SAMPLE_ROWS:
                    break
                for guess, cell in zip(columns, cells, strict=True):
                    guess.add(cell)
            settle(columns, self._layout().delimiter)
            self._guesses = guesses
        return self._guesses

    def kinds(self) -> dict[str, Kind | None]:
        """Return each column's type by its first `SAMPLE_ROWS` rows; `None` if all its cells are missing."""
        return {name: guess.kind for name, guess in self.guesses().items()}

    def count(self) -> int | None:
        """Return the number of lines below the header; it exceeds the number of rows if cells hold line breaks."""
        lines = self.count_lines()
        return lines and max(0, lines - self._layout().head_lines)

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        names = self.columns()
        self.require_columns(names)
        plan, named = self._plan(names)
        for line, cells in self.cells(lambda bad: on_bad(self.bad(bad.line, bad.reason, bad.rows))):
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

    def cells(self, on_bad: OnBadLines) -> Iterator[Cells]:
        """Yield each row's cells, with the number of its first line; blank lines are skipped."""
        layout = self._layout()
        undecodable: list[int] = []
        lines = islice(self._text(undecodable), layout.head_lines, None)
        rows = CsvRows(layout.delimiter, len(layout.names))

        def refuse(bad: BadLines) -> None:
            on_bad(BadLines(undecodable[0], NOT_UTF8, bad.rows) if undecodable else bad)
            undecodable.clear()

        for line, cells in rows.read(lines, layout.head_lines + 1, refuse):
            if undecodable:
                refuse(BadLines(line, NOT_UTF8))
            else:
                yield line, cells

    def _text(self, undecodable: list[int]) -> Iterator[str]:
        for number, line in self.lines():
            try:
                yield line.decode()
            except UnicodeDecodeError:
                undecodable.append(number)
                yield line.decode(errors="replace")

    def _layout(self) -> Layout:
        if self._layout_read is None:
            undecodable: list[int] = []
            sample: list[str] = []
            size = 0
            for line in islice(self._text(undecodable), SAMPLE_LINES):
                sample.append(line)
                size += len(line)
                if size > _SAMPLE_CHARS:
                    break
            tabs = ".tsv" in (suffix.lower() for suffix in self.path.suffixes[-2:])
            if undecodable[:1] == [1]:
                raise SourceError(f"{self.name}, line 1: {NOT_UTF8}")
            self._layout_read = layout_of(self.name, sample, tabs=tabs)
        return self._layout_read

    def _plan(self, names: list[str]) -> tuple[list[tuple[int, str, Read]], list[tuple[int, str, Read | None]]]:
        """Return the readers of the feature columns and of the columns that the spec names."""
        spec = self.spec
        contract = spec.contract
        features: list[tuple[int, str, Read]] = []
        named: list[tuple[int, str, Read | None]] = []
        guesses = self.guesses()
        for position, name in enumerate(names):
            guess = guesses[name]
            if name == spec.label:
                # A label that is "-" in every row is a class, not a missing value.
                kind = spec.label_type() or guess.kind or ("string" if guess.words else None)
                named.append((position, name, reader(kind, style=guess.style)))
            elif name in spec.named:
                named.append((position, name, None))
            elif name in contract.features:
                read = reader(contract.features[name].type, exact=True, style=guess.style)
                features.append((position, name, read))
            else:
                features.append((position, name, reader(guess.kind, style=guess.style)))
        return features, named

    def _hint(self, name: str) -> str:
        if name in self.spec.contract.features or name in self.spec.named:
            return ""
        return f" (as the first {SAMPLE_ROWS:,} rows have; features={{{name!r}: 'string'}} takes any text)"
