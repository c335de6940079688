"""Exactly-once writer of an import's examples: examples and progress commit in one transaction.

The progress is the committed offset of a separate group on the examples partition: the number of processed rows of
the file. Its metadata is JSON, ``{"seq": examples written, "refused": rows, "topic": topic id}``. Kafka deletes the
offsets of groups without members (after a week by default), so every record also names its row in the header ``row``.
If the offset is gone, the progress is read from the log itself.

The next run settles a transaction whose outcome is unknown: opening the same transactional id ends it before the
progress is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from producers.required_topics import existing
from runtime.deadline import Overdue
from runtime.exits import Fenced, RoleFailure
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, described, error_name
from runtime.kafka_client.failures import cause_of
from runtime.kafka_client.records import CommittedOffset, Output, Partition, Record
from runtime.kafka_client.transaction import TransactionLimits, Transactions
from schemas.codec import CodecError
from schemas.events import Example, read_example
from schemas.topics import Names

ROW_HEADER: Final = "row"
_LIMITS: Final = TransactionLimits(open_ms=45_000, connect_ms=15_000)
_POLL_MS: Final = 500
_SILENT_SECONDS: Final = 60.0


class ImportStoppedError(Exception):
    """The outcome of a transaction is unknown, or the broker is unavailable; the same command continues from there."""


@dataclass(frozen=True)
class Reached:
    """Progress of an import: rows processed, examples written (the next sequence number), rows refused."""

    rows: int = 0
    sequence: int = 0
    refused: int = 0


class ImportLog:
    """Writer of one import to the examples log."""

    def __init__(self, cluster: Cluster, names: Names, lane: str, limits: TransactionLimits | None = None) -> None:
        self._cluster = cluster
        self._lane = lane
        self._topic = names.topic("examples")
        self._partition = Partition(self._topic, 0)
        self._group = f"{names.group('import')}.{lane}"
        self._topic_id = existing(cluster, self._topic)[self._topic].id
        self._transactions = Transactions(cluster, names.process("import", lane), limits or _LIMITS, compression="lz4")

    def open(self, on_scan: Callable[[int], None]) -> Reached:
        """End an earlier run's open transaction, and return the progress.

        If the log itself has to be read for it, `on_scan` is called with the number of records read so far.
        """
        self._transacted(self._transactions.open)
        try:
            return self._committed() or self._scanned(on_scan)
        except KafkaError as error:
            raise self._stopped(described(error)) from error

    def write(self, examples: Sequence[tuple[int, Example]], reached: Reached, more: Sequence[Output] = ()) -> None:
        """Write `examples`, each with its row number, the records `more`, and `reached` as the progress.

        Raises
        ------
        ImportStoppedError
            If the transaction is not certainly committed.
        """
        records = [
            Output(self._topic, 0, example.event.event_id.encode(), example.encode(), [(ROW_HEADER, str(row).encode())])
            for row, example in examples
        ]
        state = {"seq": reached.sequence, "refused": reached.refused, "topic": self._topic_id}
        places = {Partition(self._topic, 0): CommittedOffset(reached.rows, json.dumps(state))}
        self._transacted(lambda: self._transactions.commit([*records, *more], places, GroupMetadata(self._group)))

    def close(self) -> None:
        """Close the producer."""
        self._transactions.close()

    def _committed(self) -> Reached | None:
        consumer = self._cluster.consumer(group_id=self._group)
        try:
            place = consumer.committed(self._partition, timeout_ms=10_000)
        finally:
            consumer.close()
        if place is None:
            return None
        state = json.loads(place.metadata)
        if state["topic"] != self._topic_id:
            # The topic was created again: it holds nothing of this import.
            return Reached()
        return Reached(place.offset, state["seq"], state["refused"])

    def _scanned(self, on_scan: Callable[[int], None]) -> Reached:
        """Scan the log for the lane of an import whose committed offset Kafka has deleted."""
        consumer = self._cluster.consumer()
        wanted = self._lane.encode()
        reached = Reached()
        read = 0
        try:
            consumer.assign([self._partition])
            consumer.seek_to_beginning([self._partition])
            end = consumer.end_offsets([self._partition])[self._partition]
            moved_at = time.monotonic()
            while consumer.position(self._partition) < end:
                batch = consumer.poll(_POLL_MS).get(self._partition, [])
                moved_at = time.monotonic() if batch else moved_at
                if time.monotonic() - moved_at > _SILENT_SECONDS:
                    raise self._stopped(f"{self._topic} cannot be read")
                for record in batch:
                    if record.value is not None and wanted in record.value:
                        reached = self._after(record, reached)
                read += len(batch)
                on_scan(read)
        finally:
            consumer.close()
        return reached

    def _after(self, record: Record, reached: Reached) -> Reached:
        try:
            lane = read_example(record.value or b"").lane
        except CodecError:
            return reached
        if lane.name != self._lane:
            return reached
        row = next((int(value) for name, value in record.headers if name == ROW_HEADER), lane.sequence + 1)
        return Reached(row, lane.sequence + 1, row - lane.sequence - 1)

    def _transacted(self, work: Callable[[], None]) -> None:
        """Run a part of a transaction. Raises ImportStoppedError."""
        try:
            work()
        except Fenced as failure:
            raise ImportStoppedError("another import of the same file took over: let that one finish") from failure
        except RoleFailure as failure:
            cause = cause_of(failure)
            if isinstance(cause, Overdue):
                raise self._stopped(f"no answer from Kafka within {cause.seconds:g} s") from failure
            raise self._stopped(f"{error_name(cause)} {cause}") from failure

    def _stopped(self, why: str) -> ImportStoppedError:
        return ImportStoppedError(f"{why}; run the same command again: it continues where it stopped")
