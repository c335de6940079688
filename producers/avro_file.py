"""Rows from an Avro container file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fastavro

from producers.files import FileSource
from producers.records import RecordReader
from producers.rows import OnBad, RawRow, SourceError, SourceSpec
from producers.values import NotAValue

# What fastavro raises on bytes that are not what their schema says.
_DAMAGED: Final = (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError, StopIteration)


class AvroFile(FileSource):
    """An Avro container file of records. Times become ms since 1970, decimals doubles, enums strings."""

    unit = "record"

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._read = RecordReader(spec)

    def columns(self) -> list[str]:
        """Return the names of the record's fields."""
        with self.open() as file:
            return [field["name"] for field in self._fields(self._reader(file))]

    def count(self) -> int | None:
        """Return the exact number, from the headers of the file's blocks."""
        with self.open() as file:
            try:
                return sum(block.num_records for block in fastavro.block_reader(file))
            except _DAMAGED:
                return None

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        self.require_columns(self.columns())
        for number, record in self.records():
            try:
                yield self._read(number, record)
            except NotAValue as error:
                on_bad(self.bad(number, str(error)))

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the records with their numbers, from 1.

        Raises
        ------
        SourceError
            Where the file is cut short or damaged: what comes after that place cannot be found.
        """
        with self.open() as file:
            reader = self._reader(file)
            number = 0
            while True:
                number += 1
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except _DAMAGED as error:
                    raise SourceError(f"{self.name} is damaged at record {number}: {type(error).__name__}") from error
                yield number, record

    def _reader(self, file: Any) -> Any:
        try:
            return fastavro.reader(file)
        except _DAMAGED as error:
            raise SourceError(f"{self.name} is not an Avro container file") from error

    def _fields(self, reader: Any) -> list[dict[str, Any]]:
        schema = reader.writer_schema
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise SourceError(f"{self.name} holds no records: its Avro schema must be of type record")
        fields: list[dict[str, Any]] = schema["fields"]
        return fields
