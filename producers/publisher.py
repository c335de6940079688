"""Publisher of a source: sends features at a rate, and each label after a delay in events or time."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from producers.duplicate_ids import RepeatedIds
from producers.publish_rate import PublishRate
from producers.required_topics import existing
from producers.retrying_producer import RetryingProducer, RetryLimits, UndeliverableError
from producers.rows import BadRow, RowSource, SourceError, SourceRow
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.stop_signals import stop_on_signals
from schemas.codec import CodecError
from schemas.events import Event, Label, LabelValue
from schemas.topics import Names, partition_of

FEATURES: Final = "features"
LABELS: Final = "labels"
_FIRST_EVENTS: Final = 100  # whose ids `Progress` has
_PROGRESS_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.02
_LOOK_EVENTS: Final = 128
# A short delay is caught up, a longer one than this is not.
_BAD_ROWS_KEPT: Final = 10


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """Options of publishing.

    Parameters
    ----------
    rate
        Events a second, without counting labels; unlimited if it is not given.
    label_delay_events
        The label of event i is sent when the features of event i + this number are acknowledged. At the end of the
        source the remaining labels follow at once.
    label_delay_seconds
        Alternative to `label_delay_events`: a label is sent this long after its features. At the end of the source
        publishing waits until the remaining labels are due.
    limit
        Maximum number of events.
    skip_bad_rows
        Count rows that cannot be events and continue; otherwise the first one ends publishing.
    """

    rate: float | None = None
    label_delay_events: int = 0
    label_delay_seconds: float | None = None
    limit: int | None = None
    skip_bad_rows: bool = False

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"rate={self.rate!r} must be more than 0 events a second")
        if self.label_delay_events < 0 or (self.label_delay_seconds or 0) < 0:
            raise ValueError("a label cannot go out before its features: the delay must be at least 0")
        if self.label_delay_events and self.label_delay_seconds is not None:
            raise ValueError("a label's delay is a number of events or a span of time, not both")
        if self.limit is not None and self.limit < 0:
            raise ValueError(f"limit={self.limit!r} must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of publishing.

    `total` is `None` if the source does not know it. `stalled_seconds` is the time for which the broker has
    acknowledged nothing although records are unacknowledged. `first_ids` are the ids of the first events.
    """

    sent: int
    acknowledged: int
    labels_acknowledged: int
    labels_waiting: int
    total: int | None
    stalled_seconds: float = 0.0
    first_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublishReport:
    """Result of publishing. Acknowledged records are stored by the broker; the state of the others is unknown.

    `bad_rows` counts the refused rows of the file, including those within an unclosed quote. `repeated_ids` is the
    number of events that repeat an earlier id.
    """

    sent: int
    acknowledged: int
    labels_sent: int
    labels_acknowledged: int
    labels_unsent: int
    without_label: int
    resent: int
    bad_rows: int
    first_bad_rows: tuple[str, ...]
    interrupted: bool
    seconds: float
    repeated_ids: int = 0


class PublishError(Exception):
    """Publishing failed; the message gives the reason and what arrived, `report` has the numbers."""

    def __init__(self, message: str, report: PublishReport | None = None) -> None:
        super().__init__(message)
        self.report = report


def publish(
    cluster: Cluster,
    names: Names,
    source: RowSource,
    options: PublishOptions | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    limits: RetryLimits | None = None,
) -> PublishReport:
    """Publish the events of `source` and their labels; return when all are acknowledged, or at Ctrl-C.

    Delivery is at least once: after an outage some records may exist twice, under the same event ids.

    Parameters
    ----------
    cluster, names
        The cluster of the stream's topics, and the stream's names.
    source
        The rows to publish.
    options, limits
        Options of publishing, and time limits for the broker.
    progress
        Called about ten times a second.
    stop
        If set, publishing shuts down cleanly; Ctrl-C and SIGTERM set it.

    Raises
    ------
    PublishError
        If a row is bad, or the broker does not answer in time.
    MissingTopic
        If the stream has no topics yet.
    NoBroker
        If no Kafka answers at the start.
    """
    return _Publishing(cluster, names, source, options or PublishOptions(), progress, stop, limits).run()


@dataclass(slots=True)
class _DueLabel:
    """A label to send: from `due` on (monotonic seconds), or after record `gate` is acknowledged."""

    event_id: str
    key: bytes
    partition: int
    value: LabelValue
    event: int
    due: float = 0.0
    gate: int = -1


@dataclass
class _Counts:
    events: int = 0
    labels: int = 0
    without_label: int = 0
    bad: int = 0
    first_bad: list[str] = field(default_factory=list)
    ids: RepeatedIds = field(default_factory=RepeatedIds)
    first_ids: list[str] = field(default_factory=list)


