"""Wiring of the monitor: windows, judging, alert rules of the stream file, and its begin."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from consumers.loop.decisions_log import DecisionsLog
from consumers.loop.last_offsets_file import TopicMemory
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules
from consumers.monitor.judging import StreamJudging
from consumers.monitor.judging_protocol import NewJudging
from consumers.monitor.monitor import Monitor, MonitorSettings, NewPast, no_past
from consumers.monitor.rules.decisions import Decisions
from consumers.monitor.rules.rules import Rules, RulesSettings
from consumers.monitor.served import DecidedBy, values
from consumers.monitor.version_ages import VersionAges
from consumers.roles import MONITOR
from millstream.monitoring.reference import fixed_reference
from millstream.monitoring.reference_pass import pass_of, told_pass
from millstream.observability.role_log import say
from millstream.processes.role_loop import drive, following, meet, state_alerts
from millstream.stream.alert_rules import evaluated
from millstream.stream.metric_readers import metric_readers
from millstream.stream.monitor_rules import drift_rules, reference_ms, window_rules
from millstream.versions.kept_versions import KeptVersions
from model_store import open_store
from model_store.value_key import FILE, VARIABLE, value_key
from runtime.exits import TRY_AGAIN, Doubt
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.records import Partition, Positions
from schemas.duration_text import spoken
from schemas.topics import NOT_OURS, PROFILES, Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream

_REQUEST_MS: Final = 30_000


def run_monitor(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Watch the stream until told to stop; return the exit code."""
    cluster, names, _ = meet(loaded, settings, PROFILES, "decisions", "jobs")
    stream = loaded.stream
    metrics = metric_readers(stream, names, settings.schema_registry(say))
    _require(cluster, names, metrics)
    key = value_key(settings.keys, stream.name)
    if stream.contract.private and not key:
        say(
            f"private features have counts alone in windows: there is neither {VARIABLE} nor {settings.keys / FILE}; "
            "`millstream keys init` makes one, and all monitors of the stream need the same"
        )
    log = DecisionsLog(cluster, names)
    store = open_store(settings.models, settings.keys, sign=False)
    versions = KeptVersions(store)
    decided, ages = DecidedBy(log, stream.labels.wait_ms), VersionAges(log, versions.made)
    monitor_settings = MonitorSettings(names, window_rules(stream, decided, key), metrics, new_epoch, ages)
    kept = state_alerts(cluster, names, MONITOR, instance)
    memory = TopicMemory(settings.state(names) / f"{MONITOR}-{instance}.json", written=kept.written)
    fixed = fixed_reference(stream.watch, loaded.model_id, store, cluster, names)
    since = None if fixed is None else fixed.since_ms
    first = _first(cluster, reference_ms(stream.watch), since, stream.watch.window_ms)
    decisions = Decisions([each.model_id for each in loaded.each_model])
    judging = _new_judging(loaded, drift_rules(stream, fixed), names, decisions, versions)
    past_log = DecisionsLog(cluster, names)
    past: NewPast = no_past
    if fixed is not None:
        made = pass_of(stream, cluster, names, past_log, metrics, fixed, key, VersionAges(past_log, versions.made))
        past = told_pass(made, say)
    monitor = Monitor(monitor_settings, judging, first, say, memory, past)
    with closing(log), closing(past_log), following(cluster, names, decisions.follow) as current:
        return drive(cluster, names, MONITOR, instance, monitor, meter, kept) if current else TRY_AGAIN


def _require(cluster: Cluster, names: Names, topics: Collection[str]) -> None:
    """Check that the topics of downstream metrics exist. Raises MissingTopic if one does not."""
    found = cluster.topic_info(*topics) if topics else {}
    for topic in topics:
        if topic not in found:
            way_out = NOT_OURS if topic in names.metrics_from else f"`millstream topics create {names.stream}` makes it"
            raise MissingTopic(
                f"topic {topic}, which metrics of {names.stream} come from, does not exist on {cluster.bootstrap}: "
                f"{way_out}"
            )


def _new_judging(
    loaded: LoadedStream, judged: DriftRules, names: Names, decisions: Decisions, versions: KeptVersions
) -> NewJudging:
    """Return what makes the judging of the stream whenever the monitor takes the profiles topic over."""
    stream = loaded.stream
    rules = RulesSettings(names, evaluated(stream.alerts), stream.watch.window_ms)

    def new() -> StreamJudging:
        found = Rules(rules, decisions.now, versions, lambda windows: values(windows, stream.task), say)
        return StreamJudging(names, Judge(judged), found, say)

    return new


def _first(
    cluster: Cluster, length: int | None, beginning: int | None, window: int
) -> Callable[[Sequence[Partition]], Positions]:
    """Return the function by which a new monitor begins to read, so that it has a reference at once.

    It begins with the first whole window of the reference, which is of a `length` (ms) before now, or begins at a time.
    """

    def first(partitions: Sequence[Partition]) -> Positions:
        now = time.time_ns() // 1_000_000
        since = max(0, now - (length or 0) if beginning is None else beginning) // window * window
        with closing(cluster.consumer()) as consumer:
            for topic in {partition.topic for partition in partitions}:
                if not consumer.partitions_for_topic(topic):
                    raise Doubt(f"the partitions of {topic} are not known yet: restarting")
            found = consumer.offsets_for_times(dict.fromkeys(partitions, since), timeout_ms=_REQUEST_MS)
            ends = consumer.end_offsets(list(partitions), timeout_ms=_REQUEST_MS)
        begins = {at: ends[at] if (begin := found[at]) is None else begin for at in partitions}
        told = ", ".join(f"{topic}[{number}] from {begin}" for (topic, number), begin in sorted(begins.items()))
        say(f"a new monitor: watched since {spoken(now - since)} ago, {told}")
        return begins

    return first
