"""Decompression of files while reading: gzip, bzip2, xz, Zstandard, recognised by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

SUFFIXES: Final = (".gz", ".bz2", ".xz", ".zst")
# Errors while reading: of the disk, and of each library if the data is damaged or truncated.
UNREADABLE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_CHUNK: Final = 1 << 18


class _Zstandard(io.RawIOBase):
    """Stream over Zstandard frames. Raises EOFError if the last one is truncated.

    The library's own reader accepts a truncated last frame without an error.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._within = False
        self._rest = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._ready:
            packed = self._rest or self._file.read(_CHUNK)
            self._rest = b""
            if not packed:
                if self._within:
                    raise EOFError("Compressed file ended before the end of its last frame")
                return 0
            self._ready = self._unpack(packed)
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        if not self._within:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        unpacked = self._frame.decompress(packed)
        self._within = not self._frame.eof
        self._rest = self._frame.unused_data if self._frame.eof else b""
        return unpacked

    def close(self) -> None:
        self._file.close()
        super().close()


def _zstandard(path: Path) -> BinaryIO:
    return io.BufferedReader(_Zstandard(path), _CHUNK)


_OPENERS: Final[dict[bytes, Callable[[Path], object]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstandard,
}


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file, decompressed if it is compressed. Raises OSError if it cannot be opened."""
    with path.open("rb") as file:
        begins = file.read(8)
    for magic, opener in _OPENERS.items():
        if begins.startswith(magic):
            return opener(path)  # type: ignore[return-value]
    return path.open("rb")


def without_suffix(name: str) -> str:
    """Return a file's name without the suffix of its compression.

    >>> without_suffix("clicks.csv.gz")
    'clicks.csv'
    """
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
