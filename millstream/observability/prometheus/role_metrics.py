"""Meter of a role: collects its counts and times, which the HTTP thread reads at each scrape."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.histogram import DURATION, LATENCY, WAIT, Histogram
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition
from schemas.codec import CodecError
from schemas.dead_letters import read_dead_letter

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted
    from consumers.predictor.predictor import ServedVersion
    from model_store import Manifest
    from schemas.topics import Names

_STILL_SECONDS: Final = 60.0  # the time after which the loop's watchdog ends the process


class RoleMeter(RoleInstrumentation):
    """A meter that keeps what it is told.

    Only one thread changes the counters; another thread reads either the old or the new number.

    Attributes
    ----------
    consumed, produced
        Records by topic.
    """

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self._needs: list[Callable[[], str | None]] = []
        self.consumed: Counter[str] = Counter()
        self.produced: Counter[str] = Counter()
        self.letters: Counter[str] = Counter()  # by code
        self.counts: Counter[str] = Counter()
        self.partitions: Sequence[Partition] | None = None
        self.lags: dict[Partition, tuple[int, int]] = {}  # offsets, and the time of the newest record read
        self._beside: dict[Partition, str] = {}
        self.turned_at = self.committed_at = 0.0
        self.latency: dict[str, Histogram] = {}
        self.batches, self.commits, self.checkpoints = Histogram(DURATION), Histogram(DURATION), Histogram()
        self.label_to_example, self.join_wait, self.label_to_served = Histogram(), Histogram(WAIT), Histogram()
        self.newest: Manifest | None = None
        self.served: ServedVersion | None = None
        self.requests: Callable[[], Mapping[tuple[str, int], int]] = dict
        self.spool_bytes: Callable[[], int] | None = None
        self.uploads: Counter[str] = Counter()  # by state
        self.upload_rows: Counter[str] = Counter()  # by state
        self.waiting_uploads = 0
        self.unlogged: Callable[[], int] = lambda: 0
        self._names: Names | None = None
        self._newest_read: dict[Partition, int] = {}
        self._read: dict[str, Counter[int]] = {}  # since the last commit: times of records, by topic
        self._joined: Counter[int] = Counter()  # since the last commit: times of labels
        self._turned = time.monotonic()
        self._lock = threading.Lock()  # guards objects that are replaced as a whole

    def names(self, names: Names) -> None:
        """Set the stream's topic names."""
        self._names = names

    def kind(self, topic: str) -> str:
        """Return a topic's kind, so that one query fits all streams, whatever their prefix or external topic names."""
        return topic if self._names is None else self._names.kind(topic)

    # --- queries -----------------------------------------------------------------------------------

    def stands(self) -> str | None:
        """Return why the role is not alive, `None` while its loop turns."""
        still = time.monotonic() - self._turned
        return f"the loop has not turned for {still:.0f} s" if self.turned_at and still > _STILL_SECONDS else None

    def unready(self) -> str | None:
        """Return why the role is not ready, `None` if it is."""
        if self.partitions is None:
            return "it has no assignment yet" if self.turned_at else "it is starting"
        return next((why for lacks in self._needs if (why := lacks())), None) or self.stands()

    def beside(self) -> dict[Partition, str]:
        """Return the last committed metadata of the currently assigned partitions."""
        with self._lock:
            return dict(self._beside)

    # --- reports of the role -----------------------------------------------------------------------

    def needs(self, lacks: Callable[[], str | None]) -> None:
        self._needs.append(lacks)

    def turned(self) -> None:
        self._turned, self.turned_at = time.monotonic(), time.time()

    def assigned(self, partitions: Sequence[Partition]) -> None:
        now = time.time_ns() // 1_000_000
        # The newest record read is not known yet; the current time gives the smallest lag.
        self._newest_read = dict.fromkeys(partitions, now)
        with self._lock:
            self._beside, self.lags = {}, {}
        self.counts["rebalances"] += 1
        self.partitions = partitions

    def revoked(self) -> None:
        self.partitions = None
        self._read.clear()
        self._joined.clear()

    def processed(self, batch: Batch, seconds: float) -> None:
        self.batches.add([(seconds, 1)])
        for partition, records in batch.items():
            if not records:
                continue
            self.consumed[partition.topic] += len(records)
            times = self._read.setdefault(partition.topic, Counter())
            times.update([record.timestamp for record in records])
            self._newest_read[partition] = records[-1].timestamp

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        now = time.time()
        self.committed_at = now
        self.counts["committed"] += 1
        self.commits.add([(seconds, 1)])
        for topic, times in self._read.items():
            self.latency.setdefault(topic, Histogram(LATENCY)).add(_since(times, now))
        self.label_to_example.add(_since(self._joined, now))
        self._read.clear()
        self._joined.clear()
        self.produced.update([output.topic for output in outputs])
        self._count_letters(outputs)
        with self._lock:
            self._beside.update({partition: place.metadata for partition, place in places.items()})

    def _count_letters(self, outputs: Sequence[Output]) -> None:
        letters = "" if self._names is None else self._names.topic("dead-letters")
        if letters not in self.produced:
            return  # no dead letter has been written yet
        for output in outputs:
            if output.topic == letters and output.value is not None:
                try:
                    self.letters[read_dead_letter(output.value).code] += 1
                except CodecError:
                    self.letters["unknown"] += 1

    def overlapped(self) -> None:
        self.counts["overlapped"] += 1

    def aborted(self) -> None:
        self.ends.aborted()

    def lag(self, lags: Mapping[Partition, int]) -> None:
        newest = self._newest_read
        with self._lock:
            self.lags = {partition: (offsets, newest.get(partition, 0)) for partition, offsets in lags.items()}

    def joined(self, emitted: Sequence[Emitted]) -> None:
        both = [each for each in emitted if each.label is not None and each.label_offset >= 0]
        self._joined.update([each.label_time for each in both])
        waits = Counter([abs(each.label_time - each.prediction_time) for each in both])
        self.join_wait.add((wait / 1000, times) for wait, times in waits.items())

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        self.newest = version
        if seconds is not None:
            self.counts["checkpoints"] += 1
            self.checkpoints.add([(seconds, 1)])

    def swapped(self, version: ServedVersion) -> None:
        self.served = version
        self.counts["swaps"] += 1
        if version.delay_ms is not None:
            self.label_to_served.add([(version.delay_ms / 1000, 1)])

    def serves(
        self,
        requests: Callable[[], Mapping[tuple[str, int], int]],
        spool_bytes: Callable[[], int],
        unlogged: Callable[[], int] = lambda: 0,
    ) -> None:
        self.requests, self.spool_bytes, self.unlogged = requests, spool_bytes, unlogged

    def uploads_waiting(self, count: int) -> None:
        self.waiting_uploads = count

    def uploaded(self, state: str, taken: int, refused: int) -> None:
        self.uploads[state] += 1
        self.upload_rows["taken"] += taken
        self.upload_rows["refused"] += refused


def _since(times: Mapping[int, int], now: float) -> list[tuple[float, int]]:
    """Return the seconds since each of these times (ms), with its count."""
    return [(now - at / 1000, often) for at, often in times.items()]
