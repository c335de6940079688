"""Wiring of each role's process: connects processor, store and cluster, and runs the loop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from consumers.intake.intake import Intake, IntakeSettings
from consumers.joiner.joiner import JoinerSettings
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.loop.last_offsets_file import TopicMemory
from consumers.model.checkpoints import NewEpoch
from consumers.predictor.model_feed import ModelsTopic, PauseSwitch, VersionFeed
from consumers.predictor.predictor import Predictor
from consumers.roles import INTAKE, PREDICTOR, learner_of
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.role_log import say
from millstream.processes import role_events
from millstream.processes.measured_checkpoints import MeasuredCheckpoints
from millstream.processes.model_process_main import starter
from millstream.processes.role_loop import drive, drive_join, following, has_partitions, meet, state_alerts
from millstream.status.group_metadata import joined_from, spread_of
from millstream.stream.processor_rules import definition_of, join_rules, learning_rules, predictor_settings
from millstream.version_code.choice import Policy, VersionCode
from model_store import is_object_store, open_store
from runtime.exits import FAILED, TRY_AGAIN
from runtime.kafka_client.cluster import Cluster, MissingTopic
from schemas.schema_registry import RegistryError
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.unsupported_fields import unmapped
from schemas.topics import NOT_OURS, Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from schemas.schema_registry import Registry
    from schemas.sources.source import Source

_SWITCH_SECONDS: Final = 0.0005


def run_predictor(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
    code: Policy = "own",
) -> int:
    """Predict until told to stop; return the exit code. `code` selects the code that versions run with."""
    cluster, names, topics = meet(loaded, settings)
    definition = definition_of(loaded)
    store = open_store(settings.models, settings.keys, sign=False)
    choose = VersionCode(loaded, store, code, say).to_answer
    start = starter(loaded, settings, choose)
    feed = VersionFeed(store, definition, loaded.stream.task, say=say, start_process=start, meter=meter, choose=choose)
    meter = meter or RoleInstrumentation()
    meter.needs(lambda: "no version to answer with yet" if feed.newest() is None else None)
    follower = ModelsTopic(cluster, names.topic("models"), feed.follow, say, role_events.cannot_follow)
    kept = state_alerts(cluster, names, PREDICTOR, instance)
    memory = TopicMemory(settings.state(names) / f"{PREDICTOR}-{instance}.json", written=kept.written)
    registry = settings.schema_registry(say)
    spread = spread_of(cluster, names, topics)
    if loaded.stream.features_source is not None:
        say_unmapped(loaded.stream.features_source, registry)
    answering = predictor_settings(loaded.stream, names, topics, new_epoch, registry, spread=spread)
    predictor = Predictor(answering, feed, say=say, memory=memory)
    # The follower's thread checks and loads versions. With Python's default of 5 ms, each of the few thread switches of
    # an answer would wait that long during a load.
    sys.setswitchinterval(_SWITCH_SECONDS)
    follower.start()
    try:
        return drive(cluster, names, PREDICTOR, instance, predictor, meter, kept)
    finally:
        follower.close()


def say_unmapped(source: Source, registry: Registry | None) -> None:
    """Report fields that cannot be features. This is only advice, so a failing registry does not stop the role."""
    try:
        for finding in unmapped(source, registry):
            say(f"{source.topic}: cannot be a feature: {finding}")
    except RegistryError as error:
        say(f"{source.topic}: unknown which fields cannot be features: {error}")


def run_intake(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Copy labels from external topics to the stream's own until told to stop; return the exit code."""
    sources = loaded.stream.labels.each_source
    if not sources:
        say(f"{loaded.path.name}: labels come from no other topic; Labels(sources=Source(topic=...)) names one")
        return FAILED
    cluster, names, topics = meet(loaded, settings)
    _require_sources(cluster, names)
    kept = state_alerts(cluster, names, INTAKE, instance)
    memory = TopicMemory(settings.state(names) / f"{INTAKE}-{instance}.json", written=kept.written)
    intake_settings = IntakeSettings(names, loaded.stream.target, spread_of(cluster, names, topics), new_epoch)
    registry = settings.schema_registry(say)
    mappings = [LabelMapping(source, decoder(source, registry)) for source in sources]
    intake = Intake(intake_settings, mappings, say=say, memory=memory)
    return drive(cluster, names, INTAKE, instance, intake, meter, kept)


def run_joiner(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Join until told to stop; return the exit code."""
    cluster, names, topics = meet(loaded, settings)
    spread = spread_of(cluster, names, topics)
    if not has_partitions(loaded, topics, spread, names.whole, names.topic("labels")):
        return FAILED
    before = joined_from(cluster, names)
    if before not in (None, names.whole) and not new_epoch:
        say(
            f"predictions were joined from {before} and are on {names.whole} now, because their form was changed "
            "(Predictions(format=…, features=…)): predictions that wait there for a label would never be joined. "
            f"Change the form back, or `millstream joiner {loaded.path} --new-epoch fresh` continues without them"
        )
        return FAILED
    joiner_settings = JoinerSettings(
        names, join_rules(loaded.stream), spread, loaded.stream.join.max_pending, new_epoch
    )
    return drive_join(cluster, loaded, settings, instance, joiner_settings, meter)


def run_learner(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: NewEpoch | None = None,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Learn with the model of `loaded` until told to stop; return the exit code."""
    cluster, names, _ = meet(loaded, settings)
    role = learner_of(loaded.model_id)
    stream = loaded.stream
    store = open_store(settings.models, settings.keys, sign=True)
    switch = PauseSwitch(loaded.model_id, say=say)
    checkpoints = MeasuredCheckpoints(
        store,
        definition_of(loaded),
        learning_rules(stream),
        stream.kept_versions,
        max_model_bytes=stream.checkpoints.max_bytes,
    )
    checkpoints.meter = meter or checkpoints.meter
    pace = CheckpointPace(*stream.checkpoints.pace(remote=is_object_store(settings.models)))
    learner_settings = LearnerSettings(names, pace, new_epoch, role=role, private=bool(stream.contract.private))
    learner = Learner(learner_settings, checkpoints, switch, say)
    with following(cluster, names, switch.follow) as current:
        return drive(cluster, names, role, instance, learner, meter) if current else TRY_AGAIN


def _require_sources(cluster: Cluster, names: Names) -> None:
    """Check that the external topics that labels come from exist. Raises MissingTopic if one does not."""
    found = cluster.topic_info(*names.labels_from)
    missing = [topic for topic in names.labels_from if topic not in found]
    if missing:
        raise MissingTopic(
            f"topic {missing[0]}, which labels of {names.stream} come from, does not exist on {cluster.bootstrap}: "
            f"{NOT_OURS}"
        )
