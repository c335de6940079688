"""The joiner's local store: an ordered map of bytes with one open transaction, on disk or in memory.

Both behave alike and pass the same contract tests; the one in memory is for simulation.
"""

from __future__ import annotations

import bisect
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import lmdb

from consumers.joiner.store_levels import Levels
from runtime.failpoints import failpoint

_MAP_BYTES: Final = 1 << 40  # address space, not disk: the file grows as it is written
_DATA: Final = "data.mdb"
_LOCK: Final = "lock.mdb"
_LOCK_BYTES: Final = 8192  # of LMDB's 126 readers
_MARK: Final = "mark"
# A version without levels would read the main level alone. It deletes a store whose mark begins with `open ` and names
# another boot.
_OPEN: Final = "open 2 "  # followed by the boot id
_CLOSED: Final = "open 2 closed"
_OLD_OPEN: Final = "open "
_BEFORE_COMMIT: Final = failpoint("local-store.commit.before")
_AFTER_COMMIT: Final = failpoint("local-store.commit.after")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def _boot() -> str | None:
    """Return the machine's boot id, `None` if the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


class View(Protocol):
    """The state that was committed when the view was opened, without any later change."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]: ...


class LocalStore(Protocol):
    """An ordered map of bytes. Reads see uncommitted changes; a rollback discards them."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs whose key begins with `prefix`, from key `start` on, in order.

        The caller may stop at any time and must not put or delete while it iterates.
        """

    def get_many(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        """Return the pairs of those keys that exist, in any order; fastest in the order of the keys."""

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Put all pairs; fastest in the order of their keys."""

    def fill(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Put all pairs: faster than `put_many` for a large part of all keys, in their order."""

    def clear(self, keys: Sequence[bytes]) -> None:
        """Delete all keys: faster than `delete` for a large part of all keys, in their order."""

    def view(self) -> AbstractContextManager[View]:
        """Open a view, in any thread; the store can be read and written meanwhile."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


# The disk is full, read-only or broken, or belongs to another user. An operator must fix that; the store is intact.
_MENDED: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


class LocalStoreError(OSError):
    """The local store cannot be written or read: the message names its folder and the solution."""

    @property
    def passes(self) -> bool:
        """Return whether the disk is at fault: a restarted process continues from here once the disk works."""
        return any(os.strerror(code) in str(self) for code in _MENDED)


def _failed(folder: Path, error: Exception) -> LocalStoreError:
    said = (isinstance(error, OSError) and error.strerror) or str(error).removeprefix(f"{folder}: ")
    found = LocalStoreError(f"local store {folder}: {said}")
    way = "delete the folder to have it rebuilt"
    if found.passes:
        way = "free space on that disk, or make it writable: the joiner then continues by itself"
    return LocalStoreError(f"{found}; {way}")


def _opened_in(mark: str) -> str | None:
    """Return the boot in which a store was opened and not closed, by its mark; `None` if it was closed, or is new."""
    if mark == _CLOSED or not mark.startswith(_OLD_OPEN):
        return None
    return mark.removeprefix(_OPEN).removeprefix(_OLD_OPEN)


class DiskStore:
    """On disk, by LMDB, in two levels (`Levels`).

    A commit is handed to the operating system and not synced to the disk: it survives any end of the process, but not a
    crash of the machine. After such a crash the file may be torn, so it is deleted and the store begins empty, as after
    the loss of a disk. (With one sync a commit, joining with a million pending predictions took 70 % longer than
    without.)

    Parameters
    ----------
    folder
        Created if missing; no other process may use it.
    say
        Prints one line for the operator.
    boot
        Returns the machine's boot id.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None] = print, boot: Callable[[], str | None] | None = None
    ) -> None:
        self._folder = folder
        self._open: lmdb.Transaction | None = None
        self._now = (boot or _boot)()
        with self._damage():
            self._begin(say)

    def _begin(self, say: Callable[[str], None]) -> None:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / _MARK
        opened_in = _opened_in(mark.read_text(errors="replace") if mark.is_file() else "")
        if opened_in not in (None, str(self._now)):
            self._throw_away()
            say(f"local store {folder} was open when the machine went down: it is rebuilt from the topics")
        self._env = self._opened()
        if self._lacks():
            # Reading a mapped page beyond the file's end would kill the process with SIGBUS, without a message.
            self._env.close()
            if opened_in is None:
                raise LocalStoreError(f"local store {folder} has been cut short; delete the folder to have it rebuilt")
            # The process was killed, perhaps between a commit and `_fill`.
            self._throw_away()
            say(f"local store {folder} is shorter than it should be: it is rebuilt from the topics")
            self._env = self._opened()
        self._env.reader_check()  # a killed process's view would keep its pages for ever
        self._mark(_OPEN + str(self._now))
        self._levels = Levels(self._env)
        self._fill()

    def _opened(self) -> lmdb.Environment:
        # Without a boot id, a crash of the machine cannot be noticed, so each commit is synced.
        lasting = self._now is None
        folder = str(self._folder)
        self._allocate_lock()
        return lmdb.open(folder, map_size=_MAP_BYTES, metasync=False, sync=lasting, max_dbs=1, readahead=False)

    def _allocate_lock(self) -> None:
        """Allocate all of LMDB's lock file, which is mapped: a hole in it causes SIGBUS on a full disk."""
        if hasattr(os, "posix_fallocate"):
            descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
            finally:
                os.close(descriptor)

    def _throw_away(self) -> None:
        for name in (_DATA, _LOCK):
            (self._folder / name).unlink(missing_ok=True)

    def _lacks(self) -> int:
        """Return how many bytes the file lacks of its last pages."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        return max(0, int(needed) - (self._folder / _DATA).stat().st_size)

    def _fill(self) -> None:
        """Extend the file to the length that its pages need, so that a shorter file is known to be damaged.

        LMDB sometimes leaves an unused last page unwritten.
        """
        if lacking := self._lacks():
            data = self._folder / _DATA
            os.truncate(data, data.stat().st_size + lacking)

    def _mark(self, text: str) -> None:
        """Write the mark and sync it, so that it is on the disk before the store changes."""
        new = self._folder / f"{_MARK}.new"
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / _MARK)
        place = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)

    @property
    def _txn(self) -> lmdb.Transaction:
        if self._open is None:
            self._open = self._env.begin(write=True)
        return self._open

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._levels.get(self._txn, key)
        except lmdb.Error as error:
            raise _failed(self._folder, error) from error

    def put(self, key: bytes, value: bytes) -> None:
        self.put_many(((key, value),))

    def delete(self, key: bytes) -> None:
        try:
            self._levels.delete(self._txn, key)
        except lmdb.Error as error:
            raise _failed(self._folder, error) from error

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except LocalStoreError:
            raise
        except (lmdb.Error, OSError) as error:
            raise _failed(self._folder, error) from error

    def get_many(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        with self._damage():
            return self._levels.get_many(self._txn, keys)

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        with self._damage():
            self._levels.put_many(self._txn, pairs)

    def fill(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        with self._damage():
            self._levels.fill(self._txn, pairs)

    def clear(self, keys: Sequence[bytes]) -> None:
        with self._damage():
            self._levels.clear(self._txn, keys)

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._damage():
            yield from self._levels.scan(self._txn, prefix, start)

    @contextmanager
    def view(self) -> Iterator[View]:
        try:
            with self._env.begin() as txn:
                yield _DiskView(txn, self._levels)
        except lmdb.Error as error:
            raise _failed(self._folder, error) from error

    def commit(self) -> None:
        if self._open is not None:
            with self._damage():
                _BEFORE_COMMIT()
                try:
                    self._open.commit()
                finally:
                    self._open = None
                try:
                    self._levels.settle(self._env)
                finally:
                    self._fill()
                _AFTER_COMMIT()

    def rollback(self) -> None:
        if self._open is not None:
            self._open.abort()
            self._open = None

    def close(self) -> None:
        self.rollback()
        try:
            self._env.sync(True)
        except lmdb.Error:
            self._env.close()
            return  # not marked as closed, so that it is not trusted after a crash of the machine
        self._env.close()
        with suppress(OSError):  # a full disk: a store marked as open costs a rebuild after a crash
            self._mark(_CLOSED)


class _DiskView:
    """A read transaction. While it is open, LMDB cannot reuse freed pages, so the file grows."""

    def __init__(self, txn: lmdb.Transaction, levels: Levels) -> None:
        self._txn = txn
        self._levels = levels

    def get(self, key: bytes) -> bytes | None:
        return self._levels.get(self._txn, key)

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._levels.scan(self._txn, prefix, start)


class MemoryStore:
    """A store in memory. Commits survive `close` and a crash of the processor that used it."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._undo: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._remember(key)
        if key not in self._values:
            bisect.insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        if key in self._values:
            self._remember(key)
            del self._values[key]
            del self._keys[bisect.bisect_left(self._keys, key)]

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        index = bisect.bisect_left(self._keys, max(start, prefix))
        while index < len(self._keys) and self._keys[index].startswith(prefix):
            key = self._keys[index]
            yield key, self._values[key]
            index += 1

    def get_many(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        values = self._values
        return [(key, values[key]) for key in keys if key in values]

    def put_many(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            self.put(key, value)

    fill = put_many

    def clear(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.delete(key)

    @contextmanager
    def view(self) -> Iterator[View]:
        committed = {**self._values, **{key: value for key, value in self._undo.items() if value is not None}}
        for key in (key for key, value in self._undo.items() if value is None):
            committed.pop(key, None)
        copy = MemoryStore()
        copy.put_many(sorted(committed.items()))
        yield copy

    def commit(self) -> None:
        self._undo.clear()

    def rollback(self) -> None:
        undo, self._undo = self._undo, {}
        for key, value in undo.items():
            if value is None:
                self.delete(key)
            else:
                self.put(key, value)
        self._undo.clear()

    def close(self) -> None:
        self.rollback()

    def _remember(self, key: bytes) -> None:
        if key not in self._undo:
            self._undo[key] = self._values.get(key)
