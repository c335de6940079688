"""Remembered ids: an index shared by all workers; turns that look ids up take its write lock."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import lmdb

from runtime.failpoints import failpoint
from server.spool.entries import Remembered
from server.spool.errors import SpoolFailed
from server.spool.segments import LaneFolder

_BEFORE: Final = failpoint("spool.index.before")
_AFTER: Final = failpoint("spool.index.after")
_AT: Final = Struct(">Q16s?")
_PLACE: Final = Struct(">QQQ")
_LANE: Final = Struct(">I")
_AGE: Final = Struct(">Q")
_KEY: Final = 16  # bytes
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_LANES: Final = 4096


class Place(NamedTuple):
    """End of what is indexed of a lane: segment, offset in it, next sequence number."""

    segment: int
    offset: int
    next: int


class RememberedIds:
    """Answers by the hash of their id, in an LMDB that all workers of the spool share.

    Three tables: ``answers`` holds for each key the time, the digest, whether it is final, and the answer; ``ages`` the
    keys by time, those of one time in one record if they were indexed together, so that the oldest are forgotten first;
    ``lanes`` the end of what is indexed of each lane. The lanes
    are the truth: whoever takes the lock first indexes what another worker has written and not indexed yet, see
    `NewestIds`.

    Parameters
    ----------
    remember_ms, most_bytes
        Age and size beyond which the oldest are forgotten.
    sync
        True to sync each commit. Otherwise a power failure may damage the index, so after a restart of the machine it
        is made again from what the lanes still hold.
    """

    def __init__(self, path: Path, remember_ms: int, most_bytes: int, *, sync: bool) -> None:
        self._remember_ms = remember_ms
        self._most = most_bytes
        self._seen: dict[int, tuple[int, int]] = {}
        path.mkdir(exist_ok=True)
        try:
            self._env = lmdb.open(
                str(path), map_size=2 * most_bytes + (16 << 20), max_dbs=3, sync=sync, metasync=sync, mode=0o600
            )
            self._answers = self._env.open_db(b"answers")
            self._ages = self._env.open_db(b"ages")
            self._lanes = self._env.open_db(b"lanes")
            self._page = self._env.stat()["psize"]
        except lmdb.Error as error:
            raise SpoolFailed(f"the index of the spool cannot be opened: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[Turn]:
        """Lock the spool for one turn; commit at its end, unless it raises.

        Raises
        ------
        SpoolFailed
            If the index cannot be written.
        """
        try:
            with self._env.begin(write=True) as txn:
                yield Turn(txn, self._answers, self._ages, self._lanes, self._seen)
                _BEFORE()
            _AFTER()
        except (lmdb.Error, OSError) as error:
            raise SpoolFailed(f"the index of the spool cannot be written: {error}") from error

    def forget(self, turn: Turn, now_ms: int, most: int) -> None:
        """Forget at most `most` answers that are too old, or the oldest if there are too many."""
        oldest = turn.txn.cursor(self._ages)
        answers = turn.txn.stat(self._answers)
        used = self._page * (answers["leaf_pages"] + answers["overflow_pages"] + answers["branch_pages"])
        excess = int(answers["entries"] * (used - self._most) / used) + 1 if used > self._most else 0
        found = oldest.first()
        while found and most > 0:
            key, more = oldest.item()
            (at,) = _AGE.unpack_from(key)
            if at >= now_ms - self._remember_ms and excess <= 0:
                return
            keys = [key[_AGE.size :], *(more[begin : begin + _KEY] for begin in range(0, len(more), _KEY))]
            for each in keys:
                turn.drop(each, at)
            most, excess = most - len(keys), excess - len(keys)
            found = oldest.delete() and bool(oldest.key())

    def close(self) -> None:
        """Close the index."""
        self._env.close()


class Turn:
    """One turn with the lock: looks up, stores, and indexes lanes.

    `seen` has, by lane, the segment and size of which nothing more can be indexed until they change.
    """

    def __init__(self, txn: Any, answers: Any, ages: Any, lanes: Any, seen: dict[int, tuple[int, int]]) -> None:
        self.txn = txn
        self._seen = seen
        self._answers, self._ages, self._lanes = answers, ages, lanes

    def look_up(self, key: bytes, oldest_ms: int) -> Remembered | None:
        """Return what is remembered of a key since `oldest_ms`."""
        found = self.txn.get(key, db=self._answers)
        if found is None:
            return None
        at, digest, final = _AT.unpack_from(found)
        return Remembered(key, digest, final, found[_AT.size :]) if at >= oldest_ms else None

    def put(self, by_time: Mapping[int, Sequence[Remembered]]) -> None:
        """Remember answers, by their time in ms; earlier ones with their keys are replaced."""
        pack = _AT.pack
        items = [
            (each.key, pack(at_ms, each.digest, each.final) + each.answer)
            for at_ms, said in by_time.items()
            for each in said
        ]
        items.sort()  # neighbours are in one page
        self.txn.cursor(self._answers).putmulti(items)
        for at_ms, said in by_time.items():
            keys = b"".join([each.key for each in said])
            self.txn.put(_AGE.pack(at_ms) + keys[:_KEY], keys[_KEY:], db=self._ages)

    def drop(self, key: bytes, at_ms: int) -> None:
        """Forget the answer of a key, unless it was replaced since `at_ms`."""
        found = self.txn.get(key, db=self._answers)
        if found is not None and _AT.unpack_from(found)[0] == at_ms:
            self.txn.delete(key, db=self._answers)

    # --- lanes -------------------------------------------------------------------------------------

    def place(self, lane: int) -> Place | None:
        """Return the end of what is indexed of a lane."""
        found = self.txn.get(_LANE.pack(lane), db=self._lanes)
        return None if found is None else Place(*_PLACE.unpack(found))

    def set_place(self, lane: int, place: Place) -> None:
        """Set the end of what is indexed of a lane."""
        self.txn.put(_LANE.pack(lane), _PLACE.pack(*place), db=self._lanes)

    def catch_up(self, lane_of: Callable[[int], LaneFolder], own: int) -> int:
        """Index what workers of other lanes than `own` have written and not indexed; return their number of entries."""
        found = 0
        for key, value in [*self.txn.cursor(self._lanes)]:
            (number,) = _LANE.unpack(key)
            if number == own:
                continue
            place = Place(*_PLACE.unpack(value))
            lane = lane_of(number)
            try:
                size = lane.file(place.segment).stat().st_size
            except FileNotFoundError:
                size = -1
            if size != place.offset and self._seen.get(number) != (place.segment, size):
                found += self.index(lane, place)
                self._seen[number] = place.segment, size
        return found

    def index(self, lane: LaneFolder, place: Place | None) -> int:
        """Index the entries of a lane after `place`, or all that it holds; return their number."""
        entries = 0
        for first in lane.segments():
            if place is not None and first < place.segment:
                continue
            begun = place is not None and first == place.segment
            try:
                tail = lane.intact(
                    first, place.offset if begun and place else 0, place.next if begun and place else None
                )
            except FileNotFoundError:
                continue  # deleted since: all of it is on Kafka
            for entry in tail.entries:
                if entry.remembered is not None:
                    self.put({entry.at_ms: [entry.remembered]})
            entries += len(tail.entries)
            place = Place(first, tail.end, tail.next)
            self.set_place(lane.number, place)
        return entries


def discard_after_reboot(path: Path) -> bool:
    """Delete the index if the machine was started since it was made; return whether it was deleted.

    Call it only while no process has the index open.
    """
    try:
        boot = _BOOT.read_text()
    except OSError:
        boot = ""
    noted = path / "boot"
    if path.exists() and (not noted.exists() or noted.read_text() != boot):
        shutil.rmtree(path)
        gone = True
    else:
        gone = False
    path.mkdir(exist_ok=True)
    noted.write_text(boot)
    return gone
