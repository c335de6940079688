"""Tracing meter: a thread builds and sends the spans, so that the role never waits.

Spans that cannot be sent, or come too fast, are dropped and counted, because traces are only a sample anyway.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.tracing.spans import Spans
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Record
from schemas.topics import Names

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted
    from model_store import Manifest

_MOST_TASKS: Final = 256  # batches
_MOST_SPANS: Final = 512  # in one request
_SEND_SECONDS: Final = 1.0
_END_SECONDS: Final = 3.0  # of the ten seconds that a role has for a clean shutdown
_SAY_SECONDS: Final = 60.0
Task = Callable[[], Iterable[ReadableSpan]]


class TraceMeter(RoleInstrumentation):
    """A `Meter` that traces one role's work until it is closed."""

    def __init__(self, names: Names, spans: Spans, exporter: SpanExporter, say: Callable[[str], None]) -> None:
        self._predictions, self._examples = names.whole, names.topic("examples")
        self._spans = spans
        self._sender = _Sender(exporter, say)
        self._batches: list[Batch] = []  # since the last commit
        self._emitted: list[Emitted] = []

    def processed(self, batch: Batch, seconds: float) -> None:
        examples = [records for place, records in batch.items() if place.topic == self._examples]
        if examples:
            self._sender.put(lambda: self._learned(examples))
        else:
            self._batches.append(batch)

    def _learned(self, examples: Sequence[Sequence[Record]]) -> Iterable[ReadableSpan]:
        for records in examples:
            self._spans.read(records)
        return ()

    def joined(self, emitted: Sequence[Emitted]) -> None:
        self._emitted += emitted

    def revoked(self) -> None:
        self._batches, self._emitted = [], []

    def committed(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        now, batches, emitted = time.time_ns(), self._batches, self._emitted
        self._batches, self._emitted = [], []
        if emitted:
            self._sender.put(lambda: self._spans.joined(emitted, now))
        elif outputs and batches:
            self._sender.put(lambda: self._predicted(batches, outputs, now))

    def _predicted(self, batches: Sequence[Batch], outputs: Sequence[Output], now: int) -> Iterable[ReadableSpan]:
        predictions = (output for output in outputs if output.topic == self._predictions)
        return self._spans.predicted(batches, predictions, now)

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        now = time.time_ns()
        self._sender.put(lambda: self._spans.written(version, seconds is not None, now))

    def close(self) -> None:
        """Send the remaining spans, within the time limit of a shutdown."""
        self._sender.close()


class _Sender:
    """Builds the spans of one task after another, and sends them about once a second."""

    def __init__(self, exporter: SpanExporter, say: Callable[[str], None]) -> None:
        self._exporter = exporter
        self._say = say
        self._tasks: queue.Queue[Task | None] = queue.Queue(_MOST_TASKS)
        self._dropped = 0
        self._said = time.monotonic() - _SAY_SECONDS
        self._spans: list[ReadableSpan] = []
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def put(self, task: Task) -> None:
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        try:
            self._tasks.put(None, timeout=_END_SECONDS)
        except queue.Full:
            return
        self._thread.join(_END_SECONDS)

    def _work(self) -> None:
        due = time.monotonic() + _SEND_SECONDS
        going = True
        while going:
            task: Any = None
            try:
                task = self._tasks.get(timeout=max(0.01, due - time.monotonic()))
                going = task is not None
            except queue.Empty:
                pass
            if task is not None:
                self._make(task)
            if not going or len(self._spans) >= _MOST_SPANS or time.monotonic() >= due:
                self._send()
                due = time.monotonic() + _SEND_SECONDS

    def _make(self, task: Task) -> None:
        try:
            self._spans += task()
        except Exception as error:  # noqa: BLE001 - if the thread ended, nobody would notice
            self._lost(1, f"{type(error).__name__}: {error}")

    def _send(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._lost(dropped, "batches come faster than spans can be made; a smaller --trace-ratio helps")
        while self._spans:
            now, self._spans = self._spans[:_MOST_SPANS], self._spans[_MOST_SPANS:]
            try:
                sent = self._exporter.export(now) is SpanExportResult.SUCCESS
                why = "the collector does not take them: see OTEL_EXPORTER_OTLP_ENDPOINT"
            except Exception as error:  # noqa: BLE001 - as above
                sent, why = False, f"{type(error).__name__}: {error}"
            if not sent:
                self._lost(len(now), why)

    def _lost(self, count: int, why: str) -> None:
        if time.monotonic() - self._said >= _SAY_SECONDS:
            self._said = time.monotonic()
            self._say(f"traces are lost ({count}, perhaps more within a minute): {why}")
