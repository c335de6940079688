"""Segments: the files of one lane of the spool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.spool.entries import Entry, InvalidEntry, is_torn, read, read_all
from server.spool.errors import SpoolDamaged

_FORMAT: Final = b"millstream spool 1 "
_DIGITS: Final = 20
_ENDING: Final = ".segment"
_CUT: Final = "the entry there is longer than the file, and others follow it"


@dataclass(frozen=True)
class LaneFolder:
    """A lane: the entries of one worker process, in numbered segments.

    The format: the folder ``lanes/<number>`` holds segments, each named by the sequence number of its first entry, 20
    digits and ``.segment``. A segment begins with the line ``millstream spool 1 <spool id> <lane> <first>``: the
    format's version, the id of the spool, the number of the lane, the first sequence number. Entries follow without
    gaps, each with a sequence number one larger than the one before, also across segments::

        u32 length of the body | u32 CRC-32 of sequence number and body | u64 sequence number | body

    Numbers are little-endian; the body is MessagePack: ``[at_ms, [record, …], remembered or nil]``, a record is
    ``[kind, partition, key, value, [[name, value], …]]``, remembered is ``[key, digest, final, answer]``.

    Segments are only appended to. A write that a crash has interrupted leaves an incomplete end of the last segment;
    the next writer cuts it off. Anything else that does not fit is damage.
    """

    path: Path
    spool_id: str
    number: int

    def segments(self) -> list[int]:
        """Return the first sequence number of each segment, in order."""
        names = os.listdir(self.path)
        return sorted(int(name[:_DIGITS]) for name in names if name.endswith(_ENDING) and name[:_DIGITS].isdigit())

    @property
    def lock(self) -> Path:
        """Return the file that the lane's writer holds; it names what answers wait for."""
        return self.path / "lock"

    @property
    def waits_for(self) -> str:
        """Return what the lane's last writer answered after, see `Sync`; empty if there was none."""
        try:
            return self.lock.read_text()
        except FileNotFoundError:
            return ""

    def file(self, first: int) -> Path:
        """Return the path of the segment that begins with the entry `first`."""
        return self.path / f"{first:0{_DIGITS}}{_ENDING}"

    def header(self, first: int) -> bytes:
        """Return the first line of a segment."""
        return _FORMAT + f"{self.spool_id} {self.number} {first}\n".encode()

    def check_header(self, first: int, data: bytes) -> int:
        """Return the offset of the first entry. Raises SpoolDamaged if the segment begins with anything else."""
        expected = self.header(first)
        if not data.startswith(expected):
            line = data[: len(expected)].split(b"\n")[0].decode(errors="replace")
            raise SpoolDamaged(
                f"{self.file(first)} does not begin with {expected.decode().strip()!r} but with {line!r}: another "
                "version or another spool wrote it; put back the file that was here, or move it away and lose its "
                "entries"
            )
        return len(expected)

    def damaged(self, first: int, offset: int, why: str) -> SpoolDamaged:
        """Return the error for a place in a segment that holds no entry."""
        path = self.file(first)
        return SpoolDamaged(
            f"{path} is damaged at byte {offset}: {why}. Put back an intact copy, or give up the entries from there on "
            f"with `truncate -s {offset} {path}`"
        )

    def intact(self, first: int, from_offset: int = 0, sequence: int | None = None) -> Tail:
        """Return the entries of the last segment from an offset on, and the end of the intact part.

        Raises
        ------
        SpoolDamaged
            If anything but an interrupted write follows the intact part.
        """
        data = self.file(first).read_bytes()
        if self.header(first).startswith(data) and len(data) < len(self.header(first)):
            return Tail([], 0, first, len(data))  # a power failure took its first line
        at = max(from_offset, self.check_header(first, data))
        number = first if sequence is None else sequence
        entries: list[Entry] = []
        why = _CUT
        try:
            for entry, end in read_all(data, at, number):
                entries.append(entry)
                at, number = end, number + 1
        except InvalidEntry as error:
            why = str(error)
        if at < len(data) and not is_torn(data, at, number):
            raise self.damaged(first, at, why)
        return Tail(entries, at, number, len(data))


@dataclass(frozen=True)
class Tail:
    """Intact entries of a segment, the offset of their end, the next sequence number, and the size of the file."""

    entries: list[Entry]
    end: int
    next: int
    size: int


class LaneReader:
    """Reads a lane from a sequence number on, while another process appends to it.

    Raises
    ------
    SpoolDamaged
        If the lane has no entry with that number and never will, or a file is damaged. So does `read`.
    """

    def __init__(self, lane: LaneFolder, sequence: int) -> None:
        self._lane = lane
        self._segment = -1
        self._offset = 0
        self.next = sequence
        """Sequence number of the next entry to read."""

    def read(self, most_bytes: int) -> list[Entry]:
        """Return the next entries, of about `most_bytes` and at least one; empty if there are none yet."""
        found: list[Entry] = []
        while not found and self._find():
            later = self._lane.file(self.next).exists() and self.next > self._segment
            found = self._take(most_bytes, last=not later)
            if not found:
                if not later:
                    break
                self._segment = -1  # this one is read to its end
        return found

    def _find(self) -> bool:
        """Find the segment of the next entry; return whether there is one."""
        if self._segment >= 0:
            return True
        candidates = [first for first in self._lane.segments() if first <= self.next]
        if not candidates:
            if self._lane.segments():
                raise SpoolDamaged(
                    f"{self._lane.path} begins with entry {self._lane.segments()[0]}, and entry {self.next} is next to "
                    "be put onto Kafka: put back the missing segments, or begin again without them by deleting the "
                    "folder of the spool while no server runs"
                )
            return False
        first = candidates[-1]
        data = self._lane.file(first).read_bytes()
        try:
            at = self._lane.check_header(first, data)
        except SpoolDamaged:
            if b"\n" in data[: len(self._lane.header(first))]:
                raise
            return False  # its first line is being written
        number = first
        while number < self.next:
            try:
                skipped = read(data, at, number)
            except InvalidEntry as error:
                raise self._lane.damaged(first, at, str(error)) from error
            if skipped is None:
                raise SpoolDamaged(
                    f"{self._lane.file(first)} ends before entry {number}, and the entries before {self.next} are on "
                    "Kafka: the spool is an older copy. Put back the newest, or begin again by deleting the folder of "
                    "the spool while no server runs"
                )
            at, number = skipped[1], number + 1
        self._segment, self._offset = first, at
        return True

    def _take(self, most_bytes: int, *, last: bool) -> list[Entry]:
        try:
            opened = self._lane.file(self._segment).open("rb", buffering=0)
        except FileNotFoundError:
            if last:
                raise
            return []  # deleted, because all of it was read
        with opened as file:
            file.seek(self._offset)
            found, why = self._parse(file.read(most_bytes) or b"")
            if not found:  # a single entry may be larger
                file.seek(self._offset)
                data = file.readall() or b""
                found, why = self._parse(data)
                if data and not found and not (last and is_torn(data, 0, self.next)):
                    raise self._lane.damaged(self._segment, self._offset, why)
        return found

    def _parse(self, data: bytes) -> tuple[list[Entry], str]:
        """Return the complete entries at the beginning of the data, and why there is not one more."""
        found: list[Entry] = []
        at, why = 0, _CUT
        try:
            for entry, end in read_all(data, 0, self.next):
                found.append(entry)
                at, self.next = end, self.next + 1
        except InvalidEntry as error:
            why = str(error)
        self._offset += at
        return found, why
