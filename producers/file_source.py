"""Base of all file sources: opens a file (also compressed), reads its lines and hashes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from producers.compressed import UNREADABLE, open_unpacked, without_suffix
from producers.rows import RowSource, SourceError, SourceSpec

COUNT_BYTES: Final = 1 << 28
BOM: Final = b"\xef\xbb\xbf"
NOT_UTF8: Final = "not UTF-8 (Latin-1, perhaps): save the file as UTF-8"
_OBJECT: Final = re.compile(r" (?:from|of) <[^>]*>")  # Python's representation of a file object in a library's message
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class FileSource(RowSource):
    """Rows from a file."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        super().__init__(str(path), without_suffix(path.name).rpartition(".")[0] or path.name, spec)
        self.path = path

    def open(self) -> BinaryIO:
        """Open the file, unpacked.

        Raises
        ------
        SourceError
            If that fails.
        """
        try:
            return open_unpacked(self.path)
        except OSError as error:
            raise SourceError(f"{self.name} cannot be read: {error.strerror or error}") from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers, from 1, without a byte order mark.

        Raises
        ------
        SourceError
            If the file cannot be read to its end; the lines after that position are lost.
        """
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
            except UNREADABLE as error:
                raise self.unreadable(f"after line {number}", error) from error

    def unreadable(self, place: str, error: BaseException) -> SourceError:
        """Return the error for a file that is damaged, truncated or on a bad disk."""
        said = _OBJECT.sub("", str(error)) or type(error).__name__
        return SourceError(f"{self.name} cannot be read {place}: {said} (damaged or cut short? copy it again)")

    def count_lines(self) -> int | None:
        """Return the number of non-empty lines; `None` for a file too large to read only for that."""
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
            try:
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            except UNREADABLE as error:
                raise self.unreadable("to its end", error) from error
