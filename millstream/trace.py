"""One event's way through the loop: where it stood, when, and the same answer computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from consumers.checkpoints import MODEL_FILE
from consumers.river_model import Answer, wire_value, wrap
from millstream import readers
from millstream.roles import definition_of
from model_store import Manifest, ModelStore, NotFound, Refused, StoreError, VersionId
from model_store.offsets import Offsets
from schemas.codec import CodecError
from schemas.events import Example, Outcome, Prediction, read_event, read_example, read_label, read_prediction
from schemas.mapping import EventMapping
from schemas.message import Unmapped
from schemas.reading import decoder
from schemas.registry import RegistryError
from schemas.topics import partition_of

if TYPE_CHECKING:
    from millstream.load import LoadedStream
    from schemas.cluster import Cluster
    from schemas.registry import Registry
    from schemas.source import Source
    from schemas.topics import Names

Row = dict[str, Any]


class NoSuchEvent(Exception):  # noqa: N818
    """No topic of the stream holds the event."""


@dataclass
class Trace:
    """What there is of one event; lists are empty, and `None` stands, where there is nothing.

    Attributes
    ----------
    learned
        The first version that has learned it.
    again
        The answer computed anew by the version that gave it from the features that it got: `equal` tells
        whether all of it is the same to the last bit; where it could not be computed, `why` not.
    """

    event_id: str
    features: Row | None = None
    predictions: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    examples: list[Row] = field(default_factory=list)
    learned: Row | None = None
    again: Row | None = None


def trace(
    loaded: LoadedStream,
    cluster: Cluster,
    names: Names,
    store: ModelStore,
    event_id: str,
    registry: Registry | None = None,
) -> Trace:
    """Follow an event through the topics and the model store; `registry` tells how messages of others are read.

    Raises
    ------
    NoSuchEvent
        Where nothing of it is found.
    """
    found = Trace(event_id)
    with closing(cluster.consumer()) as consumer:
        search = _Search(consumer, names, event_id)
        first: Prediction | None = None
        since = 0
        for record, prediction in search.find("predictions", read_prediction, lambda each: each.event.event_id):
            found.predictions.append({**_place(record), **_outcome(prediction.outcome)})
            if first is None:
                first, since = prediction, record.timestamp
        for record, label in search.find("labels", lambda data: read_label(data, default_time=0), lambda e: e.event_id):
            found.labels.append({**_place(record), "value": label.value, "kind": label.kind, "source": label.source})
        for record, example in search.find("examples", read_example, lambda each: each.event.event_id, since):
            found.examples.append(_example(record, example))
        if first is not None:
            found.features = _sent(consumer, first.outcome, loaded.stream.features_source, registry)
    if not (found.predictions or found.labels or found.examples):
        raise NoSuchEvent(
            f"no event {event_id!r} on {names.whole}, {names.topic('labels')} or "
            f"{names.topic('examples')}: `millstream predictions` shows the ids, and what retention took is gone"
        )
    if found.examples:
        found.learned = _learned(store, cluster, names, found.examples[0]["offset"])
    if first is not None:
        found.again = _again(loaded, store, first)
    return found


class _Search:
    def __init__(self, consumer: KafkaConsumer, names: Names, event_id: str) -> None:
        self._consumer, self._names, self._event_id = consumer, names, event_id
        self._needle = event_id.encode()

    def find(
        self, kind: str, read: Callable[[bytes], Any], id_of: Callable[[Any], str], since_ms: int = 0
    ) -> Iterator[tuple[ConsumerRecord, Any]]:
        """Yield records of the event with what they hold. An id's records are in one partition, but for strays."""
        topic = self._names.whole if kind == "predictions" else self._names.topic(kind)
        for record in readers.holding(self._consumer, topic, self._partition, self._needle, since_ms):
            try:
                value = read(record.value)
            except CodecError:
                continue
            if id_of(value) == self._event_id:
                yield record, value

    def _partition(self, count: int) -> int:
        return partition_of(self._event_id, count)


def _place(record: ConsumerRecord) -> Row:
    return {"topic": record.topic, **readers.place_of(record)}


def _outcome(outcome: Outcome) -> Row:
    return {
        "prediction": outcome.prediction,
        "probabilities": outcome.probabilities,
        "version": outcome.version if outcome.epoch >= 0 else None,
        "status": outcome.status,
        "error": None if outcome.error is None else outcome.error.message,
    }


def _example(record: ConsumerRecord, example: Example) -> Row:
    label = example.label
    return {
        **_place(record),
        "lane": example.lane.name,
        "sequence": example.lane.sequence,
        "label": None if label is None else label.value,
        "kind": None if label is None else label.kind,
        "features": example.event.features,
    }


def _sent(consumer: KafkaConsumer, outcome: Outcome, source: Source | None, registry: Registry | None) -> Row | None:
    """Return the feature event as it was sent, if it is still there; of somebody else's, as it is mapped now."""
    place = TopicPartition(outcome.source_topic, outcome.source_partition)
    if place.topic not in consumer.topics():
        return None
    begin = consumer.beginning_offsets([place])[place]
    if outcome.source_offset < begin:
        return None
    for record in readers.between(consumer, place, outcome.source_offset, outcome.source_offset + 1):
        try:
            if source is not None and source.topic == record.topic:
                event = EventMapping(source, decoder(source, registry)).event(record)
            else:
                event = read_event(record.value or b"", default_time=record.timestamp)
        except (CodecError, Unmapped, RegistryError):
            return _place(record)
        return {**_place(record), "event_time": event.event_time, "features": event.features}
    return None


def _learned(store: ModelStore, cluster: Cluster, names: Names, offset: int) -> Row | None:
    """Return the first version that knows the log beyond `offset`, and did not skip what is there."""
    topic = names.topic("examples")
    topic_id = cluster.topic_info(topic)[topic].id
    first: Manifest | None = None
    for version in store.versions(names.stream):
        try:
            manifest = store.manifest(version)
            learned_from_it = store.is_log(manifest, topic_id)
        except StoreError:
            continue
        knows = learned_from_it and manifest.offset > offset and offset not in Offsets(manifest.skipped)
        if knows and (first is None or manifest.created_at_ms < first.created_at_ms):
            first = manifest
    return None if first is None else {"version": str(first.version), "made": first.created_at_ms}


def _again(loaded: LoadedStream, store: ModelStore, said: Prediction) -> Row:
    outcome = said.outcome
    version = VersionId(outcome.model, outcome.epoch, outcome.examples)
    if outcome.epoch < 0 or outcome.error is not None:
        return {"equal": None, "why": "it was answered with an error"}
    try:
        manifest = store.manifest(version)
        model = store.load(manifest, MODEL_FILE, extra_allowed=definition_of(loaded).allowed)
    except NotFound:
        return {"equal": None, "why": f"version {version} is gone by retention"}
    except Refused as error:
        return {"equal": None, "why": str(error)}
    try:
        answer = wrap(model, loaded.stream.task).predict(dict(said.event.features))
    except Exception as error:  # noqa: BLE001 - a model may raise anything; that is the finding
        if outcome.examples > 0:
            return {"equal": False, "why": f"the model raises now: {type(error).__name__}: {error}"}
        answer = Answer(None, None)  # untrained, some models raise: no prediction yet
    prediction, shares = wire_value(answer.value), answer.wire_probabilities()
    equal = (prediction, shares) == (outcome.prediction, outcome.probabilities)
    return {"equal": equal, "version": str(version), "prediction": prediction, "probabilities": shares}
