"""Backends of the model store, in a folder and in memory: named blobs, created once, never changed.

`ModelStore` holds all policy.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol

from model_store.errors import AlreadyExists, Damaged, InvalidObjectName, NotFound, StoreUnavailable
from runtime.failpoints import failpoint

_NAME: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)?(/[a-z0-9-]+)*(\.[a-z]+)?")
_LONGEST_NAME: Final = 300
_SCRATCH: Final = ".tmp"  # no blob's name can begin with it
_LEFT_OVER_SECONDS: Final = 3600
_PIECE: Final = 8 << 20
_BEFORE_WRITE: Final = failpoint("store.write.before")
_AFTER_WRITE: Final = failpoint("store.write.after")
_AFTER_FSYNC: Final = failpoint("store.fsync.after")
_AFTER_RENAME: Final = failpoint("store.rename.after")


class Backend(Protocol):
    """Interface of a backend. Names come from `ModelStore`: parts of a-z, 0-9 and '-', separated by '/'."""

    def put_new(self, name: str, data: bytes) -> None:
        """Store a blob durably; it becomes visible completely or not at all.

        Raises
        ------
        AlreadyExists
            If the name is taken, even by the same bytes.
        StoreUnavailable
            If the result is uncertain: the name is free, or holds the whole blob. Put it again.
        """

    def put_file(self, name: str, path: Path) -> None:
        """Store a file, named by its hash, like `put_new` but without reading it into memory."""

    def get(self, name: str, limit_bytes: int) -> bytes:
        """Return the blob. Raises NotFound, Damaged (larger than `limit_bytes`, or not a blob), StoreUnavailable."""

    def fetch(self, name: str, limit_bytes: int, into: Callable[[bytes], object]) -> None:
        """Pass the blob to `into` in ordered pieces of at most 8 MB; raises the same as `get`."""

    def names(self, prefix: str) -> list[str]:
        """Return the names below a folder-like prefix, sorted; empty if there is no such folder."""

    def folders(self) -> list[str]:
        """Return the first parts of all names, sorted: one for each model."""

    def delete(self, name: str) -> None:
        """Delete the blob; a missing one is not an error."""


def check_name(name: str) -> None:
    """Raise InvalidObjectName unless the name is portable and cannot leave the store."""
    if not _is_name(name):
        raise InvalidObjectName(f"{name[:100]!r} is no name of anything in a model store")


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


class MemoryBackend:
    """Backend in memory, for tests and simulation."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put_new(self, name: str, data: bytes) -> None:
        check_name(name)
        with self._lock:
            if name in self._blobs:
                raise AlreadyExists(f"{name} is there already")
            self._blobs[name] = bytes(data)

    def put_file(self, name: str, path: Path) -> None:
        self.put_new(name, path.read_bytes())

    def get(self, name: str, limit_bytes: int) -> bytes:
        check_name(name)
        try:
            data = self._blobs[name]
        except KeyError:
            raise NotFound(f"{name} is not in the store") from None
        if len(data) > limit_bytes:
            raise Damaged(f"{name} has {len(data)} bytes; at most {limit_bytes} are read")
        return data

    def fetch(self, name: str, limit_bytes: int, into: Callable[[bytes], object]) -> None:
        data = self.get(name, limit_bytes)
        for start in range(0, max(len(data), 1), _PIECE):
            into(data[start : start + _PIECE])

    def names(self, prefix: str) -> list[str]:
        check_name(prefix)
        with self._lock:
            return sorted(name for name in self._blobs if name.startswith(prefix + "/"))

    def folders(self) -> list[str]:
        with self._lock:
            return sorted({name.partition("/")[0] for name in self._blobs})

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._blobs.pop(name, None)


