"""Opening of data sources: CSV, JSON lines, Avro container files, and River's own data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from producers.avro_file import AvroFile
from producers.compressed import without_suffix
from producers.csv_file import CsvFile
from producers.file_source import FileSource
from producers.json_file import JsonFile
from producers.river_data import PREFIX, RiverData
from producers.rows import BadRow, RowSource, SourceError, SourceRow, SourceSpec

__all__ = ["SUFFIXES", "BadRow", "RowSource", "SourceError", "SourceRow", "SourceSpec", "open_named", "open_source"]

_FORMATS: Final[dict[str, Callable[[Path, SourceSpec], FileSource]]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".jsonl": JsonFile,
    ".ndjson": JsonFile,
    ".json": JsonFile,
    ".avro": AvroFile,
}
SUFFIXES: Final = tuple(_FORMATS)
"""Suffixes of the formats that are read."""


def open_source(place: str | Path, spec: SourceSpec | None = None) -> RowSource:
    """Return the rows of a file, by its suffix (also compressed, such as ``.csv.gz``), or of ``river:NAME``.

    >>> next(open_source("river:Phishing").rows()).label
    True

    Raises
    ------
    SourceError
        If the file is missing or has another format.
    """
    spec = spec or SourceSpec()
    if str(place).startswith(PREFIX):
        return RiverData(str(place), spec)
    path = Path(place)
    if not path.exists():
        raise SourceError(f"{path} does not exist (a file, or river:NAME for a data set that comes with River)")
    if not path.is_file():
        raise SourceError(f"{path} is not a file")
    kind = _FORMATS.get(Path(without_suffix(path.name)).suffix.lower())
    if kind is None:
        raise SourceError(
            f"{path}: name it by what it holds: .csv, .tsv, .jsonl, .ndjson or .avro (also with .gz, .bz2, .xz or .zst)"
        )
    return kind(path, spec)


def open_named(path: Path, suffix: str, name: str, stem: str, spec: SourceSpec) -> FileSource:
    """Return the rows of a file of the format `suffix`, which has another name than the user knows.

    Parameters
    ----------
    suffix
        One of `SUFFIXES`.
    name, stem
        Name for messages, and beginning of the events' ids if there is no id column.
    """
    source = _FORMATS[suffix](path, spec)
    source.name, source.stem = name, stem
    return source
