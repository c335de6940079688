"""What the monitor needs of a stream: when its windows close, and what is collected in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from consumers.monitor.columns import MetricReader
from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles
from consumers.monitor.served import ServedRules, ServedSums
from consumers.monitor.windows import Reader, WindowRules
from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.slices import SliceReader
from millstream.stream.stream import Stream
from millstream.stream.watching import Watch
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.records import Record
from schemas.schema_registry import RegistryError
from schemas.sources.decoding import decoder
from schemas.sources.metric_mapping import MetricMapping
from schemas.sources.metrics import read_metric
from schemas.topics import METRICS, Names

if TYPE_CHECKING:
    from schemas.schema_registry import Registry


def window_rules(stream: Stream) -> WindowRules:
    """Return the rules of a stream's windows."""
    watch = stream.watch
    declared, private, key = [*stream.contract.features], stream.contract.private, stream.name.encode()
    slices = SliceReader(stream.slices)
    served = ServedRules(stream.target, watch.window_ms, slices)
    return WindowRules(
        watch.window_ms,
        watch.window_events,
        lambda: WindowProfiles(watch.most_features, watch.pairs, declared=declared, private=private, hash_key=key),
        lambda state: ServedSums(served, state),
    )


def metric_readers(stream: Stream, names: Names, registry: Registry | None) -> dict[str, Reader]:
    """Return what reads the downstream metrics of each topic that they are on."""
    readers: dict[str, Reader] = {
        source.topic: MetricReader(_values_of(MetricMapping(source, decoder(source, registry))))
        for source in stream.metrics_sources
    }
    if stream.takes_metrics:
        readers[names.topic(METRICS)] = MetricReader(_own_value)
    return readers


def _own_value(record: Record) -> dict[str, float]:
    found = read_metric(record.value or b"")
    return {found.name: found.value}


def _values_of(mapping: MetricMapping) -> Callable[[Record], dict[str, float]]:
    def values(record: Record) -> dict[str, float]:
        try:
            return mapping.values(record)
        except RegistryError as error:
            raise (Doubt if error.passing else RoleRefused)(str(error)) from error

    return values


def drift_rules(stream: Stream) -> DriftRules:
    """Return the rules by which a stream's windows are judged."""
    watch = stream.watch
    span = reference_ms(watch)
    return DriftRules(watch.window_ms, watch.alarms_per_ms, Trailing() if span is None else Trailing(span))


def reference_ms(watch: Watch) -> int | None:
    """Return the length of a trailing reference; `None` if it is a version, an epoch or a range of time."""
    try:
        return milliseconds(watch.reference)
    except InvalidDuration:
        return None
