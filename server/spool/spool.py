"""A worker's spool: looks up ids, appends the entries of one turn, and remembers them.

That is under one lock, except for a turn whose ids were all made for it, which looks nothing up. Whoever looks up such
an id later finds its entry in the lane, which is indexed first.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from server.spool.entries import Entry, Remembered, SpooledRecord, encode
from server.spool.errors import SpoolFailed, SpoolFull, SpoolInUse
from server.spool.folder import SpoolFolder, hold
from server.spool.lane_writer import LaneWriter
from server.spool.newest_ids import NewestIds
from server.spool.remembered import Place, RememberedIds, Turn, discard_after_reboot

Sync = Literal["process", "disk", "kafka"]
_INDEX_BYTES: Final = 256 << 20
_LARGEST_SEGMENT: Final = 32 << 20
_LOOK_S: Final = 0.2
_MOST_LANES: Final = 1024
_is_new: Final = attrgetter("is_new")


@dataclass(frozen=True, kw_only=True)
class SpoolLimits:
    """Limits and promises of a spool.

    Attributes
    ----------
    most_bytes
        Size of all segments from which on nothing is taken.
    remember_ms, index_bytes
        Age and total size up to which answers are remembered.
    sync
        ``disk`` syncs each turn to the disk before it is answered.
    """

    most_bytes: int = 1 << 30
    remember_ms: int = 600_000
    index_bytes: int = _INDEX_BYTES
    sync: Sync = "process"

    @property
    def segment_bytes(self) -> int:
        """Return the size from which on a new segment is begun: only whole segments can be deleted."""
        return min(_LARGEST_SEGMENT, self.most_bytes // 16)


class Made(NamedTuple):
    """Records of one entry, and the answer to whoever asked; `final` as in `Remembered`."""

    records: tuple[SpooledRecord, ...]
    answer: bytes
    final: bool = True


class Pending(msgspec.Struct):
    """One answer or label that is to be logged.

    Attributes
    ----------
    make
        Makes it, given the sequence number of its entry.
    key, digest
        Hash of the id, `None` if it is not remembered, and of the content that goes with the id.
    may_be_unlogged
        True for an answer that may be given without being logged, if the server is told so.
    is_new
        True if the id was made here for this request, so that it has no answer yet.
    """

    make: Callable[[int], Made]
    key: bytes | None = None
    digest: bytes = b""
    may_be_unlogged: bool = False
    is_new: bool = False


class Logged(NamedTuple):
    """It is in the spool, under this sequence number; `final` as in `Remembered`."""

    sequence: int
    answer: bytes
    final: bool = True


class Repeated(NamedTuple):
    """The id was answered before: this is that answer, and nothing was logged."""

    answer: bytes
    final: bool = True


class Conflict(NamedTuple):
    """The id was answered before, for another content."""


class Unlogged(NamedTuple):
    """The spool takes nothing, and this is answered all the same."""

    answer: bytes
    final: bool = True


Result: TypeAlias = Logged | Repeated | Conflict | Unlogged | Exception


class Spool:
    """One worker's way into the spool. Not thread-safe.

    Parameters
    ----------
    clock
        Wall clock, ms.

    Raises
    ------
    SpoolDamaged, SpoolFailed, SpoolInUse
        If it cannot be opened.
    """

    def __init__(self, path: Path, limits: SpoolLimits | None = None, clock: Callable[[], int] | None = None) -> None:
        self._limits = limits or SpoolLimits()
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._looked_at, self._size = 0.0, 0
        sync = self._limits.sync == "disk"
        with ExitStack() as opened:
            try:
                self.folder = SpoolFolder(path)
                opened.callback(os.close, self._join())
                lock, number = self._claim()
                opened.callback(os.close, lock)
                if (lane := self.folder.lane(number)).waits_for != self._limits.sync:
                    lane.lock.write_text(self._limits.sync)
            except OSError as error:
                raise SpoolFailed(f"the spool in {path} cannot be opened: {error.strerror or error}") from error
            self._lane_folder = self.folder.lane(number)
            self._ids = RememberedIds(path / "index", self._limits.remember_ms, self._limits.index_bytes, sync=sync)
            opened.callback(self._ids.close)
            with self._ids.locked() as turn:
                for lane in self.folder.lanes():
                    turn.index(lane, turn.place(lane.number))
                noted = self.folder.forwarded()
            # The index is committed before this can begin a segment: the forwarder deletes those before a lane's last.
            with self._ids.locked() as turn:
                self._lane = LaneWriter(self._lane_folder, 0 if noted is None else noted.done.get(number, 0), sync=sync)
                opened.callback(self._lane.close)
                turn.set_place(number, self._place())
            self._newest = NewestIds(number, self._place())
            self._opened = opened.pop_all()

    @property
    def lane(self) -> int:
        """Return the number of this worker's lane."""
        return self._lane_folder.number

    def _join(self) -> int:
        """Hold the spool open together with other workers; the first after a restart of the machine drops the index."""
        descriptor = os.open(self.folder.path / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard_after_reboot(self.folder.path / "index")
        except BlockingIOError:
            pass  # others have the index open, so it is not older than the machine's start
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def _claim(self) -> tuple[int, int]:
        """Take the first lane that nobody writes to; return its lock and its number."""
        for number in range(_MOST_LANES):
            lane = self.folder.lane(number)
            lane.path.mkdir(parents=True, exist_ok=True)
            try:
                return hold(lane.lock, "another worker"), number
            except SpoolInUse:
                continue
        raise SpoolInUse(f"{self.folder.path} has {_MOST_LANES} lanes in use")

    def _place(self) -> Place:
        return Place(self._lane.segment, self._lane.offset, self._lane.next)

    def write(self, asked: Sequence[Pending]) -> list[Result]:
        """Log what is new, in order and in one write; return what became of each.

        A result may be an exception: `SpoolFull` or `SpoolFailed`, or what `make` raised. Entries may be in the spool
        although this says `SpoolFailed`; they are remembered then.
        """
        now = self._clock()
        try:
            if self._lane.needs_segment(self._limits.segment_bytes):
                # Committed before there is a new segment: the forwarder then deletes the one before.
                with self._ids.locked() as turn:
                    turn.catch_up(self.folder.lane, self.lane)
                    self._index(turn, now)
                # Committed before the new segment gets an entry, so that a later turn looks for entries there.
                with self._ids.locked() as turn:
                    self._lane.rotate()
                    self._size += self._lane.offset
                    turn.set_place(self.lane, self._place())
                self._newest.indexed(self._place())
            elif self._newest.are_due():
                with self._ids.locked() as turn:
                    self._newest.look(turn)
                    self._index(turn, now)
                self._newest.indexed(self._place())
            if not (self._newest.are_shared() or self._lane.is_torn) and all(map(_is_new, asked)):
                # Nothing is looked up, so no other worker's entries matter, and the lock's system calls are saved.
                return _Turn(self, None, now).settle(asked)
            with self._ids.locked() as turn:
                turn.catch_up(self.folder.lane, self.lane)
                self._newest.look(turn)
                results = _Turn(self, turn, now).settle(asked)
                if self._newest.are_shared():
                    self._index(turn, now)
            if self._newest.are_shared():
                self._newest.indexed(self._place())
            return results
        except SpoolFailed as error:
            return [error for _ in asked]

    def _index(self, turn: Turn, now: int) -> None:
        """Index the newest entries, and forget old ones."""
        self._ids.forget(turn, now, 2 * len(self._newest) + 16)
        self._newest.index(turn, self._place())

    def ends(self) -> dict[int, int]:
        """Return the number of the next entry, by lane. Raises SpoolFailed."""
        with self._ids.locked() as turn:
            turn.catch_up(self.folder.lane, self.lane)
            found = {lane.number: place.next for lane in self.folder.lanes() if (place := turn.place(lane.number))}
            return {**found, self.lane: self._lane.next}

    def room(self) -> int:
        """Return the bytes that may still be written; what other workers wrote is counted 0.2 s later."""
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._size, self._looked_at = self.folder.size(), time.monotonic()
        return self._limits.most_bytes - self._size

    def close(self) -> None:
        """Close it; the lane is free for another worker."""
        self._opened.close()


class _Turn:
    """The entries of one turn; `turn` is the turn with the lock, `None` if all ids are new."""

    def __init__(self, spool: Spool, turn: Turn | None, now: int) -> None:
        self._spool, self._turn, self._now = spool, turn, now
        self._entries: list[tuple[bytes, Entry]] = []
        self._next = spool._lane.next
        self._bytes, self._room = 0, spool.room()
        self._oldest = now - spool._limits.remember_ms
        self._answered: dict[bytes, Remembered] = {}

    def settle(self, asked: Sequence[Pending]) -> list[Result]:
        results = [self._one(each) for each in asked]
        if not self._entries:
            return results
        lane, first = self._spool._lane, self._spool._lane.next
        written, failure = lane.append([data for data, _ in self._entries])
        self._spool._newest.add(first, [entry for _, entry in self._entries[:written]])
        self._spool._size += self._bytes
        if failure is None:
            return results
        return [failure if self._depends(each, result) else result for each, result in zip(asked, results, strict=True)]

    def _depends(self, asked: Pending, result: Result) -> bool:
        """Return whether a result holds only if this turn's entries are in the spool."""
        return isinstance(result, Logged) or (asked.key is not None and asked.key in self._answered)

    def _one(self, asked: Pending) -> Result:
        key = asked.key
        if key is not None and not asked.is_new and (said := self._said(key)) is not None:
            if said.digest == asked.digest:
                return Repeated(said.answer, said.final)
            if said.final:
                return Conflict()
        sequence = self._next + len(self._entries)
        try:
            made = asked.make(sequence)
        except Exception as error:  # noqa: BLE001 - it concerns this one alone
            return error
        records, answer, final = made
        remembered = None if key is None else Remembered(key, asked.digest, final, answer)
        entry = Entry(self._now, records, remembered)
        data = encode(sequence, entry)
        if self._bytes + len(data) > self._room:
            return SpoolFull("the spool is full: its entries do not get onto Kafka quickly enough")
        self._entries.append((data, entry))
        self._bytes += len(data)
        if remembered is not None:
            self._answered[remembered.key] = remembered
        return Logged(sequence, answer, final)

    def _said(self, key: bytes) -> Remembered | None:
        if key in self._answered:
            return self._answered[key]
        found = self._spool._newest.look_up(key, self._oldest)
        return self._turn.look_up(key, self._oldest) if found is None and self._turn is not None else found
