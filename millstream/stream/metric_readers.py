"""Readers of the downstream metrics of a stream, by the topic that they are on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from consumers.monitor.columns import MetricReader
from millstream.stream.stream import Stream
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.records import Record
from schemas.schema_registry import RegistryError
from schemas.sources.decoding import decoder
from schemas.sources.metric_mapping import MetricMapping
from schemas.sources.metrics import read_metric
from schemas.topics import METRICS, Names

if TYPE_CHECKING:
    from schemas.schema_registry import Registry


def metric_readers(stream: Stream, names: Names, registry: Registry | None) -> dict[str, MetricReader]:
    """Return what reads the downstream metrics of each topic that they are on."""
    readers = {
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
