"""Import of labelled history into the examples log, in its own lane: exactly once and resumable."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from producers.duplicate_ids import RepeatedIds
from producers.import_log import ImportLog, ImportStoppedError, Reached
from producers.rows import BadRow, RowSource, SourceError, SourceRow
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Output
from runtime.kafka_client.transaction import TransactionLimits
from runtime.stop_signals import stop_on_signals
from schemas.contract import ContractError
from schemas.events import Event, Example, Features, Label, Lane, Scalar
from schemas.preparing import of_event
from schemas.target import Target, TargetError
from schemas.topics import Names

__all__ = ["ImportOptions", "ImportProgress", "ImportRefusedError", "ImportReport"]
__all__ += ["ImportStoppedError", "import_rows", "lane_name"]

EPOCH: Final = "0"
_SHOWN: Final = 10


class ImportRefusedError(Exception):
    """A file has rows that cannot be examples, with `strict`; nothing of it was imported.

    Attributes
    ----------
    rows
        Number of those rows.
    """

    def __init__(self, message: str, rows: int = 0) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of an import.

    Parameters
    ----------
    weigh
        Returns an example's weight from its features and its coerced label; without it the weight is 1.
    strict
        Check the whole file first, and import nothing if a row is refused.
    transaction_rows
        Maximum number of rows in one transaction.
    transaction_bytes
        Approximate maximum size of one transaction, in bytes.
    begun
        Called with the progress of earlier runs, before this run writes anything.
    on_refused
        Called with each row that is refused now, and the number of rows that were refused before it; what it returns is
        written in the transaction of the row.
    list_refused
        Number of refused rows to report that this run does not write: those of earlier runs, and with `strict`.
    on_refused_before
        Called with each of those.
    """

    weigh: Callable[[Features, Scalar], float] | None = None
    strict: bool = False
    transaction_rows: int = 2_000
    transaction_bytes: int = 4 << 20
    begun: Callable[[Reached], None] = lambda _reached: None
    on_refused: Callable[[BadRow, int], Output | None] = lambda _row, _before: None
    list_refused: int = 0
    on_refused_before: Callable[[BadRow], None] = lambda _row: None

    def __post_init__(self) -> None:
        if self.transaction_rows < 1:
            raise ValueError(f"transaction_rows={self.transaction_rows!r} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ImportProgress:
    """Progress of an import. `scanned` counts log records read to find an earlier run's position."""

    rows: int
    imported: int
    refused: int
    total: int | None
    scanned: int = 0


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Result of an import.

    `imported` and `refused` count this run; `already` is the number of rows that earlier runs handled, and
    `lane_examples` and `lane_refused` count all runs. `first_refused` names file, line and reason. `repeated_ids` is
    the number of rows read so far that repeat an earlier id.
    """

    lane: str
    already: int
    imported: int
    refused: int
    first_refused: tuple[str, ...]
    lane_examples: int
    lane_refused: int
    interrupted: bool
    seconds: float
    repeated_ids: int = 0


def lane_name(source: RowSource) -> str:
    """Return the lane of a source's rows, derived from its content and the names of its id, time and label columns.

    Contract and target are not part of it, because the same history must not be learned again after a change of the
    contract.
    """
    spec = source.spec
    identity = [source.sha256(), spec.label, list(spec.id_columns), spec.time]
    return f"import-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"


def import_rows(
    cluster: Cluster,
    names: Names,
    source: RowSource,
    options: ImportOptions | None = None,
    *,
    progress: Callable[[ImportProgress], None] | None = None,
    stop: threading.Event | None = None,
    limits: TransactionLimits | None = None,
) -> ImportReport:
    """Write the rows of `source` to the examples log; continue an earlier run of the same import.

    Parameters
    ----------
    cluster, names
        The cluster of the stream's log, and the stream's names.
    source
        The rows to import. Its spec's contract and target decide which rows are examples.
    options, limits
        Options of the import, and time limits for the broker.
    progress
        Called after every transaction.
    stop
        If set, the import ends after the current transaction; Ctrl-C and SIGTERM set it.

    Raises
    ------
    ImportRefusedError
        If a row cannot be an example, with `strict`.
    ImportStoppedError
        If the result of a commit is unknown; a second run finds out and continues.
    SourceError
        If the whole source cannot be read.
    MissingTopic, NoBroker
        If the log does not exist or the broker is not there.
    """
    try:
        # A repaired file has another lane, so rows imported from the damaged file would be learned twice.
        source.require_whole()
        if source.spec.contract.calendar is not None and source.spec.time is None:
            raise SourceError(
                f"{source.name}: the stream has a Calendar, and its stream file names no column with the time of an "
                "event (time=), so all rows would have the hour of their import"
            )
        importing = _Import(cluster, names, source, options or ImportOptions(), progress, stop, limits)
    except SourceError as error:
        raise SourceError(f"{error}; nothing of it was imported") from error
    return importing.run()


class _RefusedError(Exception):
    """One row cannot be an example."""


class _Import:
    def __init__(
        self,
        cluster: Cluster,
        names: Names,
        source: RowSource,
        options: ImportOptions,
        progress: Callable[[ImportProgress], None] | None,
        stop: threading.Event | None,
        limits: TransactionLimits | None,
    ) -> None:
        self._source = source
        self._options = options
        self._progress = progress or (lambda _progress: None)
        self._stop = stop or threading.Event()
        self._target = source.spec.target or Target(task="multiclass")
        self._stamp = source.stamp()
        self._lane = lane_name(source)
        self._started = time.monotonic()
        self._total = source.count()
        self._first_refused: list[str] = []
        self._before = Reached()
        self._ids = RepeatedIds()
        self._log = ImportLog(cluster, names, self._lane, limits)

    def run(self) -> ImportReport:
        with stop_on_signals(self._stop):
            try:
                if self._options.strict:
                    self._look_through()
                self._before = self._log.open(lambda scanned: self._tell(self._before, scanned))
                self._options.begun(self._before)
                reached = self._write_from(self._before)
            finally:
                self._log.close()
        before = self._before
        return ImportReport(
            lane=self._lane,
            already=before.sequence + before.refused,
            imported=reached.sequence - before.sequence,
            refused=reached.refused - before.refused,
            first_refused=tuple(self._first_refused),
            lane_examples=reached.sequence,
            lane_refused=reached.refused,
            interrupted=self._stop.is_set(),
            seconds=time.monotonic() - self._started,
            repeated_ids=self._ids.count(),
        )

    def _write_from(self, reached: Reached) -> Reached:
        """Write the rows after `reached`, one transaction at a time, and return the position reached."""
        batch: list[tuple[int, Example]] = []
        more: list[Output] = []
        size = 0
        again = min(self._options.list_refused, reached.refused)
        rows, sequence, refused = reached.rows, reached.sequence, reached.refused
        for number, row in self._numbered():
            if isinstance(row, SourceRow):
                self._ids.add(row.event_id)
            if number <= self._before.rows:
                if again > 0 and isinstance(bad := self._tried(row, 0), BadRow):
                    self._options.on_refused_before(bad)
                    again -= bad.rows
                continue
            tried = self._tried(row, sequence)
            if isinstance(tried, BadRow):
                if (output := self._options.on_refused(tried, refused)) is not None:
                    more.append(output)
                refused += tried.rows
                self._note(tried)
            else:
                batch.append((number, tried))
                size += _size(tried)
                sequence += 1
            rows = number
            if rows - reached.rows >= self._options.transaction_rows or size >= self._options.transaction_bytes:
                reached = self._commit(batch, more, Reached(rows, sequence, refused))
                batch, more, size = [], [], 0
        if rows > reached.rows:
            reached = self._commit(batch, more, Reached(rows, sequence, refused))
        return reached

    def _commit(self, batch: list[tuple[int, Example]], more: list[Output], reached: Reached) -> Reached:
        if self._source.stamp() != self._stamp:
            raise ImportRefusedError(
                f"{self._source.name} changed while it was imported; what was imported stays, as lane {self._lane}"
            )
        self._log.write(batch, reached, more)
        self._tell(reached)
        return reached

    def _numbered(self) -> Iterator[tuple[int, SourceRow | BadRow]]:
        """Yield every row with its number, including unreadable ones, until the import must end."""
        bad: list[BadRow] = []
        number = 0
        for row in self._source.rows(bad.append):
            if self._stop.is_set():
                return
            for each in bad:
                number += 1
                yield number, each
            bad.clear()
            number += 1
            yield number, row
        for each in bad:
            number += 1
            yield number, each

    def _tried(self, row: SourceRow | BadRow, sequence: int) -> Example | BadRow:
        """Return the row as an example, or why it cannot be one."""
        if isinstance(row, BadRow):
            return row
        try:
            return self._example(row, sequence)
        except _RefusedError as error:
            return self._source.bad(row.line, str(error))

    def _example(self, row: SourceRow, sequence: int) -> Example:
        """Return the row as an example. Raises _RefusedError if it cannot be one."""
        if row.label is None:
            raise _RefusedError("it has no label")
        try:
            spec = self._source.spec
            features = of_event(spec.contract, spec.prepare, row.features, row.event_time_ms)
            scalar = self._target.coerce(row.label)
        except (ContractError, TargetError) as error:
            raise _RefusedError(str(error)) from error
        weight = self._weight(features, scalar)
        return Example(
            event=Event(row.event_id, row.event_time_ms, features),
            outcome=None,
            # The coerced label, like the labels that the joiner writes.
            label=Label(row.event_id, scalar, row.event_time_ms, weight=weight, source="import"),
            lane=Lane(self._lane, EPOCH, sequence),
            joined=None,
        )

    def _weight(self, features: Features, label: Scalar) -> float:
        if self._options.weigh is None:
            return 1.0
        try:
            weight = float(self._options.weigh(features, label))
        except Exception as error:  # user code may raise anything, and it concerns this row
            raise _RefusedError(f"its weight cannot be had: {type(error).__name__}: {error}") from error
        if not (math.isfinite(weight) and weight >= 0):
            raise _RefusedError(f"its weight is {weight}")
        return weight

    def _look_through(self) -> None:
        refused = 0
        for _, row in self._numbered():
            tried = self._tried(row, 0)
            if isinstance(tried, BadRow):
                if refused < self._options.list_refused:
                    self._options.on_refused_before(tried)
                refused += tried.rows
                self._note(tried)
        if refused:
            raise ImportRefusedError(
                f"nothing was imported: {refused} rows cannot be examples, the first is {self._first_refused[0]}",
                refused,
            )

    def _note(self, bad: BadRow) -> None:
        if len(self._first_refused) < _SHOWN:
            self._first_refused.append(str(bad))

    def _tell(self, reached: Reached, scanned: int = 0) -> None:
        before = self._before
        self._progress(
            ImportProgress(
                rows=reached.rows,
                imported=reached.sequence - before.sequence,
                refused=reached.refused - before.refused,
                total=self._total,
                scanned=scanned,
            )
        )


def _size(example: Example) -> int:
    """Estimate an example's size in bytes; only long values matter for the size of a transaction."""
    long = (value for value in example.event.features.values() if isinstance(value, (str, bytes, list)))
    return 200 + 16 * len(example.event.features) + sum(map(len, long))
