"""Writer of a restored log in which records keep their offsets and times, with the holes between them.

Versions, skipped examples and dead letters refer to offsets, so a restored log must have the same ones. Transaction
markers and aborted records have left holes in the original log. The writer sends records without a transaction. It
fills a hole with records of a transaction that it aborts, which no reader sees; the marker takes the hole's last
offset. Kafka assigns offsets without gaps, so each record's offset is known before it is sent, and checked afterwards.
The times of records are kept where the topic takes those of the sender.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from runtime.deadline import Overdue
from runtime.exits import RoleFailure
from runtime.kafka_client import size_limits
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, described
from runtime.kafka_client.failures import cause_of
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import TransactionLimits, Transactions

T = TypeVar("T")

_OPEN_S: Final = 120.0  # after this time, the transaction of fillers is ended at the next hole
_ACKNOWLEDGED_S: Final = 60.0
_LIMITS: Final = TransactionLimits(
    request_ms=10_000,
    delivery_ms=59_000,  # below the deadline, so that the error names a record that expires
    deadline_ms=60_000,
    broker_ms=900_000,  # the longest time that brokers allow by default
    open_ms=60_000,
    connect_ms=15_000,
    close_ms=5_000,
)
_MOST_UNACKNOWLEDGED: Final = 5_000


class LogRecord(NamedTuple):
    """A record of the original log."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class LayoutError(Exception):
    """The log could not be written with its offsets; create the topic again and restart."""


@dataclass(frozen=True)
class Run:
    """Records without holes, the length of the hole after them, and whether it is the log's last hole."""

    records: tuple[LogRecord, ...]
    hole: int
    last: bool


def runs(records: Iterable[LogRecord], end: int, last_hole: int, most: int = _MOST_UNACKNOWLEDGED) -> Iterator[Run]:
    """Split a log into runs of at most `most` records with the holes after them, up to offset `end`.

    Parameters
    ----------
    last_hole
        The offset at which the last hole begins.

    >>> log = [LogRecord(offset, 0, None, b"", []) for offset in (1, 2, 3, 6)]
    >>> [(len(run.records), run.hole, run.last) for run in runs(log, 8, last_hole=7)]
    [(0, 1, False), (3, 2, False), (1, 1, True)]
    """
    run: list[LogRecord] = []
    at = 0  # the offset that the next record has if there is no hole
    for record in records:
        if record.offset < at:
            raise LayoutError(f"offset {record.offset} comes after {at - 1}: the log's copy is not in order")
        if record.offset > at or len(run) >= most:
            yield Run(tuple(run), record.offset - at, last=at == last_hole)
            run = []
        run.append(record)
        at = record.offset + 1
    if end < at:
        raise LayoutError(f"the log's copy goes beyond its end, {end}")
    yield Run(tuple(run), end - at, last=at == last_hole)


