"""Importer: imports whole uploads into the examples log, one after the other, exactly once.

The rows of an upload, its refused rows (as dead letters) and the place in it are committed in one transaction, by the
code of `millstream import`. Its end is one more transaction: alerts, and the upload's id in the metadata of a group of
the importer's own. After a crash between that commit and the result on disk, the id tells that it has ended.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from consumers.loop.alerts import Alerts
from consumers.roles import IMPORTER
from producers.import_log import ImportStoppedError
from producers.imports import ImportOptions, ImportRefusedError, ImportReport, import_rows
from producers.rows import BadRow, RowSource, SourceError
from runtime.exits import TRY_AGAIN, RoleFailure
from runtime.failpoints import failpoint
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import NoBroker
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import TransactionLimits, Transactions
from schemas.dead_letters import DeadLetter
from server.spool.folder import hold
from server.uploads.file_checks import opened, require_fit
from server.uploads.folder import SOURCE, Begun, Problem, Refusal, Result, Upload, UploadFolder
from server.uploads.offset_metadata import ImporterMetadata

if TYPE_CHECKING:
    from producers.import_log import Reached
    from producers.imports import ImportProgress
    from producers.rows import SourceSpec
    from runtime.kafka_client.cluster import Cluster
    from schemas.events import Features, Scalar
    from schemas.topics import Names
    from server.instrumentation import ImporterMeter

_BEFORE_END: Final = failpoint("importer.end.before")
_BEFORE_RESULT: Final = failpoint("importer.result.before")
_AFTER_RESULT: Final = failpoint("importer.result.after")
_SHOWN: Final = 100
_MOST_ATTEMPTS: Final = 20
_ELSEWHERE: Final = (ImportStoppedError, RoleFailure, KafkaError, NoBroker, OSError)
"""What ends an import for a reason that does not lie in the upload."""
_MOST_LETTERS: Final = 1_000
_LOOK_S: Final = 0.1
_SWEEP_S: Final = 30.0
_TURN_S: Final = 1.0
_REFUSED_ALERT: Final = f"{IMPORTER}.refused"
_ADDED_ALERT: Final = f"{IMPORTER}.added"
STAGE: Final = "upload"


class ImportDoubt(RoleFailure):
    """The disk failed while an upload was read: nothing is known of the upload itself."""

    exit_code = TRY_AGAIN


@dataclass(frozen=True, kw_only=True)
class ImporterSettings:
    """Settings of an importer.

    Attributes
    ----------
    spec
        What the columns of an upload mean.
    weigh
        As in `ImportOptions`.
    uploads
        The folder of uploads.
    expire_s
        Seconds for which a resumable upload waits for its next part.
    largest_unpacked
        Largest size of an upload's content, unpacked, in bytes.
    """

    names: Names
    instance: str
    spec: SourceSpec
    weigh: Callable[[Features, Scalar], float] | None
    uploads: Path
    expire_s: float
    largest_unpacked: int
    limits: TransactionLimits | None = None
    import_limits: TransactionLimits | None = None


class Importer:
    """Imports the uploads of one folder.

    Raises
    ------
    SpoolInUse
        If another importer on this machine has the folder.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: ImporterSettings,
        stop: threading.Event,
        say: Callable[[str], None],
        meter: ImporterMeter,
    ) -> None:
        self._cluster, self._settings, self._stop, self._say, self._meter = cluster, settings, stop, say, meter
        self.folder = UploadFolder(settings.uploads)
        self._lock = hold(settings.uploads / "importer.lock", "another importer")
        names = settings.names
        self._group = f"{names.group(IMPORTER)}.{settings.instance}"
        self._place = Partition(names.topic("alerts"), 0)
        self._transactions = Transactions(cluster, names.process(IMPORTER, settings.instance), settings.limits)
        self._alerts = Alerts(names, say)
        self._state = ImporterMetadata()
        self._swept = 0.0

    def open(self) -> int:
        """End an earlier process's open transaction; return the number of uploads that were imported so far."""
        self._transactions.open()
        with closing(self._cluster.consumer(group_id=self._group)) as consumer:
            committed = consumer.committed(self._place, timeout_ms=10_000)
        self._state = (committed and ImporterMetadata.decode(committed.metadata)) or ImporterMetadata()
        self._alerts.restore(self._state.alerts)
        return self._state.uploads

    def run(self) -> None:
        """Import what comes, until told to stop. Raises RoleFailure, KafkaError or ImportStoppedError on any doubt."""
        with self._turning():
            while not self._stop.is_set():
                if time.monotonic() - self._swept > _SWEEP_S:
                    self._swept = time.monotonic()
                    self.folder.sweep(self._settings.expire_s)
                if not self.turn():
                    self._stop.wait(_LOOK_S)

    def turn(self) -> bool:
        """Import the oldest upload; return whether there was one, and it was imported to its end."""
        waiting = self.folder.waiting()
        self._meter.uploads_waiting(len(waiting))
        if not waiting:
            return False
        upload = waiting[0]
        result = self.folder.result(upload.id) or self._attempt(upload)
        if result is None:
            return False
        if self._state.last != upload.id:
            self._end(upload, result)
        _BEFORE_RESULT()
        self.folder.finish(upload, result)
        _AFTER_RESULT()
        return True

    def _attempt(self, upload: Upload) -> Result | None:
        """Import one upload as `_import` does; give it up if it has ended this process again and again."""
        attempts = upload.attempts()
        if attempts >= _MOST_ATTEMPTS:
            said = f"importing it ended the importer {attempts} times; see its log. Rows that are in the log stay there"
            return self._refused(upload, Problem("internal", said))
        upload.note_attempts(attempts + 1)
        try:
            result = self._import(upload)
        except _ELSEWHERE:
            upload.note_attempts(attempts)
            raise
        if result is None:
            upload.note_attempts(attempts)
        return result

    def _import(self, upload: Upload) -> Result | None:
        """Import one upload; return what became of it, `None` if told to stop before its end."""
        refusals: list[BadRow] = []
        try:
            require_fit(upload, self._settings.largest_unpacked)
            source = opened(upload, self._settings.spec)
            report = self._rows(upload, source, refusals)
        except (SourceError, ImportRefusedError) as error:
            if (cause := _fault_of_the_disk(error)) is not None:
                raise ImportDoubt(f"the disk of the uploads fails: {cause}") from error
            if isinstance(error, ImportRefusedError):
                return self._refused(upload, Problem("strict", str(error)), error.rows, refusals)
            return self._refused(upload, Problem("file", str(error)))
        if report.interrupted:
            return None
        begun = upload.begun()
        found = Result(
            upload.id,
            "imported",
            upload.meta().name,
            bytes=upload.size(),
            length=upload.size(),
            taken=report.lane_examples - begun.examples,
            already=begun.examples,
            refused=report.lane_refused,
            refusals=_told(refusals),
            lane=report.lane,
            repeated_ids=report.repeated_ids,
        )
        if report.lane_examples:
            return found
        said = f"all its {report.lane_refused} rows are refused" if report.lane_refused else "it has no rows"
        return msgspec.structs.replace(found, state="refused", error=Problem("rows", f"nothing was imported: {said}"))

    def _rows(self, upload: Upload, source: RowSource, refusals: list[BadRow]) -> ImportReport:
        """Import the rows; `refusals` gets the first refused ones of all attempts."""

        def refused(row: BadRow, before: int) -> Output | None:
            if len(refusals) < _SHOWN:
                refusals.append(row)
            return self._letter(upload, row) if before < _MOST_LETTERS else None

        options = ImportOptions(
            weigh=self._settings.weigh,
            strict=upload.meta().strict,
            begun=lambda reached: _note_begun(upload, reached),
            on_refused=refused,
            list_refused=_SHOWN,
            on_refused_before=refusals.append,
        )
        return import_rows(
            self._cluster,
            self._settings.names,
            source,
            options,
            progress=self._progressed,
            stop=self._stop,
            limits=self._settings.import_limits,
        )

    @staticmethod
    def _refused(upload: Upload, problem: Problem, rows: int = 0, refusals: Sequence[BadRow] = ()) -> Result:
        size = upload.size()
        return Result(
            upload.id,
            "refused",
            upload.meta().name,
            bytes=size,
            length=size,
            refused=rows,
            refusals=_told(refusals),
            error=problem,
        )

    def _letter(self, upload: Upload, row: BadRow) -> Output:
        now = time.time_ns() // 1_000_000
        letter = DeadLetter(f"{SOURCE}{upload.id}", 0, row.line, now, None, None, [], STAGE, "row", str(row), now)
        return Output(self._settings.names.topic("dead-letters"), 0, None, letter.encode())

    def _end(self, upload: Upload, result: Result) -> None:
        """Commit that an upload has ended, with what an operator should know of it."""
        now = time.time_ns() // 1_000_000
        outputs = self._alerted(upload, result, now)
        state = ImporterMetadata(last=upload.id, uploads=self._state.uploads + 1, alerts=self._alerts.remembered())
        places = {self._place: CommittedOffset(state.done(), state.encode())}
        _BEFORE_END()
        began = time.monotonic()
        self._transactions.commit(outputs, places, GroupMetadata(self._group))
        self._state = state
        self._meter.committed(outputs, places, time.monotonic() - began)
        self._meter.uploaded(result.state, result.taken, result.refused)
        self._say(f"upload {upload.id} of {result.name or 'no name'}: {_summary(result)}")

    def _alerted(self, upload: Upload, result: Result, now: int) -> list[Output]:
        by = upload.meta().by
        details = {"upload": upload.id, "file": result.name, "by": by, "lane": result.lane}
        who = f"upload {upload.id}" + (f" by {by}" if by else "")
        found: list[Output] = []
        if result.taken:
            # It is over at once: a record of who changed the log, for those who read the topic.
            said = f"{who} added {result.taken} labelled examples to the log: the model learns them"
            found += self._alerts.raise_(_ADDED_ALERT, "info", said, now, details)
            found += self._alerts.clear(_ADDED_ALERT, now)
        if result.error is msgspec.UNSET and result.refused <= result.taken + result.already:
            return [*found, *self._alerts.clear(_REFUSED_ALERT, now)]
        said = f"{who}: {_summary(result)}: look at the file, or at the contract of the stream"
        return [*found, *self._alerts.raise_(_REFUSED_ALERT, "warning", said, now, details)]

    def _progressed(self, _progress: ImportProgress) -> None:
        self._meter.turned()

    @contextmanager
    def _turning(self) -> Iterator[None]:
        """Show that the process lives: a large file is read for minutes before its first transaction."""
        ended = threading.Event()

        def turn() -> None:
            while not ended.wait(_TURN_S):
                self._meter.turned()

        thread = threading.Thread(target=turn, name="turning", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        """Close the producer, and leave the folder to another importer."""
        self._transactions.close()
        os.close(self._lock)


def _note_begun(upload: Upload, reached: Reached) -> None:
    upload.begun(Begun(reached.sequence, reached.refused))


def _told(rows: Sequence[BadRow]) -> tuple[Refusal, ...]:
    return tuple(Refusal(row.line, row.reason) for row in rows)


def _summary(result: Result) -> str:
    if isinstance(result.error, Problem):
        return result.error.message
    said = f"{result.taken} rows taken, {result.already} known before, {result.refused} refused"
    return said + (
        f", the first at line {result.refusals[0].line}: {result.refusals[0].reason}" if result.refusals else ""
    )


def _fault_of_the_disk(error: BaseException) -> OSError | None:
    """Return the disk's own error that is behind this one, `None` if the file itself is at fault."""
    cause = error.__cause__
    while cause is not None:
        # A damaged gzip file is an OSError without a number.
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno != errno.ENOENT:
            return cause
        cause = cause.__cause__
    return None
