"""Replay: writes a range of a topic into another one, each record exactly once across crashes.

One transaction on the target cluster commits the records and the position, so a killed replay continues without repeats
or gaps. The position is a committed offset of the replay's own group, on the target topic. Its metadata is JSON,
``{"next": [...], "end": [...]}``, by partition of the source, and the times of the range, if it has any, because ``6h``
ago is a later time whenever the same command is run. A `Work` makes the output: the record itself, or a model's answer
to it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from millstream.reading.offset_ranges import Offsets, taken
from millstream.reading.range_reader import RangeReader
from millstream.replay.plan import CannotReplay, Job
from millstream.replay.rate_limit import RateLimit
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import CommittedOffset, Output, Partition, Record
from runtime.kafka_client.transaction import Transactions
from runtime.stop_signals import stop_on_signals
from schemas.topics import Names

_RECORDS: Final = 5000  # a transaction
_BYTES: Final = 4 << 20
_SECONDS: Final = 0.5

Progress: TypeAlias = Callable[[int, int, float], None]


class Work(Protocol):
    """A function that makes the output for records."""

    def __call__(self, records: Sequence[Record]) -> list[Output]:
        """Return the output for these records, in order within each partition."""


@dataclass(frozen=True)
class Copies:
    """A `Work` that copies records to the same partition, or to the key's if the number of partitions differs."""

    job: Job

    def __call__(self, records: Sequence[Record]) -> list[Output]:
        into, count = self.job.into, self.job.partitions
        if count == len(self.job.end):
            return [Output(into, r.partition, r.key, r.value, r.headers, r.timestamp) for r in records]
        return [Output(into, self._partition(r, count), r.key, r.value, r.headers, r.timestamp) for r in records]

    def _partition(self, record: Record, count: int) -> int:
        """Return the partition that keeps a key's order."""
        return int(record.partition % count) if record.key is None else hashed(record.key, count)


@dataclass(frozen=True)
class Replayed:
    """Result of a replay: records written by this run, and by earlier runs of the same job."""

    written: int
    before: int
    interrupted: bool
    seconds: float


@dataclass
class _Progress:
    next: Offsets
    end: Offsets
    since: int | None = None
    until: int | None = None
    note: str = ""
    begin: Offsets | None = None
    written: int = 0

    def left(self) -> int:
        return sum(max(0, self.end[each] - self.next[each]) for each in self.end)

    def encode(self) -> str:
        numbers = sorted(self.end)
        told: dict[str, Any] = {"next": [self.next[n] for n in numbers], "end": [self.end[n] for n in numbers]}
        begin = None if self.begin is None else [self.begin[n] for n in numbers]
        more = {"begin": begin, "since": self.since, "until": self.until, "note": self.note or None}
        told |= {name: value for name, value in more.items() if value is not None}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def decode(cls, metadata: str, written: int) -> _Progress:
        told = json.loads(metadata)
        told |= {name: dict(enumerate(told[name])) for name in ("next", "end", "begin") if name in told}
        return cls(**told, written=written)


