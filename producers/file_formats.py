"""Opening of data sources: CSV, JSON lines, Avro container files, and River's own data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from producers.avro_file import AvroFile
from producers.compressed import without_suffix
from producers.csv_file import CsvFile
from producers.json_file import JsonFile
from producers.river_data import PREFIX, RiverData
from producers.rows import BadRow, RowSource, SourceError, SourceRow, SourceSpec

__all__ = ["BadRow", "RowSource", "SourceError", "SourceRow", "SourceSpec", "open_source"]

_FORMATS: Final[dict[str, Callable[[Path, SourceSpec], RowSource]]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".jsonl": JsonFile,
    ".ndjson": JsonFile,
    ".json": JsonFile,
    ".avro": AvroFile,
}


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
