"""Writer of one lane: appends the entries of one turn in one write."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

from runtime.failpoints import failpoint
from server.spool.errors import SpoolFailed
from server.spool.folder import replace_file
from server.spool.segments import LaneFolder

_BEFORE_WRITE: Final = failpoint("spool.write.before")
_AFTER_WRITE: Final = failpoint("spool.write.after")
_BEFORE_SYNC: Final = failpoint("spool.fsync.before")
_AFTER_SYNC: Final = failpoint("spool.fsync.after")
_BEFORE_ROTATE: Final = failpoint("spool.rotate.before")
_AFTER_ROTATE: Final = failpoint("spool.rotate.after")


class LaneWriter:
    """Appends to a lane. Use it only with the lane's own lock held.

    Begin a segment, or write after an incomplete write, only while the index is locked: other workers then do not read.

    Opening cuts off what an interrupted write has left.

    Parameters
    ----------
    next_at_least
        Sequence number that the forwarder expects: the lane goes on there if its end is before, because it was cut.
    sync
        True to sync each write to the disk.

    Raises
    ------
    SpoolDamaged
        If the last segment is damaged.
    SpoolFailed
        If the disk refuses it. So do the methods that write.
    """

    def __init__(self, lane: LaneFolder, next_at_least: int, *, sync: bool) -> None:
        self._lane = lane
        self._sync = sync
        self._file = -1
        self._torn = False  # the file may have an incomplete end
        self._fresh = False  # the next write needs a new segment
        self.segment, self.offset, self.next = -1, 0, 0
        with _disk():
            self._open(next_at_least)

    def _open(self, next_at_least: int) -> None:
        segments = self._lane.segments()
        while segments and not self._lane.intact(segments[-1]).end:
            self._lane.file(segments.pop()).unlink()
        if segments:
            tail = self._lane.intact(segments[-1])
            self._use(segments[-1], tail.end, tail.next)
            self._torn = tail.size > tail.end
            self._cut()
        if not segments or self.next < next_at_least:
            self.next = max(self.next, next_at_least)
            self.rotate()

    def _use(self, segment: int, offset: int, following: int) -> None:
        self.close()
        self._file = os.open(self._lane.file(segment), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.segment, self.offset, self.next = segment, offset, following

    def needs_segment(self, segment_bytes: int) -> bool:
        """Return whether the next write must begin a segment."""
        return self._fresh or self.offset >= segment_bytes

    @property
    def is_torn(self) -> bool:
        """Return whether the next write first cuts off what an incomplete one has left."""
        return self._torn

    def rotate(self) -> None:
        """Begin a segment with the next entry."""
        with _disk():
            _BEFORE_ROTATE()
            self._cut()
            header = self._lane.header(self.next)
            if self.segment == self.next:
                return  # it has no entry yet
            replace_file(self._lane.file(self.next), header, sync=self._sync)
            self._use(self.next, len(header), self.next)
            self._fresh = False
            _AFTER_ROTATE()

    def append(self, entries: Sequence[bytes]) -> tuple[int, SpoolFailed | None]:
        """Write entries; return how many are in the spool now, and why not all or not safely.

        Entries that are completely written stay, even if the disk refuses those after them: the forwarder may have
        read them.
        """
        data = b"".join(entries)
        written = 0
        try:
            with _disk():
                self._cut()
                _BEFORE_WRITE()
                while written < len(data):
                    self._torn = True
                    written += os.write(self._file, data[written:] if written else data)
                self._torn = False
                _AFTER_WRITE()
        except SpoolFailed as error:
            whole, end = _complete(entries, written)
            self._keep(whole, end)
            return whole, error
        self._keep(len(entries), len(data))
        try:
            with _disk():
                if self._sync:
                    _BEFORE_SYNC()
                    os.fsync(self._file)
                    _AFTER_SYNC()
        except SpoolFailed as error:
            # A later sync of this file may succeed although the system has dropped these pages.
            self._fresh = True
            return len(entries), error
        return len(entries), None

    def _keep(self, entries: int, size: int) -> None:
        self.next += entries
        self.offset += size

    def _cut(self) -> None:
        if self._torn:
            os.ftruncate(self._file, self.offset)
            self._torn = False

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolFailed(f"the disk of the spool fails: {error.strerror or error}") from error


def _complete(entries: Sequence[bytes], written: int) -> tuple[int, int]:
    """Return how many entries are within the written bytes, and their size."""
    end = 0
    for number, each in enumerate(entries):
        if end + len(each) > written:
            return number, end
        end += len(each)
    return len(entries), end
