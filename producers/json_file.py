"""Rows from a file of JSON lines, with one object on each line."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from producers.cell_types import NotAValue
from producers.file_source import FileSource
from producers.rows import OnBad, RawRow, SourceError, SourceSpec
from producers.typed_rows import RecordReader
from schemas.json_text import NO_JSON, why_no_json

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class JsonFile(FileSource):
    """A file of JSON lines. Values keep their types; null means missing, as does an absent name."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._read = RecordReader(spec)

    def columns(self) -> list[str]:
        """Return the names in all objects, in order of appearance; a column may first appear anywhere in the file."""
        return self._names(until=None)

    def _names(self, until: Collection[str] | None) -> list[str]:
        """Return the names in the objects, stopping when all wanted ones have been seen."""
        names: dict[str, None] = {}
        for _, record in self.records(None):
            if record.keys() - names.keys():
                names.update(dict.fromkeys(record))
                if until is not None and names.keys() >= set(until):
                    break
        return list(names)

    def count(self) -> int | None:
        return self.count_lines()

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        columns = self._names(until=self.spec.named)
        if columns:
            self.require_columns(columns)
        for line, record in self.records(on_bad):
            try:
                yield self._read(line, record)
            except NotAValue as error:
                on_bad(self.bad(line, str(error)))

    def records(self, on_bad: OnBad | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects with their line numbers; blank lines are skipped."""
        for line, text in self.lines():
            if not text.strip():
                continue
            try:
                record = _decode(text)
            except NO_JSON as error:
                if line == 1 and text.lstrip().startswith(b"["):
                    raise SourceError(f"{self.name} is one JSON array: write one object a line (JSON lines)") from error
                if line == 1 and text.strip() == b"{":
                    raise SourceError(
                        f"{self.name} is JSON over several lines: write one object a line (JSON lines, jq -c .)"
                    ) from error
                if on_bad is not None:
                    on_bad(self.bad(line, f"not a JSON object: {why_no_json(error, text)}"))
                continue
            yield line, record