class Replay:
    """One replay, which continues an earlier run of the same job. Use it in a `with` block.

    Parameters
    ----------
    again
        Begin from the start although the job was done before; otherwise nothing is left to do then.
    role
        Part of the name of its group and its transactions.
    note
        Text for later runs of the job; they find the note of the first run.
    keeps_begin
        Keep the first run's begin for later runs. That takes space in the metadata, so fewer partitions fit.

    Attributes
    ----------
    before
        Number of records that earlier runs have written.
    """

    def __init__(
        self,
        job: Job,
        names: Names,
        *,
        again: bool = False,
        role: str = "replay",
        note: str = "",
        keeps_begin: bool = False,
    ) -> None:
        self.job = job
        self._group = f"{names.group(role)}.{job.key}"
        self._where = Partition(job.into, 0)
        with ExitStack() as held:
            # This fences another process with the same id, then aborts its open transaction.
            self._transactions = Transactions(job.target, names.process(role, job.key))
            held.callback(self._transactions.close)
            self._transactions.open()
            self._place = self._found(again, note, keeps_begin)
            self.job = replace(job, since=self._place.since, until=self._place.until)
            self.before = self._place.written
            self._held = held.pop_all()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    @property
    def left(self) -> int:
        """Return the number of offsets still to be read, including transaction markers."""
        return self._place.left()

    @property
    def note(self) -> str:
        """Return the note of the job's first run."""
        return self._place.note

    @property
    def next(self) -> Offsets:
        """Return the next offset of each partition."""
        return dict(self._place.next)

    @property
    def span(self) -> tuple[Offsets, Offsets]:
        """Return the begin of the first run, if it is kept, else the next offsets; and the ends."""
        return dict(self._place.begin or self._place.next), dict(self._place.end)

    def _found(self, again: bool, note: str, keeps_begin: bool) -> _Progress:
        job = self.job
        fresh = _Progress(
            dict(job.begin), dict(job.end), job.since, job.until, note, dict(job.begin) if keeps_begin else None
        )
        consumer = job.target.consumer(group_id=self._group)
        try:
            place = consumer.committed(self._where, timeout_ms=10_000)
        finally:
            consumer.close()
        if place is None:
            return fresh
        found = _Progress.decode(place.metadata, place.offset)
        if again and (not found.left() or self._taken(found)):
            return fresh
        self._insist_on_all(found)
        return found

    def _taken(self, place: _Progress) -> Offsets:
        with closing(self.job.source.consumer()) as consumer:
            return taken(consumer, self.job.topic, place.next, place.end)

    def _insist_on_all(self, place: _Progress) -> None:
        """Raise CannotReplay if retention has deleted records that are left to write."""
        if not (lows := self._taken(place)):
            return
        number, low = min(lows.items())
        gap = f"offsets {place.next[number]} to {min(low, place.end[number]) - 1} of partition {number}"
        rest = ",".join(f"{each}:{max(place.next[each], lows.get(each, 0))}" for each in sorted(place.end))
        raise CannotReplay(
            f"retention has taken {gap} of {self.job.topic} before they were written: "
            f"--from {rest} writes what is left, and --again writes everything that is left on it again"
        )

    # --- running -----------------------------------------------------------------------------------

    def run(
        self,
        pace: RateLimit,
        progress: Progress = lambda done, total, left: None,
        stop: threading.Event | None = None,
        work: Work | None = None,
        *,
        ordered: bool = False,
    ) -> Replayed:
        """Write the remaining records; call `progress` with offsets done, their total, and seconds left (estimated).

        Parameters
        ----------
        ordered
            Write records of all partitions in the order of their times even if the rate limit does not need it.

        Raises
        ------
        RoleFailure
            If the result of a commit is unknown, or another run of the job took over; the same command continues.
        """
        stop, work = stop or threading.Event(), work or Copies(self.job)
        began, total, before = time.monotonic(), self._place.left(), self._place.written
        run = _Run(pace, stop, began)
        with stop_on_signals(stop), closing(self._reader()) as reader:
            pieces = self._in_order(reader, run) if ordered or pace.speed else self._as_they_come(reader, run)
            for piece in pieces:
                self._commit(work(piece))
                run.count(piece)
                self._tell(progress, total, began)
            if not stop.is_set() and self._place.next != self._place.end:
                self._place.next = dict(self._place.end)  # past the markers at the end
                self._commit([])
        self._tell(progress, total, began)
        return Replayed(self._place.written - before, before, self.left > 0, time.monotonic() - began)

    def _reader(self) -> RangeReader:
        return RangeReader(self.job.source, self.job.topic, self._place.next, self._place.end)

    def _as_they_come(self, reader: RangeReader, run: _Run) -> Iterator[list[Record]]:
        for records in reader.as_it_comes(run.stop, run.pace.piece(_RECORDS)):
            for piece in _fitting(self._wanted(records)):
                if not run.wait(piece[0]):
                    return
                self._pass(piece)
                yield piece
            self._pass(records)

    def _pass(self, records: list[Record]) -> None:
        self._place.next |= {each.partition: each.offset + 1 for each in records}

    def _wanted(self, records: list[Record]) -> list[Record]:
        return [each for each in records if self.job.wants(each.timestamp)] if self.job.timed else records

    def _in_order(self, reader: RangeReader, run: _Run) -> Iterator[list[Record]]:
        """Yield pieces of due records, each of at most half a second."""
        piece: list[Record] = []
        size, since, most = 0, time.monotonic(), run.pace.piece(_RECORDS)
        for record in reader.by_time(run.stop):
            if not self.job.wants(record.timestamp):
                self._place.next[record.partition] = record.offset + 1
                continue
            due = run.due(record, len(piece), size)
            late = time.monotonic() - since >= _SECONDS or due > _SECONDS
            if piece and (late or len(piece) >= most or size >= _BYTES):
                yield piece
                piece, size, since = [], 0, time.monotonic()
                due = run.due(record, 0, 0)
            if due > 0 and run.stop.wait(due):
                break
            piece.append(record)
            size += len(record.value or b"")
            self._place.next[record.partition] = record.offset + 1
        if piece:
            yield piece

    def _tell(self, progress: Progress, total: int, began: float) -> None:
        left = self._place.left()
        done = total - left
        spent = time.monotonic() - began
        progress(done, total, left * spent / done if done else 0.0)

    def _commit(self, batch: list[Output]) -> None:
        self._place.written += len(batch)
        metadata = self._place.encode()
        if len(metadata) > size_limits.OFFSET_METADATA:
            raise CannotReplay(f"{self.job.topic} has too many partitions to keep a replay's place in one commit")
        place = CommittedOffset(self._place.written, metadata)
        self._transactions.commit(batch, {self._where: place}, GroupMetadata(self._group))


class _Run:
    """Progress of this run, compared with its rate limit."""

    def __init__(self, pace: RateLimit, stop: threading.Event, began: float) -> None:
        self.pace = pace
        self.stop = stop
        self._began = began
        self._number = self._size = 0
        self._first: int | None = None

    def count(self, records: list[Record]) -> None:
        """Count written records."""
        self._number += len(records)
        if self.pace.bytes_rate:
            self._size += sum(len(each.value or b"") + len(each.key or b"") for each in records)

    def due(self, record: Record, more: int, bytes_more: int) -> float:
        """Return the seconds until a record is due, given the records before it that are not written yet."""
        self._first = record.timestamp if self._first is None else self._first
        due = self.pace.due(self._number + more, self._size + bytes_more, record.timestamp, self._first)
        return self._began + due - time.monotonic()

    def wait(self, record: Record) -> bool:
        """Wait until a record is due; return whether the run continues."""
        due = self.due(record, 0, 0)
        return not (self.stop.wait(due) if due > 0 else self.stop.is_set())


def _fitting(records: list[Record]) -> Iterator[list[Record]]:
    """Yield records in pieces that fit into a transaction; usually it is a single piece."""
    begin, size = 0, 0
    for number, record in enumerate(records):
        if size >= _BYTES:
            yield records[begin:number]
            begin, size = number, 0
        size += len(record.value or b"")
    if begin < len(records):
        yield records[begin:]