class FolderBackend:
    """Backend in a folder: writes a temporary file, syncs it, links it to its name, and syncs the folder.

    A link fails if the name exists, so two writers cannot both succeed. A crash leaves only a temporary file without a
    name, which is deleted when the store is opened an hour later or more.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._scratch = root / _SCRATCH
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"model store {str(root)!r} cannot be opened: {_reason(error)}") from error
        with contextlib.suppress(OSError):  # a process that can only read the store leaves sweeping to others
            self._sweep()

    def _sweep(self) -> None:
        # Decided by age, on the file system's clock: a process id has no meaning in another container.
        with os.scandir(self._scratch) as entries:
            left = [(entry.path, entry.stat(follow_symlinks=False).st_mtime) for entry in entries]
        if not left:
            return
        with tempfile.TemporaryFile(dir=self._scratch) as probe:
            now = os.fstat(probe.fileno()).st_mtime
        for path, modified in left:
            if now - modified > _LEFT_OVER_SECONDS:
                with contextlib.suppress(OSError):  # a failure must not keep the others from being deleted
                    os.unlink(path)

    def put_new(self, name: str, data: bytes) -> None:
        self._put(name, lambda file: file.write(data))

    def put_file(self, name: str, path: Path) -> None:
        def copy(file: IO[bytes]) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, _PIECE)

        self._put(name, copy)

    def _put(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        path = self._path(name)
        try:
            if not path.exists():
                self._write(path, write)
                return
            # The writer may have been killed before it synced the folder.
            _sync_folder(path.parent)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._unavailable(name, "written", error) from error
        raise AlreadyExists(f"{name} is there already")

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        for folder in (self._scratch, path.parent):
            self._make_folder(folder)
        handle, scratch = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(handle, "wb") as file:
                _BEFORE_WRITE()
                write(file)
                file.flush()
                _AFTER_WRITE()
                os.fchmod(file.fileno(), 0o644)  # signed but not secret: predictors of other users must read it
                os.fsync(file.fileno())
            _AFTER_FSYNC()
            os.link(scratch, path)
            _AFTER_RENAME()
        finally:
            with contextlib.suppress(OSError):  # swept later
                os.unlink(scratch)
        _sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder and its parents and sync each entry: a version must not vanish with its folder."""
        if folder.is_dir():
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def get(self, name: str, limit_bytes: int) -> bytes:
        with self._reading(name, limit_bytes) as (file, size):
            return file.read(size)  # not the limit, because read() allocates as much memory as it is given

    def fetch(self, name: str, limit_bytes: int, into: Callable[[bytes], object]) -> None:
        with self._reading(name, limit_bytes) as (file, size):
            left = size
            while left > 0 and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                into(piece)

    @contextlib.contextmanager
    def _reading(self, name: str, limit_bytes: int) -> Iterator[tuple[IO[bytes], int]]:
        path = self._path(name)
        try:
            # Non-blocking, so that a pipe instead of a file cannot block the reader for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Damaged(f"{name} in the store at {self._root} is no file")
                if status.st_size > limit_bytes:
                    raise Damaged(f"{name} has {status.st_size} bytes; at most {limit_bytes} are read")
                yield file, status.st_size
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{name} is not in the store at {self._root}") from None
        except IsADirectoryError:
            raise Damaged(f"{name} in the store at {self._root} is no file") from None
        except OSError as error:
            raise self._unavailable(name, "read", error) from error

    def names(self, prefix: str) -> list[str]:
        check_name(prefix)
        found: list[str] = []
        try:
            for where, _, files in os.walk(self._root / prefix, onerror=_unless_gone):
                place = os.path.relpath(where, self._root)
                found.extend(f"{place}/{file}" for file in files)
        except OSError as error:
            raise self._unavailable(prefix, "listed", error) from error
        return sorted(name for name in found if _is_name(name))

    def folders(self) -> list[str]:
        try:
            return sorted(each.name for each in os.scandir(self._root) if each.is_dir() and _is_name(each.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unavailable("the folder", "listed", error) from error

    def delete(self, name: str) -> None:
        try:
            path = self._path(name)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(name, "deleted", error) from error
        if path.parent != self._root:
            with contextlib.suppress(OSError):  # it holds other files; only a snapshot has its own folder
                path.parent.rmdir()

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._root / name

    def _unavailable(self, name: str, what: str, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"model store {self._root}: {name} cannot be {what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _unless_gone(error: OSError) -> None:
    # An unreadable folder must not look empty: a learner would believe that the store has no versions.
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
