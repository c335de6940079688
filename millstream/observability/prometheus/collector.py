"""Collector for Prometheus: turns a role's meter into all metrics of `catalog.METRICS` at each scrape."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Final, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from consumers.joiner.offset_metadata import JoinerMetadata, JoinMetadata
from consumers.judge.offset_metadata import JudgeMetadata
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.offset_metadata import OffsetMetadata
from consumers.model.quality import quality
from consumers.model.standing_answers import answers_since
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.notifier.offset_metadata import NotifierMetadata
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.referee.offset_metadata import RefereeMetadata
from consumers.roles import (
    CONSOLE,
    IMPORTER,
    JOINER,
    JUDGE,
    LEARNER,
    MONITOR,
    NOTIFIER,
    PREDICTOR,
    REFEREE,
    SERVER,
    SHADOW,
    TRAINER,
    kind_of_role,
)
from consumers.shadow.offset_metadata import ShadowMetadata, model_counts
from consumers.trainer.offset_metadata import TrainerMetadata
from millstream.observability.prometheus.catalog import METRICS
from millstream.observability.prometheus.histogram import Histogram
from millstream.observability.prometheus.role_metrics import RoleMeter
from runtime.kafka_client.library_names import DEFAULT as DEFAULT_CLIENT
from runtime.kafka_client.library_names import version_of
from runtime.kafka_client.records import Partition
from schemas.topics import PROFILES

LABEL_STATES: Final = (
    "joined", "duplicate", "correction", "contradicting", "late", "unknown", "refused", "forwarded",
)  # fmt: skip
PREDICTION_STATES: Final = ("unlabelled", "timeout", "timeout_refused", "errors", "again")
SHADOW_STATES: Final = ("shadowed", "left_out", "unreadable")
_MOST_METRICS: Final = 100  # limit for one model, because the user's own metrics choose the names
Sample = tuple[tuple[str, ...], float]
MetadataT = TypeVar("MetadataT", bound=OffsetMetadata)


class RoleCollector(Collector):
    """Turns the meter's state into samples.

    Parameters
    ----------
    stream, role, process
        Labels of the samples; `process` is the name in Kafka's groups.
    client
        Name of the library of the Kafka client.
    """

    def __init__(self, meter: RoleMeter, stream: str, role: str, process: str, client: str = DEFAULT_CLIENT) -> None:
        self._meter = meter
        self._of = (stream, role)
        self._process = process
        self._client = client

    def collect(self) -> Iterable[Family]:
        """Yield all metrics."""
        histograms = dict(self._histograms())
        samples = dict(self._samples())
        infos = {
            "millstream_build_info": self._build(),
            "millstream_client_info": (self._client, version_of(self._client)),
        }
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
                info.add_metric(self._of, dict(zip(metric.labels, infos[name], strict=True)))
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
        role = kind_of_role(self._of[1])
        yield "millstream_label_to_served_seconds", [((), meter.label_to_served)] if role in (PREDICTOR, SERVER) else []
        yield "millstream_join_wait_seconds", [((), meter.join_wait)] if role == JOINER else []
        yield "millstream_label_to_example_seconds", [((), meter.label_to_example)] if role == JOINER else []
        yield (
            "millstream_checkpoint_duration_seconds",
            [((), meter.checkpoints)] if role == LEARNER else [],
        )

    def _samples(self) -> Iterator[tuple[str, list[Sample]]]:
        yield from self._of_the_loop()
        more = {
            PREDICTOR: self._of_a_predictor,
            SERVER: self._of_a_server,
            IMPORTER: self._of_an_importer,
            CONSOLE: self._of_http,
            JOINER: self._of_a_joiner,
            LEARNER: self._of_a_learner,
            SHADOW: self._of_a_shadow,
            JUDGE: self._of_a_judge,
            REFEREE: self._of_a_referee,
            TRAINER: self._of_a_trainer,
            MONITOR: self._of_a_monitor,
            NOTIFIER: self._of_a_notifier,
        }
        if found := more.get(kind_of_role(self._of[1])):
            yield from found()

    def _beside(self, kind: type[MetadataT]) -> dict[Partition, MetadataT]:
        """Return the role's newest offset metadata."""
        told = {place: kind.decode(text) for place, text in self._meter.beside().items()}
        return {place: metadata for place, metadata in told.items() if metadata is not None}

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
        yield "millstream_transactions_overlapped_total", _one(meter.counts["overlapped"])
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

    def _of_a_predictor(self) -> Iterator[tuple[str, list[Sample]]]:
        served = self._meter.served
        yield "millstream_version_swaps_total", _one(self._meter.counts["swaps"])
        yield (
            "millstream_events_gone_total",
            _numbers({place: each.gone for place, each in self._beside(PredictorMetadata).items()}),
        )
        if served is not None:
            yield "millstream_served_version_epoch", _one(served.epoch)
            yield "millstream_served_version_examples", _one(served.examples)
            yield "millstream_served_version_timestamp_seconds", _one(served.since_ms / 1000)

    def _of_a_server(self) -> Iterator[tuple[str, list[Sample]]]:
        yield from self._of_a_predictor()
        yield from self._of_http()
        yield "millstream_http_unlogged_total", _one(self._meter.unlogged())
        size = self._meter.spool_bytes
        yield "millstream_spool_bytes", _one(None if size is None else size())

    def _of_http(self) -> Iterator[tuple[str, list[Sample]]]:
        counted = sorted(self._meter.requests().items())
        requests: list[Sample] = [((path, str(status)), float(count)) for (path, status), count in counted]
        yield "millstream_http_requests_total", requests

    def _of_an_importer(self) -> Iterator[tuple[str, list[Sample]]]:
        meter = self._meter
        yield "millstream_uploads_total", [((each,), float(meter.uploads[each])) for each in ("imported", "refused")]
        rows: list[Sample] = [((each,), float(meter.upload_rows[each])) for each in ("taken", "refused")]
        yield "millstream_upload_rows_total", rows
        yield "millstream_uploads_waiting", _one(meter.waiting_uploads)

    def _of_a_joiner(self) -> Iterator[tuple[str, list[Sample]]]:
        beside = self._beside(JoinerMetadata)
        # Both topics' offsets carry the same.
        told = {place: each for place, each in beside.items() if self._meter.kind(place.topic) == "labels"}
        counts = {place: each.counts for place, each in told.items()}
        yield "millstream_labels_total", _counts(counts, LABEL_STATES)
        yield "millstream_predictions_left_total", _counts(counts, PREDICTION_STATES)
        yield "millstream_examples_joined_total", _numbers({place: each.seq for place, each in told.items()})
        yield "millstream_join_waiting", _waiting("prediction", told)
        oldest = {place: each.oldest / 1000 for place, each in told.items() if each.oldest}
        yield "millstream_join_oldest_timestamp_seconds", _numbers(oldest)

    def _of_a_shadow(self) -> Iterator[tuple[str, list[Sample]]]:
        told = self._beside(ShadowMetadata)
        states = {each: sum(getattr(note, each) for note in told.values()) for each in SHADOW_STATES}
        yield "millstream_shadow_predictions_total", [((state,), float(count)) for state, count in states.items()]
        counts = model_counts(told.values())
        yield "millstream_shadow_answers_total", [((model,), float(of.answers)) for model, of in counts.items()]
        yield "millstream_shadow_errors_total", [((model,), float(of.errors)) for model, of in counts.items()]
        yield "millstream_shadow_unasked_total", [((model,), float(of.unasked)) for model, of in counts.items()]
        yield "millstream_shadow_share", _numbers({place: note.share for place, note in told.items()})
        yield "millstream_shadow_unsliced_total", _one(sum(note.unsliced for note in told.values()))

    def _of_a_judge(self) -> Iterator[tuple[str, list[Sample]]]:
        told = {
            place: each
            for place, each in self._beside(JudgeMetadata).items()
            if self._meter.kind(place.topic) == "labels"
        }
        yield "millstream_comparisons_total", _numbers({place: each.seq for place, each in told.items()})
        yield "millstream_comparisons_waiting", _waiting(SHADOW, told)

    def _of_a_referee(self) -> Iterator[tuple[str, list[Sample]]]:
        told = next(iter(self._beside(RefereeMetadata).values()), None)
        if told is None:
            return
        yield "millstream_contest_labels", [((each.model,), float(each.labels)) for each in told.standings]
        yield (
            "millstream_contest_difference",
            [
                ((each.model, bound), value)
                for each in told.standings
                for bound, value in (("mean", each.mean), ("lower", each.low), ("upper", each.high))
                if value is not None
            ],
        )
        yield "millstream_contest_waiting", _one(told.waiting)
        yield "millstream_promotions_total", [(("rule",), float(told.promoted)), (("guard",), float(told.returned))]

    def _of_a_trainer(self) -> Iterator[tuple[str, list[Sample]]]:
        told = next((each for each in self._beside(TrainerMetadata).values() if each.models), None)
        if told is None:
            return
        ends = (("done", told.trained), ("failed", told.failed), ("cancelled", told.cancelled))
        yield "millstream_jobs_total", [((state,), float(count)) for state, count in ends]
        yield "millstream_job_attempts_total", _one(told.attempts)
        yield "millstream_jobs_waiting", _one(told.waiting)
        yield "millstream_jobs_deployed_total", _one(told.deployed)
        working = told.working
        if working is not None:
            yield "millstream_job_since_timestamp_seconds", [((working.model,), working.since / 1000)]
            done: list[Sample] = [((working.model,), working.done / working.of)] if working.of else []
            yield "millstream_job_progress", done

    def _of_a_monitor(self) -> Iterator[tuple[str, list[Sample]]]:
        told = {(self._meter.kind(at.topic), at.partition): note for at, note in self._beside(MonitorMetadata).items()}
        judged = told.pop((PROFILES, 0), None)

        def each(read: Callable[[MonitorMetadata], float]) -> list[Sample]:
            return [((kind, str(number)), float(read(note))) for (kind, number), note in told.items()]

        yield "millstream_windows_total", each(lambda note: note.windows)
        yield "millstream_watched_events_total", each(lambda note: note.events)
        yield "millstream_unwatched_records_total", each(lambda note: note.unreadable)
        written = [sample for sample in each(lambda note: note.last / 1000) if sample[1]]
        yield "millstream_window_timestamp_seconds", written
        yield "millstream_findings", _one(None if judged is None else judged.finding)

    def _of_a_notifier(self) -> Iterator[tuple[str, list[Sample]]]:
        told = {name: note for each in self._beside(NotifierMetadata).values() for name, note in each.targets.items()}
        accepted: list[Sample] = [((name, "accepted"), float(note.accepted)) for name, note in told.items()]
        failed: list[Sample] = [((name, "failed"), float(note.failed)) for name, note in told.items()]
        yield "millstream_deliveries_total", accepted + failed
        yield "millstream_alerts_delivered_total", [((name,), float(note.delivered)) for name, note in told.items()]
        yield "millstream_alerts_lost_total", [((name,), float(note.lost)) for name, note in told.items()]
        yield "millstream_target_failing", [((name,), float(note.failing_since > 0)) for name, note in told.items()]

    def _of_a_learner(self) -> Iterator[tuple[str, list[Sample]]]:
        yield "millstream_checkpoints_total", _one(self._meter.counts["checkpoints"])
        told = next(iter(self._beside(LearnerMetadata).values()), None)
        if told is not None:
            yield "millstream_examples_learned", _one(told.learned)
            yield "millstream_examples_skipped", _one(told.skipped)
            yield "millstream_learning_paused", _one(told.paused)
            yield "millstream_model_full", _one(told.full)
        newest = self._meter.newest
        if newest is None:
            return
        yield "millstream_checkpoint_timestamp_seconds", _one(newest.created_at_ms / 1000)
        yield "millstream_checkpoint_epoch", _one(newest.version.epoch)
        yield "millstream_checkpoint_examples", _one(newest.version.examples)
        yield "millstream_checkpoint_unchanged_examples", _one(newest.examples - answers_since(newest))
        yield "millstream_model_size_bytes", _one(newest.extra.get("model_bytes"))
        found = quality(newest.metrics)
        yield "millstream_served_worse_than_baseline", _one(None if found is None else found.worse)
        yield "millstream_model_metric", list(_metrics(newest.metrics))[:_MOST_METRICS]


def _one(value: float | None) -> list[Sample]:
    return [] if value is None else [((), float(value))]


def _numbers(values: Mapping[Partition, float]) -> list[Sample]:
    return [((str(place.partition),), float(value)) for place, value in values.items()]


def _waiting(first: str, told: Mapping[Partition, JoinMetadata]) -> list[Sample]:
    """Return how many records wait, by partition and kind; `first` is what waits for labels."""
    kinds = first, "label"
    return [
        ((str(place.partition), kind), float(count))
        for place, each in told.items()
        for kind, count in zip(kinds, each.waiting, strict=True)
    ]


def _counts(counts: Mapping[Partition, Mapping[str, int]], states: Iterable[str]) -> list[Sample]:
    """Return counts by partition and state; missing counts are 0, so that a rate includes the first increase."""
    samples: list[Sample] = []
    for place, known in counts.items():
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
