"""Properties of a stream in its groups' offset metadata: external topics, the topic of predictions.

A command that has only the stream's name finds them there, on any machine, once the roles have committed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing

from consumers.joiner.offset_metadata import JoinerMetadata
from consumers.loop.log_faults import short_ids
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.roles import INTAKE, JOINER, MONITOR, NOTIFIER, PREDICTOR, REFEREE, SHADOW, TRAINER
from consumers.shadow.offset_metadata import ShadowMetadata
from consumers.trainer.offset_metadata import TrainerMetadata
from millstream.reading import topic_readers
from runtime.kafka_client.client import Admin
from runtime.kafka_client.cluster import Cluster, KafkaAccessDenied, TopicInfo
from runtime.kafka_client.coordinator import patiently
from runtime.kafka_client.errors import NotAuthorizedError
from runtime.kafka_client.records import Partition
from schemas.codec import CodecError
from schemas.model_names import is_named, name_of, stream_of
from schemas.model_updates import Published, read_model_update
from schemas.topics import ANSWERS, COMPARISONS, KINDS, METRICS, Names


def recalled(cluster: Cluster, names: Names) -> Names:
    """Return `names` completed from the stream's groups; unchanged if they are complete.

    Raises
    ------
    KafkaError, NoBroker
        If the cluster does not answer.
    """
    if names.elsewhere or names.public or names.labels_from or names.models:
        return names
    with cluster.admin() as admin:
        read = _newest(_committed(admin, names.group(PREDICTOR)))
        joined = _committed(admin, names.group(JOINER))
        taken_in = _committed(admin, names.group(INTAKE))
        promotes = bool(_committed(admin, names.group(REFEREE)))
        notifies = bool(_committed(admin, names.group(NOTIFIER)))
        shadowed = _committed(admin, names.group(SHADOW))
        trained = _committed(admin, names.group(TRAINER))
        watched = {topic for topic, _ in _committed(admin, names.group(MONITOR))}
    elsewhere = {} if read in (None, names.topic("features")) else {"features": str(read)}
    public = _joined(names, joined) == names.topic(ANSWERS)
    labels_from = tuple(sorted({topic for topic, _ in taken_in}))
    models = _shadowed_models(shadowed) or announced_models(cluster, names)
    return dataclasses.replace(
        names,
        elsewhere=elsewhere,
        public=public,
        labels_from=labels_from,
        models=tuple(dict.fromkeys((*models, *(batch := _batch_models(trained))))),
        batch=batch,
        promotes=promotes,
        notifies=notifies,
        takes_metrics=names.topic(METRICS) in watched,
        metrics_from=tuple(sorted(watched - {names.whole, *map(names.topic, (*KINDS, ANSWERS, METRICS))})),
    )


def _shadowed_models(notes: Mapping[tuple[str, int], str]) -> tuple[str, ...]:
    """Return the names of the stream's other models by the file that the shadow role has; empty if it never ran."""
    told = [ShadowMetadata.decode(note) for note in notes.values()]
    models = dict.fromkeys(model for note in told if note is not None for model in note.models)
    return tuple(name_of(model) for model in models if is_named(model))


def _batch_models(notes: Mapping[tuple[str, int], str]) -> tuple[str, ...]:
    """Return the names of the stream's batch models by the file that the trainer has; empty if it never ran."""
    told = [TrainerMetadata.decode(note) for note in notes.values()]
    return tuple(dict.fromkeys(model for note in told if note is not None for model in note.models))


def with_former_models(cluster: Cluster, names: Names) -> Names:
    """Return the names with those of models that the stream has had and that its file no longer has."""
    models = dict.fromkeys((*names.models, *announced_models(cluster, names)))
    return dataclasses.replace(names, models=tuple(models))


def announced_models(cluster: Cluster, names: Names) -> tuple[str, ...]:
    """Return the names of the other models that have ever announced a version."""
    try:
        if not cluster.topic_info(names.topic(COMPARISONS)):
            return ()
    except KafkaAccessDenied:
        return ()  # whose stream has one model needs no right to a topic that it does not have
    topic, found = names.topic("models"), dict[str, None]()
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            try:
                state = read_model_update(record.value or b"").state
            except CodecError:
                continue
            if isinstance(state, Published) and is_named(state.model) and stream_of(state.model) == names.stream:
                found[name_of(state.model)] = None
    return tuple(found)


def _committed(admin: Admin, group: str) -> Mapping[tuple[str, int], str]:
    """Return a group's offset metadata by topic and partition; empty if the user may not see the group."""
    try:
        found = patiently(lambda: admin.list_group_offsets(group))
    except NotAuthorizedError:
        return {}
    return {(at.topic, at.partition): place.metadata for at, place in found.items()}


def _newest(notes: Mapping[tuple[str, int], str]) -> str | None:
    """Return the topic that predictors read last: the one whose served version began to serve last."""
    read = sorted((_since(note), topic) for (topic, _), note in notes.items())
    return read[-1][1] if read else None


def _since(text: str) -> int:
    told = PredictorMetadata.decode(text)
    return (told.since_ms or 0) if told is not None else 0


def joined_from(cluster: Cluster, names: Names) -> str | None:
    """Return the topic of whole predictions that the joiner read last; `None` if it never read one."""
    with cluster.admin() as admin:
        return _joined(names, _committed(admin, names.group(JOINER)))


def _joined(names: Names, notes: Mapping[tuple[str, int], str]) -> str | None:
    """Return the topic whose metadata equals that of labels: the joiner writes the same to both its inputs."""
    labels = names.topic("labels")
    whole = [names.topic(kind) for kind in (ANSWERS, "predictions")]
    for (topic, partition), note in sorted(notes.items()):
        if topic in whole and note == notes.get((labels, partition)):
            return topic
    return None


# --- over how many partitions event ids are spread ------------------------------------------------


def spread_of(cluster: Cluster, names: Names, topics: Mapping[str, TopicInfo]) -> int:
    """Return the number of partitions of predictions and of labels that event ids are spread over.

    It is the partition count at the time when the stream began. Added partitions do not change it, because an id's
    prediction may come before the addition and its label after. Joiner and predictors store it in their offset
    metadata. Without metadata, and if the user may see neither group, the present partition count is used.

    Parameters
    ----------
    topics
        Topics on the cluster, including predictions and labels.
    """
    with cluster.admin() as admin:
        joined = _committed(admin, names.group(JOINER))
        answered = _committed(admin, names.group(PREDICTOR))
    whole = topics[names.whole]
    count = min(whole.partitions, topics[names.topic("labels")].partitions)
    places = {number: JoinerMetadata.decode(note) for (topic, number), note in joined.items() if topic == names.whole}
    same = {number: at for number, at in places.items() if at is not None and at.each[0] == short_ids(whole.id)}
    noted = max((each.spread for each in same.values()), default=0)
    if noted == 0:
        noted = min(max(map(_spread, answered.values()), default=0), count)
    if noted == 0 and len(same) < count:
        # Metadata older than this field: the group has an offset in each original partition. If the added partitions
        # hold predictions, they are in use too.
        noted = 0 if _has_more(cluster, names.whole, range(len(same), whole.partitions)) else len(same)
    return noted or count


def _spread(text: str) -> int:
    told = PredictorMetadata.decode(text)
    return max(0, told.spread) if told is not None else 0


def _has_more(cluster: Cluster, topic: str, numbers: range) -> bool:
    """Return whether any of these partitions has records."""
    with closing(cluster.consumer()) as consumer:
        return any(consumer.end_offsets([Partition(topic, number) for number in numbers]).values())
