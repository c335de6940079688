"""Blob of a model's bytes: in memory if small, in a temporary file if large, hashed on the way.

A pickle of 300 MB in memory would need that much in addition to its model.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from model_store.errors import StoreUnavailable

LARGE: Final = 32 << 20
Readable = bytes | mmap.mmap


_PROC: Final = Path("/proc/self/fd")


class Blob:
    """Bytes that are written once, in order, and then read.

    Parameters
    ----------
    large
        From this size on the bytes are in a file in the folder TMPDIR. Only this object uses the file, and deletes it.
    """

    def __init__(self, large: int = LARGE) -> None:
        self._large = large
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes. Raises StoreUnavailable if the disk does not accept them."""
        piece = bytes(data)
        self._hash.update(piece)
        self.size += len(piece)
        if self._file is None:
            self._pieces.append(piece)
            if self.size > self._large:
                self._to_disk()
            return len(piece)
        self._on_disk(piece)
        return len(piece)

    def _to_disk(self) -> None:
        try:
            # On systems with /proc the file needs no name of its own, so a killed process leaves nothing behind.
            make = tempfile.TemporaryFile if _PROC.is_dir() else tempfile.NamedTemporaryFile
            self._file = make(prefix="millstream-", suffix=".version")
        except OSError as error:
            raise _no_room(error) from error
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            self._on_disk(piece)

    def _on_disk(self, piece: bytes) -> None:
        assert self._file is not None  # noqa: S101
        try:
            self._file.write(piece)
        except OSError as error:
            raise _no_room(error) from error

    @property
    def sha256(self) -> str:
        """Return the hash of all bytes written."""
        return self._hash.hexdigest()

    @property
    def path(self) -> Path | None:
        """Return the path of the file, flushed; `None` if the bytes are in memory."""
        if self._file is None:
            return None
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from error
        name = self._file.name
        return Path(name) if isinstance(name, str) else Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")

    def contents(self) -> Readable:
        """Return the bytes; a large blob as a memory-mapped file, which uses no memory of its own."""
        if self._file is None:
            if len(self._pieces) > 1:
                self._pieces = [b"".join(self._pieces)]
            return self._pieces[0] if self._pieces else b""
        if self._map is None:
            self._file.flush()
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def reader(self) -> IO[bytes]:
        """Return a file object over the bytes, from their beginning."""
        path = self.path
        return io.BytesIO(bytes(self.contents())) if path is None else path.open("rb")

    def close(self) -> None:
        """Close and delete the file."""
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()
        self._pieces = []

    def __enter__(self) -> Blob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._file is not None:
            self.close()


def _no_room(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"a large version cannot be kept in {tempfile.gettempdir()}: {os.strerror(error.errno or 0)}; "
        "name a folder with room for it with TMPDIR"
    )
