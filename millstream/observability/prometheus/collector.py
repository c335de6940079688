"""Collector for Prometheus: turns a role's meter into all metrics of `catalog.METRICS` at each scrape."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from millstream.observability.prometheus.catalog import METRICS
from millstream.observability.prometheus.histogram import Histogram
from millstream.observability.prometheus.role_metrics import RoleMeter
from runtime.kafka_client.records import Partition

LABEL_STATES: Final = (
    "joined", "duplicate", "correction", "contradicting", "late", "unknown", "refused", "forwarded",
)  # fmt: skip
PREDICTION_STATES: Final = ("unlabelled", "timeout", "timeout_refused", "errors", "again")
_MOST_METRICS: Final = 100  # limit for one model, because the user's own metrics choose the names
Sample = tuple[tuple[str, ...], float]


class RoleCollector(Collector):
    """Turns the meter's state into samples.

    Parameters
    ----------
    stream, role, process
        Labels of the samples; `process` is the name in Kafka's groups.
    """

    def __init__(self, meter: RoleMeter, stream: str, role: str, process: str) -> None:
        self._meter = meter
        self._of = (stream, role)
        self._process = process

    def collect(self) -> Iterable[Family]:
        """Yield all metrics."""
        histograms = dict(self._histograms())
        samples = dict(self._samples())
        for name, metric in METRICS.items():
            labels = ("stream", "role", *metric.labels)
            if metric.kind == "histogram":
                sizes = HistogramMetricFamily(name, metric.help, labels=labels)
                for values, histogram in histograms[name]:
                    buckets, total = histogram.read()
                    sizes.add_metric((*self._of, *values), buckets, total)
                yield sizes
            elif metric.kind == "info":
                info = InfoMetricFamily(name.removesuffix("_info"), metric.help, labels=("stream", "role"))
                info.add_metric(self._of, dict(zip(metric.labels, self._build(), strict=True)))
                yield info
            else:
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                numbers = kind(name, metric.help, labels=labels)
                for values, value in samples.get(name, ()):
                    numbers.add_metric((*self._of, *values), value)
                yield numbers

    def _build(self) -> tuple[str, ...]:
        return self._process, metadata.version("millstream"), metadata.version("river"), platform.python_version()

    def _histograms(self) -> Iterator[tuple[str, list[tuple[tuple[str, ...], Histogram]]]]:
        meter = self._meter
        yield "millstream_batch_duration_seconds", [((), meter.batches)]
        yield "millstream_commit_duration_seconds", [((), meter.commits)]
        yield (
            "millstream_record_latency_seconds",
            [((meter.kind(topic),), histogram) for topic, histogram in list(meter.latency.items())],
        )
        role = self._of[1]
        yield "millstream_label_to_served_seconds", [((), meter.label_to_served)] if role == "predictor" else []
        yield "millstream_join_wait_seconds", [((), meter.join_wait)] if role == "joiner" else []
        yield "millstream_label_to_example_seconds", [((), meter.label_to_example)] if role == "joiner" else []
        yield "millstream_checkpoint_duration_seconds", [((), meter.checkpoints)] if role == "learner" else []

    def _samples(self) -> Iterator[tuple[str, list[Sample]]]:
        yield from self._of_the_loop()
        notes = self._meter.now()
        more = {"predictor": self._of_a_predictor, "joiner": self._of_a_joiner, "learner": self._of_a_learner}
        if found := more.get(self._of[1]):
            yield from found(notes)

    def _of_the_loop(self) -> Iterator[tuple[str, list[Sample]]]:
        meter = self._meter
        yield "millstream_ready", _one(meter.unready() is None)
        yield "millstream_partitions", _one(len(meter.partitions or ()))
        yield "millstream_last_turn_timestamp_seconds", _one(meter.turned_at or None)
        yield "millstream_last_commit_timestamp_seconds", _one(meter.committed_at or None)
        yield "millstream_rebalances_total", _one(meter.counts["rebalances"])
        yield "millstream_records_consumed_total", self._by_topic(meter.consumed)
        yield "millstream_records_produced_total", self._by_topic(meter.produced)
        yield "millstream_transactions_committed_total", _one(meter.counts["committed"])
        yield "millstream_transactions_aborted_total", _one(meter.ends.told.aborted)
        yield "millstream_role_ends_total", [((code,), count) for code, count in list(meter.ends.told.ends.items())]
        yield "millstream_dead_letters_total", [((code,), count) for code, count in list(meter.letters.items())]
        lags = meter.lags
        places = {place: (meter.kind(place.topic), str(place.partition)) for place in lags}
        yield "millstream_lag_records", [(places[place], lag) for place, (lag, _) in lags.items()]
        age = {place: max(0.0, time.time() - at / 1000) if lag else 0.0 for place, (lag, at) in lags.items()}
        yield "millstream_lag_seconds", [(places[place], seconds) for place, seconds in age.items()]

    def _by_topic(self, counts: Mapping[str, int]) -> list[Sample]:
        return [((self._meter.kind(topic),), count) for topic, count in list(counts.items())]

    def _of_a_predictor(self, notes: Mapping[Partition, Mapping[str, object]]) -> Iterator[tuple[str, list[Sample]]]:
        served = self._meter.served
        yield "millstream_version_swaps_total", _one(self._meter.counts["swaps"])
        yield "millstream_events_gone_total", _numbers(notes, "gone")
        if served is not None:
            yield "millstream_served_version_epoch", _one(served.epoch)
            yield "millstream_served_version_examples", _one(served.examples)
            yield "millstream_served_version_timestamp_seconds", _one(served.since_ms / 1000)

    def _of_a_joiner(self, notes: Mapping[Partition, Mapping[str, object]]) -> Iterator[tuple[str, list[Sample]]]:
        # The offsets of both topics carry the same metadata.
        notes = {place: note for place, note in notes.items() if self._meter.kind(place.topic) == "labels"}
        yield "millstream_labels_total", _counts(notes, LABEL_STATES)
        yield "millstream_predictions_left_total", _counts(notes, PREDICTION_STATES)
        yield "millstream_examples_joined_total", _numbers(notes, "seq")
        waiting: list[Sample] = []
        for place, note in notes.items():
            both = note.get("waiting")
            for kind, count in zip(("prediction", "label"), both if isinstance(both, list) else (), strict=False):
                waiting.append(((str(place.partition), kind), float(count)))
        yield "millstream_join_waiting", waiting
        oldest = _numbers(notes, "oldest")
        yield "millstream_join_oldest_timestamp_seconds", [(of, at / 1000) for of, at in oldest if at]

    def _of_a_learner(self, notes: Mapping[Partition, Mapping[str, object]]) -> Iterator[tuple[str, list[Sample]]]:
        yield "millstream_checkpoints_total", _one(self._meter.counts["checkpoints"])
        for name, key in (
            ("millstream_examples_learned", "learned"),
            ("millstream_examples_skipped", "skipped"),
            ("millstream_learning_paused", "paused"),
            ("millstream_model_full", "full"),
        ):
            found = [value for _, value in _numbers(notes, key)]
            yield name, _one(found[0] if found else None)
        newest = self._meter.newest
        if newest is None:
            return
        yield "millstream_checkpoint_timestamp_seconds", _one(newest.created_at_ms / 1000)
        yield "millstream_checkpoint_epoch", _one(newest.version.epoch)
        yield "millstream_checkpoint_examples", _one(newest.version.examples)
        yield "millstream_model_size_bytes", _one(newest.extra.get("model_bytes"))
        yield "millstream_model_metric", list(_metrics(newest.metrics))[:_MOST_METRICS]


def _one(value: float | None) -> list[Sample]:
    return [] if value is None else [((), float(value))]


def _numbers(notes: Mapping[Partition, Mapping[str, object]], key: str) -> list[Sample]:
    found = {place: note.get(key) for place, note in notes.items()}
    return [((str(place.partition),), float(value)) for place, value in found.items() if isinstance(value, int)]


def _counts(notes: Mapping[Partition, Mapping[str, object]], states: Iterable[str]) -> list[Sample]:
    """Return counts by partition and state; missing counts are 0, so that a rate includes the first increase."""
    samples: list[Sample] = []
    for place, note in notes.items():
        counts = note.get("counts")
        known = counts if isinstance(counts, dict) else {}
        samples += [((str(place.partition), state), float(known.get(state, 0))) for state in states]
    return samples


def _metrics(report: Mapping[str, object]) -> Iterator[Sample]:
    """Yield a version's metrics: by source (progressive, served, ...), span (all, last) and name."""
    for source, spans in report.items():
        if not isinstance(spans, dict):
            continue
        for span, values in spans.items():
            if isinstance(values, dict):
                yield from (((source, span, name), float(v)) for name, v in values.items() if v is not None)
