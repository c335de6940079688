"""Writing examples of one import exactly once: rows and the place reached commit in one transaction.

The place is the committed offset of a group of its own on the examples partition: how many rows of the
file are dealt with. Its metadata is JSON, ``{"seq": examples written, "refused": rows, "topic": topic id}``.
Kafka forgets the offsets of groups without members (after a week by default), so every record also names
its row in the header ``row``: where the place is forgotten, it is read off the log itself.

Guards against kafka-python: every record's acknowledgement is looked at before the commit (a commit can
return although a record expired), the transaction runs in a thread against a deadline (a commit can block
for ever), and after any failure the producer is not used again (records of a dead transaction can end up in the
next one). What is unknown then is settled by the next run: the same transactional id ends the old
transaction one way or the other before the place is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from producers.required_topics import existing
from runtime.deadline import Overdue, within
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import FencedError, KafkaError, described, error_name
from runtime.kafka_client.records import CommittedOffset, Partition, Record
from schemas.codec import CodecError
from schemas.events import Example, read_example
from schemas.topics import Names

ROW_HEADER: Final = "row"
_MAX_RECORD_BYTES: Final = 8 << 20
_OPEN_SECONDS: Final = 45.0
_POLL_MS: Final = 500
_SILENT_SECONDS: Final = 60.0


class ImportStoppedError(Exception):
    """The outcome of a transaction is not known, or the broker went away; the same command goes on from there."""


@dataclass(frozen=True)
class ImportLimits:
    """Times in ms. Each must be shorter than the next, or a dead transaction outlives its guard."""

    request_ms: int = 5_000
    delivery_ms: int = 7_000
    deadline_ms: int = 8_000
    broker_ms: int = 10_000

    def __post_init__(self) -> None:
        if not self.request_ms < self.delivery_ms < self.deadline_ms < self.broker_ms:
            raise ValueError(f"each must be shorter than the next: {self}")


@dataclass(frozen=True)
class Reached:
    """How far an import has come: rows dealt with, examples written (the next sequence), rows refused."""

    rows: int = 0
    sequence: int = 0
    refused: int = 0


class ImportLog:
    """The examples log as one import writes it."""

    def __init__(self, cluster: Cluster, names: Names, lane: str, limits: ImportLimits | None = None) -> None:
        self._cluster = cluster
        self._lane = lane
        self._limits = limits or ImportLimits()
        self._topic = names.topic("examples")
        self._partition = Partition(self._topic, 0)
        self._group = f"{names.group('import')}.{lane}"
        self._topic_id = existing(cluster, self._topic)[self._topic].id
        self._producer = cluster.producer(
            transactional_id=names.process("import", lane),
            transaction_timeout_ms=self._limits.broker_ms,
            request_timeout_ms=self._limits.request_ms,
            delivery_timeout_ms=self._limits.delivery_ms,
            max_block_ms=int(_OPEN_SECONDS * 1000),
            linger_ms=5,
            batch_size=1 << 17,
            max_request_size=_MAX_RECORD_BYTES,
            compression_type="lz4",
        )
        self._usable = True

    def open(self, on_scan: Callable[[int], None]) -> Reached:
        """End whatever an earlier run left open, and return how far it came.

        `on_scan` is called with the records read so far where the log itself has to be read for it.
        """
        self._within(_OPEN_SECONDS, self._producer.init_transactions)
        try:
            return self._committed() or self._scanned(on_scan)
        except KafkaError as error:
            raise self._stopped(described(error)) from error

    def write(self, examples: Sequence[tuple[int, Example]], reached: Reached) -> None:
        """Write `examples`, each with its row number, and that `reached` is where the import stands.

        Raises
        ------
        ImportStoppedError
            Where it is not certain that exactly this happened.
        """
        records = [
            (example.event.event_id.encode(), example.encode(), [(ROW_HEADER, str(row).encode())])
            for row, example in examples
        ]
        self._within(self._limits.deadline_ms / 1000, lambda: self._transact(records, reached))

    def close(self) -> None:
        """Let go of the producer."""
        if self._usable:
            self._usable = False
            self._producer.close(timeout=2)

    def _transact(self, records: Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]], reached: Reached) -> None:
        producer = self._producer
        deadline = time.monotonic() + self._limits.delivery_ms / 1000
        producer.begin_transaction()
        futures = [producer.send(self._topic, value, key, headers, 0) for key, value, headers in records]
        for future in futures:
            future.get(timeout=max(0.0, deadline - time.monotonic()))
        state = {"seq": reached.sequence, "refused": reached.refused, "topic": self._topic_id}
        place = CommittedOffset(reached.rows, json.dumps(state))
        producer.send_offsets_to_transaction({self._partition: place}, GroupMetadata(self._group))
        producer.commit_transaction()

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
            # The topic was made anew: nothing of this import is on it.
            return Reached()
        return Reached(place.offset, state["seq"], state["refused"])

    def _scanned(self, on_scan: Callable[[int], None]) -> Reached:
        """Look through the log for the lane: an import whose committed place Kafka has forgotten."""
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

    def _within(self, seconds: float, work: Callable[[], object]) -> None:
        """Do `work` in a thread, and give the producer up unless it is done in time and without an error."""
        try:
            within(seconds, work, "import-transaction")
        except Overdue as error:
            self._abandon()
            raise self._stopped(f"no answer from Kafka within {seconds:g} s") from error
        except Exception as error:
            self._abandon()
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> ImportStoppedError:
        text = f"{error_name(error)} {error}"
        if isinstance(error, FencedError) or "Fenced" in text or "InvalidProducerEpoch" in text:
            return ImportStoppedError("another import of the same file took over: let that one finish")
        return self._stopped(text)

    def _stopped(self, why: str) -> ImportStoppedError:
        return ImportStoppedError(f"{why}; run the same command again: it goes on where it stopped")

    def _abandon(self) -> None:
        """Forget the producer: nothing it still holds may reach a later transaction."""
        self._usable = False
        self._producer.abandon(5)
