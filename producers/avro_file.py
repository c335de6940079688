"""Rows from an Avro container file."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import fastavro
import zstandard
from fastavro.read import BLOCK_READERS

from producers.cell_types import NotAValue
from producers.compressed import UNREADABLE
from producers.file_source import COUNT_BYTES, FileSource
from producers.rows import OnBad, RawRow, SourceError, SourceSpec
from producers.typed_rows import RecordReader

_MAGIC: Final = b"Obj\x01"


def _zstandard_block(file: Any) -> BytesIO:
    """Read a block of codec zstandard with the installed library; fastavro expects another one."""
    packed = fastavro.schemaless_reader(file, "bytes", None)
    assert isinstance(packed, bytes)  # noqa: S101 - the schema guarantees it
    unpacked = zstandard.ZstdDecompressor().decompressobj()
    data = unpacked.decompress(packed)
    if not unpacked.eof:
        raise EOFError("a block of codec zstandard is cut short")
    return BytesIO(data)


BLOCK_READERS["zstandard"] = _zstandard_block


class AvroFile(FileSource):
    """An Avro container file of records. Times become ms since 1970, decimals doubles, enums strings."""

    unit = "record"

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(path, spec)
        self._read = RecordReader(spec)
        self._count: int | None = None

    def columns(self) -> list[str]:
        """Return the names of the record's fields."""
        with self.open() as file:
            return [field["name"] for field in self._fields(self._reader(file))]

    def count(self) -> int | None:
        """Return the number of records: counted, or for a large file taken from the headers of its blocks.

        Raises
        ------
        SourceError
            If the file is damaged: codecs without a checksum would give invalid records.
        """
        if self._count is None and self.path.stat().st_size <= COUNT_BYTES:
            self.require_whole()
        if self._count is not None:
            return self._count
        with self.open() as file:
            try:
                return sum(block.num_records for block in fastavro.block_reader(file))
            except Exception:  # noqa: BLE001 - `records` will report the error
                return None

    def raw_rows(self, on_bad: OnBad) -> Iterator[RawRow]:
        self.require_columns(self.columns())
        for number, record in self.records():
            try:
                yield self._read(number, record)
            except NotAValue as error:
                on_bad(self.bad(number, str(error)))

    def require_whole(self) -> None:
        self._count = sum(1 for _ in self.records())

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the records with their numbers, from 1.

        Raises
        ------
        SourceError
            If the file is truncated or damaged: records after that position cannot be found.
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
                except Exception as error:  # each codec's library has its own errors
                    raise self.unreadable(f"at record {number}", error) from error
                yield number, record

    def _reader(self, file: Any) -> Any:
        try:
            reader = fastavro.reader(file)
        except UNREADABLE as error:
            raise self.unreadable("at its header", error) from error
        except Exception as error:
            if self._begins_as_avro():
                raise self.unreadable("at its header", error) from error
            raise SourceError(f"{self.name} is not an Avro container file") from error
        if reader.codec not in BLOCK_READERS:
            raise SourceError(
                f"{self.name} is compressed by codec {reader.codec!r}, which is not read; these are: "
                f"{', '.join(sorted(BLOCK_READERS))}"
            )
        return reader

    def _begins_as_avro(self) -> bool:
        with self.open() as file:
            try:
                return file.read(len(_MAGIC)) == _MAGIC
            except UNREADABLE as error:
                raise self.unreadable("at its header", error) from error

    def _fields(self, reader: Any) -> list[dict[str, Any]]:
        schema = reader.writer_schema
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise SourceError(f"{self.name} holds no records: its Avro schema must be of type record")
        fields: list[dict[str, Any]] = schema["fields"]
        return fields
