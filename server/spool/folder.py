"""The folder of a spool: its id, its lanes, its size, and the forwarder's place."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from server.spool.errors import SpoolDamaged, SpoolInUse
from server.spool.segments import LaneFolder

FORMAT: Final = 1


class _Identity(msgspec.Struct, frozen=True):
    format: int
    id: str


class Forwarded(msgspec.Struct, frozen=True):
    """The forwarder's own note of its place; the place committed with the records is what counts.

    Attributes
    ----------
    spool
        Id of the spool.
    intended, done
        By lane, the next entry to forward: as the latest transaction would have it, and as the latest certain commit
        has it. Both are equal unless the latest transaction's outcome is unknown.
    at_ms
        Time of the note.
    """

    spool: str
    intended: dict[int, int]
    done: dict[int, int]
    at_ms: int


_read_identity: Final = msgspec.json.Decoder(_Identity).decode
_read_forwarded: Final = msgspec.json.Decoder(Forwarded).decode


class SpoolFolder:
    """A spool's folder; made, with a new id, if it does not exist.

    The format::

        spool.json      {"format": 1, "id": "<12 hex digits>"}
        lanes/<number>  the entries of one worker process, see `LaneFolder`; `lock` there is held by its writer, and
                        names what answers wait for: `process`, `disk` or `kafka`
        index/          ids that are remembered, see `RememberedIds`; made again from the lanes where it is lost
        forwarded.json  the forwarder's note of its place, see `Forwarded`
        *.lock          held by those who use the spool

    Raises
    ------
    SpoolDamaged
        If another version of Millstream made it, or its id cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "lanes").mkdir(parents=True, exist_ok=True)
        self.id = self._identity()

    def _identity(self) -> str:
        file = self.path / "spool.json"
        try:
            found = _read_identity(file.read_bytes())
        except FileNotFoundError:
            with self.locked("make.lock"):
                if not file.exists():
                    if any((self.path / "lanes").iterdir()):
                        raise SpoolDamaged(
                            f"{file} is gone, and the spool has entries: put it back, or begin again by deleting "
                            f"{self.path} while no server runs"
                        ) from None
                    replace_file(file, msgspec.json.encode(_Identity(FORMAT, secrets.token_hex(6))), sync=True)
            return self._identity()
        except msgspec.DecodeError as error:
            raise SpoolDamaged(
                f"{file} cannot be read ({error}): put it back, or begin again by deleting {self.path} while no server "
                "runs"
            ) from error
        if found.format != FORMAT:
            raise SpoolDamaged(
                f"{self.path} is a spool of format {found.format}, and this version reads format {FORMAT}: let the "
                "forwarder of the version that wrote it put its entries onto Kafka"
            )
        return found.id

    @property
    def source_topic(self) -> str:
        """Return what answers name as the topic of their event. No topic of Kafka can have a colon in its name."""
        return f"{SOURCE}{self.id}"

    def lane(self, number: int) -> LaneFolder:
        """Return a lane; its folder need not exist."""
        return LaneFolder(self.path / "lanes" / str(number), self.id, number)

    def lanes(self) -> list[LaneFolder]:
        """Return all lanes, by number."""
        names = [name for name in os.listdir(self.path / "lanes") if name.isdigit()]
        return [self.lane(number) for number in sorted(map(int, names))]

    def callers_wait(self) -> bool:
        """Return whether the last writer of a lane answers after the commit on Kafka."""
        return any(lane.waits_for == "kafka" for lane in self.lanes())

    def size(self) -> int:
        """Return the bytes of all segments."""
        return sum(file.stat().st_size for lane in self.lanes() for file in _files(lane.path))

    def waiting(self, done: Mapping[int, int]) -> int:
        """Return how many entries follow the places in `done`, by lane. Raises SpoolDamaged."""
        found = 0
        for lane in self.lanes():
            segments = lane.segments()
            end = lane.intact(segments[-1]).next if segments else 0
            found += max(0, end - done.get(lane.number, 0))
        return found

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock of the folder, and wait for it."""
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def forwarded(self) -> Forwarded | None:
        """Return the forwarder's note, `None` if there is none for this spool."""
        try:
            found = _read_forwarded((self.path / "forwarded.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return found if found.spool == self.id else None

    def note(self, intended: Mapping[int, int], done: Mapping[int, int], at_ms: int) -> None:
        """Write the forwarder's note."""
        noted = Forwarded(self.id, dict(intended), dict(done), at_ms)
        replace_file(self.path / "forwarded.json", msgspec.json.encode(noted))


SPOOL: Final = "spool"
"""Name of the spool's folder, in the state folder of a stream."""
SOURCE: Final = "http:"
"""Beginning of the source topic of answers over HTTP; the spool's id follows, the lane is the partition, the entry's
sequence number the offset."""


def hold(path: Path, used_by: str) -> int:
    """Take a lock at once and return its descriptor; it is held until that is closed.

    Raises
    ------
    SpoolInUse
        If another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SpoolInUse(f"{path.parent} is used by {used_by}: end that one first") from None
    return descriptor


def replace_file(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file whole, for its owner alone: a reader finds the old content or the new."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    temporary.rename(path)
    if sync:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        yield from (each for each in found if each.name.endswith(".segment"))