class LayoutWriter:
    """Writes an empty partition from offset 0 on, each record at its own offset."""

    def __init__(self, cluster: Cluster, topic: str, transactional_id: str) -> None:
        self._topic = topic
        self._plain = cluster.producer(
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            batch_size=1 << 17,
            max_request_size=size_limits.RECORD,
            compression_type="lz4",
            request_timeout_ms=_LIMITS.request_ms,
            delivery_timeout_ms=int(_ACKNOWLEDGED_S * 1000),
        )
        self._fill = Transactions(cluster, transactional_id, _LIMITS, compression="lz4")
        self._open_since: float | None = None
        self._at = 0

    def write(self, all_runs: Iterable[Run], progress: Callable[[int], None]) -> None:
        """Write the runs; `progress` is called with the next offset.

        Raises
        ------
        LayoutError
            If a record has not received its offset: the topic must be created again.
        """
        try:
            _transacted(self._fill.open)
            for run in all_runs:
                self._one(run)
                progress(self._at)
        except KafkaError as error:
            raise LayoutError(described(error)) from error

    def close(self) -> None:
        """Close the producers."""
        with suppress(KafkaError):
            self._plain.close(timeout=_LIMITS.close_ms / 1000)
        self._fill.close()

    def _one(self, run: Run) -> None:
        records = run.records
        if run.last and run.hole == 1 and self._open_since is None and records:
            # Nothing to abort: the only offset left is for the marker of the transaction that commits the last record.
            self._send_plain(records[:-1])
            _transacted(self._fill.begin)
            self._send_transacted(records[-1:])
            _transacted(self._fill.commit)
            self._at += 1
            return
        self._send_plain(records)
        self._leave(run.hole, must_end=run.last)

    def _leave(self, hole: int, *, must_end: bool) -> None:
        """Fill a hole; end the fillers' transaction if this is the last hole, or the transaction is open for long."""
        if hole == 0:
            return
        opened = self._open_since
        ends = must_end or (opened is not None and time.monotonic() - opened > _OPEN_S)
        if opened is None:
            if must_end and hole == 1:
                # The original log begins at offset 1, and so will this one: the record before it is deleted.
                self._send_plain([_filler(self._at)])
                return
            _transacted(self._fill.begin)
            self._open_since = time.monotonic()
        fillers = hole - 1 if ends else hole
        while fillers > 0:
            now = min(fillers, _MOST_UNACKNOWLEDGED)
            self._send_transacted([_filler(self._at + n) for n in range(now)])
            fillers -= now
        if ends:
            _transacted(self._fill.abort)
            self._open_since = None
            self._at += 1

    def _send_plain(self, records: Sequence[LogRecord]) -> None:
        futures = [
            self._plain.send(self._topic, _value(each), each.key, each.headers, 0, each.timestamp) for each in records
        ]
        self._check(records, (future.get(timeout=_ACKNOWLEDGED_S).offset for future in futures))

    def _send_transacted(self, records: Sequence[LogRecord]) -> None:
        outputs = [Output(self._topic, 0, each.key, _value(each), each.headers, each.timestamp) for each in records]
        self._check(records, _transacted(lambda: self._fill.send(outputs)))

    def _check(self, records: Sequence[LogRecord], offsets: Iterable[int]) -> None:
        for record, found in zip(records, offsets, strict=True):
            if found != record.offset or found != self._at:
                raise LayoutError(f"a record went to offset {found} of {self._topic}, and not to {record.offset}")
            self._at += 1


def _filler(offset: int) -> LogRecord:
    return LogRecord(offset, 0, None, b"", [])


def _value(record: LogRecord) -> bytes | None:
    """Return the value to send: b"" replaces a missing one without a key, which readers treat the same."""
    return record.value if record.key else record.value or b""


def _transacted(work: Callable[[], T]) -> T:
    """Run a part of a transaction; raises the client's error, or LayoutError if it does not answer."""
    try:
        return work()
    except RoleFailure as failure:
        cause = cause_of(failure)
    if isinstance(cause, Overdue):
        raise LayoutError(f"no answer from Kafka within {cause.seconds:g} s") from cause
    raise cause


def commit_places(
    cluster: Cluster, transactional_id: str, group: str, places: Mapping[Partition, CommittedOffset]
) -> None:
    """Commit offsets for a group that has no members. Raises LayoutError, or the client's error."""
    with closing(Transactions(cluster, transactional_id, _LIMITS)) as transactions:
        _transacted(transactions.open)
        _transacted(lambda: transactions.commit((), places, GroupMetadata(group)))


def end_open_transaction(cluster: Cluster, transactional_id: str) -> None:
    """Make the broker end the open transaction of an interrupted writer.

    The broker writes the marker to the topic that then has the name. If that topic was created again in the meantime,
    the marker would take the first record's offset.
    """
    with closing(Transactions(cluster, transactional_id, _LIMITS)) as transactions:
        _transacted(transactions.open)


def write_log(
    cluster: Cluster,
    topic: str,
    transactional_id: str,
    all_runs: Iterable[Run],
    progress: Callable[[int], None],
) -> None:
    """Write a log to an empty topic's partition 0, each record at its own offset. Raises LayoutError."""
    with closing(LayoutWriter(cluster, topic, transactional_id)) as writer:
        writer.write(all_runs, progress)
