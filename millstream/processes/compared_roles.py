"""Wiring of the roles that compare a stream's models: shadow and judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from consumers.judge.judge import judge_settings
from consumers.loop.decisions_log import DecisionsLog
from consumers.loop.last_offsets_file import TopicMemory
from consumers.model.version_loader import VersionLoader
from consumers.roles import JUDGE, SHADOW
from consumers.shadow.announcements import Announcements
from consumers.shadow.shadow import Shadows, ShadowSettings
from consumers.shadow.versions import ChallengerVersions
from millstream.observability.role_log import say
from millstream.processes.model_process_main import starter
from millstream.processes.role_loop import drive, drive_join, has_partitions, meet, state_alerts
from millstream.status.group_metadata import spread_of
from millstream.stream.processor_rules import join_rules
from millstream.stream.slices import SliceReader
from millstream.version_code.choice import Policy, VersionCode
from model_store import open_store
from runtime.exits import FAILED
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.topics import SHADOWS, Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream

_SKEW_MS: Final = 60_000
"""Clocks of this machine and of the brokers may differ by as much."""


def run_shadow(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
    code: Policy = "own",
) -> int:
    """Ask the models that do not serve until told to stop; return the exit code.

    `code` selects the code that versions run with.
    """
    if not _has_models(loaded, SHADOW):
        return FAILED
    cluster, names, topics = meet(loaded, settings)
    spread = spread_of(cluster, names, topics)
    if not has_partitions(loaded, topics, spread, names.topic(SHADOWS), names.whole, names.topic("labels")):
        return FAILED
    stream = loaded.stream
    models = [each.model_id for each in loaded.each_model if not each.model or each.model in stream.asked]
    store = open_store(settings.models, settings.keys, sign=False)
    choose = VersionCode(loaded, store, code, say).to_answer
    loader = VersionLoader(store, stream.task, choose, starter(loaded, settings, choose))
    log = DecisionsLog(cluster, names)
    versions = ChallengerVersions(Announcements(log, models), loader, say)
    slices, count = SliceReader(stream.slices), len(stream.slices)
    shadow_settings = ShadowSettings(
        names, models, spread, stream.shadow_share, stream.contract, slices, count, new_epoch, stream.prepare
    )
    kept = state_alerts(cluster, names, SHADOW, instance)
    memory = TopicMemory(settings.state(names) / f"{SHADOW}-{instance}.json", written=kept.written)
    try:
        return drive(
            cluster, names, SHADOW, instance, Shadows(shadow_settings, versions, log, say, memory), meter, kept
        )
    finally:
        log.close()


def run_judge(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Join shadow answers with their labels until told to stop; return the exit code."""
    if not _has_models(loaded, JUDGE):
        return FAILED
    cluster, names, topics = meet(loaded, settings)
    spread = spread_of(cluster, names, topics)
    if not has_partitions(loaded, topics, spread, names.topic(SHADOWS), names.whole, names.topic("labels")):
        return FAILED
    stream = loaded.stream
    rules = judge_settings(names, join_rules(stream), spread, stream.join.max_pending, new_epoch)
    first = _first_labels(cluster, names, [each.model_id for each in loaded.others], stream.labels.wait_ms)
    return drive_join(cluster, loaded, settings, instance, rules, meter, first)


def _has_models(loaded: LoadedStream, role: str) -> bool:
    """Return whether a stream has models to compare; report it if not."""
    if not loaded.stream.named:
        say(f"{loaded.path.name}: there is one model, so the {role} has nothing to do; models={{...}} names others")
    return bool(loaded.stream.named)


def _first_labels(
    cluster: Cluster, names: Names, models: list[str], label_wait: int
) -> Callable[[Partition], int | None]:
    """Return the function by which a new judge begins to read labels.

    No shadow is older than the first announcement of a named model, so a label more than a label wait older than that
    can match none. Without an announcement, no shadow is older than now.
    """

    def first(partition: Partition) -> int | None:
        log = DecisionsLog(cluster, names)
        try:
            announced = Announcements(log, models).first(models)
            since = time.time_ns() // 1_000_000 - _SKEW_MS if announced is None else announced
            return log.first_after({partition: max(0, since - label_wait)})[partition]
        finally:
            log.close()

    return first
