"""Labelled history straight onto the examples log, as a lane of its own: exactly once, and resumable."""

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
from producers.stop_signals import stop_on_signals
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.transaction import TransactionLimits
from schemas.contract import ContractError
from schemas.events import Event, Example, Features, Label, Lane, Scalar
from schemas.target import Target, TargetError
from schemas.topics import Names

__all__ = ["ImportOptions", "ImportProgress", "ImportRefusedError", "ImportReport"]
__all__ += ["ImportStoppedError", "import_rows", "lane_name"]

EPOCH: Final = "0"
_SHOWN: Final = 10


class ImportRefusedError(Exception):
    """With `strict`, a file has rows that cannot be examples; nothing of it was imported."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How to import.

    Parameters
    ----------
    weigh
        Gives an example's weight from its features and its label (as the target has it); 1 without.
    strict
        Look through the whole file first, and import nothing if a row of it is refused.
    transaction_rows
        How many rows commit together, at most.
    transaction_bytes
        And how many bytes, about.
    """

    weigh: Callable[[Features, Scalar], float] | None = None
    strict: bool = False
    transaction_rows: int = 2_000
    transaction_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        if self.transaction_rows < 1:
            raise ValueError(f"transaction_rows={self.transaction_rows!r} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ImportProgress:
    """Where an import stands. `scanned` counts records of the log read to find an earlier run's place."""

    rows: int
    imported: int
    refused: int
    total: int | None
    scanned: int = 0


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    `imported` and `refused` are this run's; `already` is how many rows earlier runs had dealt with, and
    `lane_examples` and `lane_refused` count all runs. `first_refused` names file, line and reason.
    `repeated_ids` is how many of the rows read so far have the id of a row before them.
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
    """Return the lane that a source's rows belong to: by its content and the columns that name things.

    Contract and target are not part of it: the same history under a changed contract must not be
    learned a second time behind the first.
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
    """Write the rows of `source` onto the examples log, from where an earlier run of the same stopped.

    Parameters
    ----------
    cluster, names
        Where the stream's log is, and how it is called.
    source
        What to import. Its spec's contract and target decide which rows are examples.
    options, limits
        How, and how long to wait for the broker.
    progress
        Called after every transaction.
    stop
        Ends the import after the transaction under way when set; Ctrl-C and SIGTERM set it.

    Raises
    ------
    ImportRefusedError
        With `strict`, where a row cannot be an example.
    ImportStoppedError
        Where it is not certain what arrived; running the same again settles it and goes on.
    SourceError
        Where the source as a whole cannot be read.
    MissingTopic, NoBroker
        Where there is no log to write to.
    """
    try:
        # A mended file is another lane: what a damaged one gave already would be learned a second time.
        source.require_whole()
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
        """Write what comes after `reached`, a transaction at a time, and return where that ended."""
        batch: list[tuple[int, Example]] = []
        size = 0
        rows, sequence, refused = reached.rows, reached.sequence, reached.refused
        for number, row in self._numbered():
            if isinstance(row, SourceRow):
                self._ids.add(row.event_id)
            if number <= reached.rows:
                continue
            try:
                if isinstance(row, BadRow):
                    raise _RefusedError(row.reason)
                example = self._example(row, sequence)
            except _RefusedError as error:
                refused += row.rows if isinstance(row, BadRow) else 1
                self._note(row.line, error)
            else:
                batch.append((number, example))
                size += _size(example)
                sequence += 1
            rows = number
            if rows - reached.rows >= self._options.transaction_rows or size >= self._options.transaction_bytes:
                reached = self._commit(batch, Reached(rows, sequence, refused))
                batch, size = [], 0
        if rows > reached.rows:
            reached = self._commit(batch, Reached(rows, sequence, refused))
        return reached

    def _commit(self, batch: list[tuple[int, Example]], reached: Reached) -> Reached:
        if self._source.stamp() != self._stamp:
            raise ImportRefusedError(
                f"{self._source.name} changed while it was imported; what was imported stays, as lane {self._lane}"
            )
        self._log.write(batch, reached)
        self._tell(reached)
        return reached

    def _numbered(self) -> Iterator[tuple[int, SourceRow | BadRow]]:
        """Yield every row with its number, those that cannot be read among them, until the import is to end."""
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

    def _example(self, row: SourceRow, sequence: int) -> Example:
        """Return the row as an example. _RefusedError where it cannot be one."""
        if row.label is None:
            raise _RefusedError("it has no label")
        try:
            features = self._source.spec.contract.apply(row.features)
            scalar = self._target.coerce(row.label)
        except (ContractError, TargetError) as error:
            raise _RefusedError(str(error)) from error
        weight = self._weight(features, scalar)
        return Example(
            event=Event(row.event_id, row.event_time_ms, features),
            outcome=None,
            # As the target has it, like the labels that the joiner writes.
            label=Label(row.event_id, scalar, row.event_time_ms, weight=weight, source="import"),
            lane=Lane(self._lane, EPOCH, sequence),
            joined=None,
        )

    def _weight(self, features: Features, label: Scalar) -> float:
        if self._options.weigh is None:
            return 1.0
        try:
            weight = float(self._options.weigh(features, label))
        except Exception as error:  # the user's function: whatever it raises is about this row
            raise _RefusedError(f"its weight cannot be had: {type(error).__name__}: {error}") from error
        if not (math.isfinite(weight) and weight >= 0):
            raise _RefusedError(f"its weight is {weight}")
        return weight

    def _look_through(self) -> None:
        refused = 0
        for _, row in self._numbered():
            try:
                if isinstance(row, BadRow):
                    raise _RefusedError(row.reason)
                self._example(row, 0)
            except _RefusedError as error:
                refused += row.rows if isinstance(row, BadRow) else 1
                self._note(row.line, error)
        if refused:
            raise ImportRefusedError(
                f"nothing was imported: {refused} rows cannot be examples, the first is {self._first_refused[0]}"
            )

    def _note(self, line: int, error: _RefusedError) -> None:
        if len(self._first_refused) < _SHOWN:
            self._first_refused.append(str(self._source.bad(line, str(error))))

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
    """About how many bytes an example takes: only long values matter for where a transaction ends."""
    long = (value for value in example.event.features.values() if isinstance(value, (str, bytes, list)))
    return 200 + 16 * len(example.event.features) + sum(map(len, long))
