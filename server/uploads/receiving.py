"""Receiving of uploads: pieces of a body go to disk in threads, within the limits of the folder."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from hashlib import _Hash

    from server.uploads.folder import UploadFolder

_BEFORE_WRITE: Final = failpoint("upload.write.before")
_AFTER_WRITE: Final = failpoint("upload.write.after")
_FLUSH_BYTES: Final = 1 << 20
_LOOK_BYTES: Final = 8 << 20
_SWEEP_S: Final = 30.0
_THREADS: Final = 4
_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """Limits of uploads.

    Attributes
    ----------
    largest
        Largest upload, bytes.
    most_bytes
        Bytes of all uploads that are not imported, from which on nothing is taken.
    expire_s
        Seconds for which a resumable upload waits for its next part.
    at_once, waiting
        Uploads that one worker receives at once, and uploads that may be not imported.
    """

    largest: int = 1 << 30
    most_bytes: int = 4 << 30
    expire_s: float = 86_400.0
    at_once: int = 16
    waiting: int = 1_000

    @property
    def largest_unpacked(self) -> int:
        """Return the largest size of an upload's content when it is unpacked, bytes."""
        return 20 * self.largest


class TooLarge(Exception):  # noqa: N818
    """The upload is larger than the limit, or than its caller said."""


class NoSpace(Exception):  # noqa: N818
    """The folder or its disk is full."""


class DiskFailed(Exception):  # noqa: N818
    """The disk refused a write or a sync."""


class Receiver:
    """Writes what comes to the folder of uploads, for the event loop of one worker."""

    def __init__(self, folder: UploadFolder, limits: UploadLimits) -> None:
        self.folder, self.limits = folder, limits
        self._threads = ThreadPoolExecutor(_THREADS, "uploads")
        self._swept = 0.0

    async def run(self, work: Callable[[], T]) -> T:
        """Do what waits for the disk in a thread. Raises NoSpace or DiskFailed if the disk refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise _fault(error) from error

    async def require_space(self) -> None:
        """Delete what is abandoned, and raise NoSpace if there is no room for one more upload."""
        if time.monotonic() - self._swept > _SWEEP_S:
            self._swept = time.monotonic()
            await self.run(lambda: self.folder.sweep(self.limits.expire_s))
        if await self.run(self.folder.count) >= self.limits.waiting:
            raise NoSpace(f"{self.limits.waiting} uploads are not imported yet: send it later; does an importer run?")
        await self._require_room(0)

    async def receive(
        self,
        descriptor: int,
        pieces: AsyncIterator[bytes],
        most: int,
        digest: _Hash | None = None,
    ) -> int:
        """Append a body, and sync it; return its size in bytes.

        Parameters
        ----------
        most
            Largest number of bytes to append.
        digest
            Is updated by the body.

        Raises
        ------
        TooLarge, NoSpace, DiskFailed
            What came before is there, except of the piece at fault.
        """
        size = looked = 0
        buffer = bytearray()

        async def flush() -> None:
            nonlocal looked, buffer
            data, buffer = buffer, bytearray()
            if size - looked >= _LOOK_BYTES:
                looked = size
                await self._require_room(len(data))
            await self.run(lambda: _write(descriptor, data, digest))

        try:
            async for piece in pieces:
                size += len(piece)
                if size > most:
                    raise TooLarge
                buffer += piece
                if len(buffer) >= _FLUSH_BYTES:
                    await flush()
        finally:
            # Also what came before the connection broke: a resumable upload goes on behind it.
            if buffer:
                await flush()
            await self.run(lambda: os.fsync(descriptor))
        return size

    async def _require_room(self, more: int) -> None:
        used = await self.run(self.folder.bytes)
        if used + more >= self.limits.most_bytes:
            raise NoSpace(
                f"the uploads that are not imported have {used} bytes, and {self.limits.most_bytes} is the limit: send "
                "it later; does an importer run?"
            )

    def close(self) -> None:
        """Wait for the writes that are under way."""
        self._threads.shutdown()


def digest_named(name: str) -> _Hash | None:
    """Return the hash of this name, as a checksum of tus has it; `None` if it is none of `CHECKSUMS`."""
    return hashlib.new(name, usedforsecurity=False) if name in CHECKSUMS else None


CHECKSUMS: Final = ("sha1", "md5", "sha256")


def _write(descriptor: int, data: bytearray, digest: _Hash | None) -> None:
    _BEFORE_WRITE()
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    if digest is not None:
        digest.update(data)
    _AFTER_WRITE()


def _fault(error: OSError) -> Exception:
    said = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return NoSpace(f"the disk of the uploads is full ({said}): free space on it, or send it later")
    return DiskFailed(f"the disk of the uploads fails: {said}")
