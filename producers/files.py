"""What every kind of file has in common: finding it, opening it (``.gz`` too), hashing it, its lines."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from producers.rows import Source, SourceError, SourceSpec

COUNT_BYTES: Final = 1 << 28
BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class FileSource(Source):
    """Rows from a file."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(str(path), path.name.removesuffix(".gz").rpartition(".")[0] or path.name, spec)
        self.path = path

    def open(self) -> BinaryIO:
        """Open the file, unpacked.

        Raises
        ------
        SourceError
            Where it cannot be.
        """
        try:
            if self.path.suffix == ".gz":
                return gzip.open(self.path, "rb")  # type: ignore[return-value]
            return self.path.open("rb")
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror or error}") from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers, from 1, without a byte order mark."""
        with self.open() as file:
            number = 0
            try:
                for number, line in enumerate(file, start=1):
                    if number == 1:
                        if line.startswith(_UTF16):
                            raise SourceError(f"{self.name} is UTF-16: save it as UTF-8")
                        yield number, line.removeprefix(BOM)
                    else:
                        yield number, line
            except (OSError, EOFError) as error:
                raise SourceError(f"{self.name} cannot be read after line {number}: {error}") from error

    def count_lines(self) -> int | None:
        """Return the number of lines that hold anything; None for a file too big to read just for that."""
        if self.path.stat().st_size > COUNT_BYTES:
            return None
        return sum(1 for _, line in self.lines() if line.strip())

    def stamp(self) -> object:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns

    def sha256(self) -> str:
        with self.open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
