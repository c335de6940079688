"""Rows from a file of JSON lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from producers.files import FileSource
from producers.records import RecordReader
from producers.rows import OnBad, RawRow, SourceError, SourceSpec
from producers.values import NotAValue

SAMPLE_ROWS: Final = 1_000

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class JsonFile(FileSource):
    """A file of JSON lines. Values keep their types; null, like a name that is not there, means missing."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._read = RecordReader(spec)

    def columns(self) -> list[str]:
        """Return the names in the first `SAMPLE_ROWS` objects, in order of appearance."""
        names: dict[str, None] = {}
        for _, record in islice(self.records(None), SAMPLE_ROWS):
            names.update(dict.fromkeys(record))
        return list(names)

    def count(self) -> int | None:
        return self.count_lines()

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        columns = self.columns()
        if columns:
            self.require_columns(columns)
        for line, record in self.records(on_bad):
            try:
                yield self._read(line, record)
            except NotAValue as error:
                on_bad(self.bad(line, str(error)))

    def records(self, on_bad: OnBad | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects with their line numbers; blank lines are passed over."""
        for line, text in self.lines():
            if not text.strip():
                continue
            try:
                record = _decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if line == 1 and text.lstrip().startswith(b"["):
                    raise SourceError(f"{self.name} is one JSON array: write one object a line (JSON lines)") from error
                if on_bad is not None:
                    on_bad(self.bad(line, f"not a JSON object: {_reason(error, text)}"))
                continue
            yield line, record


def _reason(error: Exception, text: bytes) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if b"NaN" in text or b"Infinity" in text:
        return f"{error} (JSON has no NaN and no Infinity: write null)"
    return str(error)
