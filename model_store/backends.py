"""Where the bytes are: names to blobs, created once and never changed. All policy is in `ModelStore`."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Final, Protocol

from model_store.errors import AlreadyExists, Damaged, NotFound, StoreUnavailable

_NAME: Final = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*(\.[a-z]+)?")
_TEMPORARY: Final = ".tmp-"


class Backend(Protocol):
    """Four calls. Names are made by `ModelStore`: parts of a-z, 0-9 and '-', separated by '/'."""

    def put_new(self, name: str, data: bytes) -> None:
        """Store durably, visible whole or not at all.

        Raises
        ------
        AlreadyExists
            Where the name is taken, by whatever bytes.
        StoreUnavailable
            Where it could not be stored; the name stays free.
        """

    def get(self, name: str, limit_bytes: int) -> bytes:
        """Return the blob. NotFound; Damaged where it is larger than `limit_bytes`; StoreUnavailable."""

    def names(self, prefix: str) -> list[str]:
        """Return the names under a folder-like prefix, sorted."""

    def delete(self, name: str) -> None:
        """Remove the name; one that is not there is fine."""


def check_name(name: str) -> None:
    """Insist on a name that means the same everywhere. ValueError where it is another's."""
    if not _NAME.fullmatch(name) or len(name) > 300:
        raise ValueError(f"{name!r} is no name of a store's object")


class MemoryBackend:
    """In memory, for tests and simulation."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put_new(self, name: str, data: bytes) -> None:
        check_name(name)
        with self._lock:
            if name in self._blobs:
                raise AlreadyExists(f"{name} is there already")
            self._blobs[name] = bytes(data)

    def get(self, name: str, limit_bytes: int) -> bytes:
        check_name(name)
        try:
            data = self._blobs[name]
        except KeyError:
            raise NotFound(f"{name} is not in the store") from None
        if len(data) > limit_bytes:
            raise Damaged(f"{name} has {len(data)} bytes; at most {limit_bytes} are read")
        return data

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self._blobs if name.startswith(prefix + "/"))

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._blobs.pop(name, None)


class FolderBackend:
    """In a folder: written to a temporary file, synced, linked to its name, and the folder synced.

    A link fails where the name exists, so two writers cannot both win; what a crash leaves behind is a
    temporary file that no name leads to, removed when the folder is next opened.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"model store {root}: {error.strerror}") from error
        self._scratch = root / "tmp"
        with contextlib.suppress(OSError):
            self._sweep()

    def _sweep(self) -> None:
        self._scratch.mkdir(exist_ok=True)
        for left in self._scratch.iterdir():
            # A file of a process that still runs is its own; the pid is in its name.
            pid = left.name.removeprefix(_TEMPORARY).partition("-")[0]
            if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
                left.unlink(missing_ok=True)

    def put_new(self, name: str, data: bytes) -> None:
        path = self._path(name)
        if path.exists():
            raise AlreadyExists(f"{name} is there already")
        try:
            self._scratch.mkdir(exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=self._scratch)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)  # signed and not secret: other users' predictors read it
                    os.fsync(file.fileno())
                os.link(scratch, path)
            finally:
                os.unlink(scratch)
            self._sync_folder(path.parent)
        except FileExistsError:
            raise AlreadyExists(f"{name} is there already") from None
        except OSError as error:
            raise StoreUnavailable(f"model store {self._root}: {name} cannot be written: {error.strerror}") from error

    def get(self, name: str, limit_bytes: int) -> bytes:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > limit_bytes:
                    raise Damaged(f"{name} has {size} bytes; at most {limit_bytes} are read")
                return file.read(limit_bytes + 1)
        except FileNotFoundError:
            raise NotFound(f"{name} is not in the store at {self._root}") from None
        except OSError as error:
            raise StoreUnavailable(f"model store {self._root}: {name} cannot be read: {error.strerror}") from error

    def names(self, prefix: str) -> list[str]:
        folder = self._root / prefix
        try:
            found = [os.path.join(where, file) for where, _, files in os.walk(folder) for file in files]
        except OSError as error:
            raise StoreUnavailable(f"model store {self._root} cannot be listed: {error.strerror}") from error
        cut = len(str(self._root)) + 1
        return sorted(name[cut:] for name in found)

    def delete(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"model store {self._root}: {name} cannot be deleted: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._root / name

    def _sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
