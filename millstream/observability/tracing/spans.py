"""OpenTelemetry spans of a role's work on an event, built afterwards from the times of the records."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from millstream.observability.tracing.trace_ids import Ids, Sampler, id_of, traceparent
from runtime.kafka_client.records import Batch, Output, Partition, Record
from schemas.codec import CodecError
from schemas.events import read_prediction

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted
    from model_store import Manifest

_MS: Final = 1_000_000  # ns
_SCOPE: Final = InstrumentationScope("millstream")
_MOST_WAITING: Final = 10_000
Values = dict[str, str | int | float | bool]


class Learned(NamedTuple):
    """A learned example that no version is known to hold yet: its offset, and its record's time (ms)."""

    ids: Ids
    offset: int
    time: int


class _SpanIds(NamedTuple):
    """Ids of a span: the trace's, its own, and its parent's."""

    trace: int
    span: int
    parent: int | None = None


class Spans:
    """Builds the spans of one role's work.

    Parameters
    ----------
    resource
        The OpenTelemetry resource that the spans belong to.
    """

    def __init__(self, sampler: Sampler, resource: Resource) -> None:
        self._sampler = sampler
        self._resource = resource
        self._waiting: dict[int, Learned] = {}  # by offset
        self._has = 0  # the newest version has learned all examples before this offset

    def predicted(self, batches: Sequence[Batch], outputs: Iterable[Output], at_ns: int) -> Iterator[ReadableSpan]:
        """Yield a span for each prediction that was committed at `at_ns`; it begins at its event's broker time.

        The events are among the records of `batches`.
        """
        for output in outputs:
            ids = self._sampler.ids(output.key or b"")
            if ids is None or output.value is None:
                continue
            try:
                outcome = read_prediction(output.value).outcome
            except CodecError:
                continue
            place = Partition(outcome.source_topic, outcome.source_partition)
            record = _find(batches, place, outcome.source_offset)
            began = outcome.predicted_at if record is None else record.timestamp
            told = _read_at(place, outcome.source_offset)
            told |= {"millstream.version": outcome.version, "millstream.model": outcome.model}
            status = Status()
            if outcome.error is not None:
                status = Status(StatusCode.ERROR, outcome.error.message)
                told["error.type"] = outcome.error.code
            yield self._span(
                "predict",
                _SpanIds(ids.trace, ids.predict),
                (began * _MS, at_ns),
                told,
                events=[Event("answered", timestamp=outcome.predicted_at * _MS)],
                links=_links(record),
                status=status,
            )

    def joined(self, emitted: Iterable[Emitted], at_ns: int) -> Iterator[ReadableSpan]:
        """Yield a span for each example that was committed at `at_ns`; it begins at its prediction's broker time."""
        for each in emitted:
            ids = self._sampler.ids(id_of(each.prediction))
            if ids is None:
                continue
            labelled = each.label is not None and each.label_offset >= 0
            began = min(each.prediction_time, each.label_time) if labelled else each.prediction_time
            events = [Event("predicted", timestamp=each.prediction_time * _MS)]
            told: Values = {"millstream.labelled": labelled}
            if each.label is not None and labelled:
                events.append(Event("labelled", timestamp=each.label_time * _MS))
                label = each.label.decoded()
                told |= {"millstream.label.source": label.source, "millstream.label.kind": label.kind}
            yield self._span(
                "join", _SpanIds(ids.trace, ids.join, ids.predict), (began * _MS, at_ns), told, events=events
            )

    def read(self, records: Iterable[Record]) -> None:
        """Keep learned examples until a version holds them; beyond the limit they are dropped."""
        for record in records:
            if record.offset < self._has or record.value is None:
                continue
            ids = self._sampler.ids(id_of(record.value))
            if ids is not None and len(self._waiting) < _MOST_WAITING:
                self._waiting[record.offset] = Learned(ids, record.offset, record.timestamp)

    def written(self, version: Manifest, fresh: bool, at_ns: int) -> Iterator[ReadableSpan]:
        """Yield a span for each example of which this is the first version.

        `fresh` is true if the version was just written, false if it existed when the learner started.
        """
        self._has = version.offset
        ready = [offset for offset in self._waiting if offset < version.offset]
        for offset in ready:
            learned = self._waiting.pop(offset)
            if not fresh or _is_among(version.skipped, offset):
                continue
            told: Values = {
                "millstream.version": str(version.version),
                "millstream.model": version.version.model,
                "messaging.kafka.offset": offset,
            }
            ids = learned.ids
            yield self._span("learn", _SpanIds(ids.trace, ids.learn, ids.join), (learned.time * _MS, at_ns), told)

    def _span(
        self, name: str, place: _SpanIds, times: tuple[int, int], attributes: Values, **more: Any
    ) -> ReadableSpan:
        """Return a span from the first to the second time; it has no length if clocks disagree."""
        return ReadableSpan(
            f"millstream {name}",
            _context(place.trace, place.span),
            None if place.parent is None else _context(place.trace, place.parent, remote=True),
            self._resource,
            attributes,
            kind=SpanKind.CONSUMER,
            start_time=min(times),
            end_time=times[1],
            instrumentation_scope=_SCOPE,
            **more,
        )


def _find(batches: Iterable[Batch], place: Partition, offset: int) -> Record | None:
    """Return the record at this offset; within a batch, the records of a partition are in order."""
    for batch in batches:
        records = batch.get(place, ())
        index = bisect_left(records, offset, key=lambda record: record.offset)
        if index < len(records) and records[index].offset == offset:
            return records[index]
    return None


def _context(trace: int, span: int, *, remote: bool = False, flags: int = TraceFlags.SAMPLED) -> SpanContext:
    return SpanContext(trace, span, is_remote=remote, trace_flags=TraceFlags(flags))


def _is_among(runs: Iterable[int | tuple[int, int]], offset: int) -> bool:
    """Return whether a manifest's list of offsets and runs (first, last) contains an offset."""
    return any(run == offset if isinstance(run, int) else run[0] <= offset <= run[1] for run in runs)


def _links(record: Record | None) -> list[Link]:
    """Return a link to the sender's own trace; Millstream's trace id follows from the event's id instead."""
    found = None if record is None else traceparent(record.headers)
    return [] if found is None else [Link(_context(*found[:2], remote=True, flags=found[2]))]


def _read_at(place: Partition, offset: int) -> Values:
    """Return a position in Kafka under OpenTelemetry's attribute names."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": place.topic,
        "messaging.destination.partition.id": str(place.partition),
        "messaging.kafka.offset": offset,
    }