class _Publishing:
    def __init__(
        self,
        cluster: Cluster,
        names: Names,
        source: RowSource,
        options: PublishOptions,
        progress: Callable[[Progress], None] | None,
        stop: threading.Event | None,
        limits: RetryLimits | None,
    ) -> None:
        self._source = source
        self._options = options
        self._progress = progress
        self._stop = stop or threading.Event()
        self._features, self._labels = names.topic(FEATURES), names.topic(LABELS)
        topics = existing(cluster, self._features, self._labels)
        self._feature_partitions = topics[self._features].partitions
        self._label_partitions = topics[self._labels].partitions
        self._sender = RetryingProducer(cluster, limits, self._tell_stalled, self._stop)
        self._counts = _Counts()
        self._held: deque[_DueLabel] = deque()
        self._ready: deque[_DueLabel] = deque()
        self._told_at = 0.0
        self._started = time.monotonic()
        self._total: int | None = None

    def run(self) -> PublishReport:
        with stop_on_signals(self._stop), _fewer_collections():
            try:
                self._total = self._expected()
                self._send_events()
                self._send_remaining_labels()
                self._sender.drain()
            except UndeliverableError as error:
                if self._stop.is_set():
                    return self._report()
                raise self._failed(error) from error
            except (SourceError, CodecError) as error:
                raise self._failed(error) from error
            finally:
                self._sender.close()
        self._tell(0.0, force=True)
        return self._report()

    def _send_events(self) -> None:
        pace = PublishRate(self._options.rate)
        for row in self._rows():
            while not self._stop.is_set() and (wait := pace.seconds_to_wait()) > 0:
                self._look(wait)
            if self._stop.is_set():
                return
            pace.count()
            self._send_features(row)
            if self._counts.events % _LOOK_EVENTS == 0:
                self._look(0.0)

    def _send_features(self, row: SourceRow) -> None:
        options, counts, key = self._options, self._counts, row.event_id.encode()
        of_features, of_labels = self._feature_partitions, self._label_partitions
        partition = partition_of(row.event_id, of_features)
        value = Event(row.event_id, row.event_time_ms, row.features).encode()
        number = self._sender.send(self._features, partition, key, value, FEATURES)
        if row.label is None:
            counts.without_label += 1
        else:
            # Hashing in Python takes 3 µs, so it is repeated only if the partition counts differ.
            of_label = partition if of_features == of_labels else partition_of(row.event_id, of_labels)
            held = _DueLabel(row.event_id, key, of_label, row.label, counts.events)
            if options.label_delay_seconds is not None:
                held.due = time.monotonic() + options.label_delay_seconds
                held.gate = number
            self._held.append(held)
        if options.label_delay_seconds is None:
            while self._held and self._held[0].event <= counts.events - options.label_delay_events:
                ready = self._held.popleft()
                ready.gate = number
                self._ready.append(ready)
        counts.ids.add(row.event_id)
        if counts.events < _FIRST_EVENTS:
            counts.first_ids.append(row.event_id)
        counts.events += 1

    def _send_remaining_labels(self) -> None:
        if self._options.label_delay_seconds is None and not self._stop.is_set():
            for held in self._held:
                held.gate = self._sender.sent - 1
            self._ready.extend(self._held)
            self._held.clear()
        while (self._held or self._ready) and not self._stop.is_set():
            self._look(_LOOK_SECONDS)

    def _send_due_labels(self) -> None:
        """Send the labels that are due and whose features are acknowledged."""
        now = time.monotonic()
        if self._options.label_delay_seconds is not None:
            while self._held and self._held[0].due <= now:
                self._ready.append(self._held.popleft())
        # A label sent before its features are acknowledged could overtake them on its own partition.
        while self._ready and self._ready[0].gate < self._sender.settled:
            held = self._ready.popleft()
            label = Label(held.event_id, held.value, int(time.time() * 1000))
            self._sender.send(self._labels, held.partition, held.key, label.encode(), LABELS)
            self._counts.labels += 1

    def _look(self, seconds: float) -> None:
        """Process acknowledgements and send due labels; wait for at most `seconds`."""
        self._sender.settle()
        self._send_due_labels()
        self._tell(0.0)
        if seconds > 0:
            self._sender.check_patience()
            self._stop.wait(min(seconds, _LOOK_SECONDS))

    def _rows(self) -> Iterator[SourceRow]:
        on_bad = self._note_bad if self._options.skip_bad_rows else None
        limit = self._options.limit
        if limit == 0:
            return
        for number, row in enumerate(self._source.rows(on_bad), start=1):
            yield row
            if number == limit:
                return

    def _note_bad(self, bad: BadRow) -> None:
        self._counts.bad += bad.rows
        if len(self._counts.first_bad) < _BAD_ROWS_KEPT:
            self._counts.first_bad.append(str(bad))

    def _expected(self) -> int | None:
        count, limit = self._source.count(), self._options.limit
        return count if limit is None else limit if count is None else min(limit, count)

    def _tell_stalled(self, seconds: float) -> None:
        self._tell(seconds)

    def _tell(self, stalled: float, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._progress is None or (now - self._told_at < _PROGRESS_SECONDS and not force):
            return
        self._told_at = now
        done = self._sender.acknowledged
        self._progress(
            Progress(
                sent=self._counts.events,
                acknowledged=done[FEATURES],
                labels_acknowledged=done[LABELS],
                labels_waiting=len(self._held) + len(self._ready),
                total=self._total,
                stalled_seconds=stalled,
                first_ids=tuple(self._counts.first_ids),
            )
        )

    def _report(self) -> PublishReport:
        done = self._sender.counted()
        counts = self._counts
        return PublishReport(
            sent=counts.events,
            acknowledged=done[FEATURES],
            labels_sent=counts.labels,
            labels_acknowledged=done[LABELS],
            labels_unsent=len(self._held) + len(self._ready),
            without_label=counts.without_label,
            resent=self._sender.resent,
            bad_rows=counts.bad,
            first_bad_rows=tuple(counts.first_bad),
            interrupted=self._stop.is_set(),
            seconds=time.monotonic() - self._started,
            repeated_ids=counts.ids.count(),
        )

    def _failed(self, error: Exception) -> PublishError:
        """Wait for unacknowledged records, then return `error` with the numbers of what arrived."""
        if not isinstance(error, UndeliverableError):
            # The first error is reported; the numbers show which records did not arrive.
            with suppress(UndeliverableError, NoBroker):
                self._sender.drain()
        report = self._report()
        return PublishError(
            f"{error}; {report.acknowledged} events and {report.labels_acknowledged} labels are acknowledged",
            report,
        )


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Make garbage collection less frequent for a while.

    Tens of thousands of futures are open, none of them garbage: scanning them repeatedly took a tenth of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
