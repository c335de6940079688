"""Trace of one event: its records with offsets and times, and its answer computed again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consumers.model.river_model import Answer, wire_value
from consumers.model.version_loader import load_face
from millstream.reading import topic_readers
from millstream.version_code.choice import Policy, VersionCode
from millstream.versions.example_history import WHY, ExampleHistory
from model_store import ModelStore, NotFound, VersionId, VersionRefused
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.records import Partition, Record
from schemas.codec import CodecError
from schemas.contract import masked
from schemas.dead_letters import read_dead_letter
from schemas.events import Example, Outcome, Prediction, read_event, read_example, read_label, read_prediction
from schemas.model_names import is_named, name_of
from schemas.schema_registry import RegistryError
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.sources.message_fields import Unmapped
from schemas.topics import partition_of
from server.spool.folder import SOURCE

if TYPE_CHECKING:
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster
    from schemas.schema_registry import Registry
    from schemas.sources.source import Source
    from schemas.topics import Names

Row = dict[str, Any]
_WITH_LETTER = ("refused", "broke the model")


class NoSuchEvent(Exception):  # noqa: N818
    """No topic of the stream holds the event."""


@dataclass
class Trace:
    """The records found for one event; a missing part is `None` or an empty list.

    Attributes
    ----------
    learned
        The first version that has learned it.
    not_learned
        For each epoch that has read it and did not learn it: the epoch's first existing version, and the reason.
    models
        `learned` and `not_learned` of each other model of the stream, by its name.
    again
        The answer computed again by the same version from the same features. `equal` is true if it is the same to the
        last bit; `why` gives the reason if it could not be computed, `version` is absent if no version gave the answer.
        `carried` is true if the version's own code was run for it.
    """

    event_id: str
    features: Row | None = None
    predictions: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    examples: list[Row] = field(default_factory=list)
    learned: Row | None = None
    not_learned: list[Row] = field(default_factory=list)
    models: dict[str, Row] = field(default_factory=dict)
    again: Row | None = None


def trace(
    loaded: LoadedStream,
    cluster: Cluster,
    names: Names,
    store: ModelStore,
    event_id: str,
    registry: Registry | None = None,
    code: Policy = "version",
) -> Trace:
    """Follow an event through the topics and the model store; `registry` serves to decode external messages.

    The answer is computed again with the code that `code` chooses.

    Raises
    ------
    NoSuchEvent
        If no record of the event is found.
    """
    found, private = Trace(event_id), loaded.stream.contract.private
    with closing(cluster.consumer()) as consumer:
        search = _Search(consumer, names, event_id)
        first: Prediction | None = None
        since = 0
        for record, prediction in search.find("predictions", read_prediction, lambda each: each.event.event_id):
            used = {"features": masked(prediction.event.features, private)}
            found.predictions.append({**_place(record), **_outcome(prediction.outcome), **used})
            if first is None or (first.outcome.error is not None and prediction.outcome.error is None):
                first, since = prediction, since or record.timestamp  # a later answer may replace an error
        for record, label in search.find("labels", lambda data: read_label(data, default_time=0), lambda e: e.event_id):
            found.labels.append({**_place(record), "value": label.value, "kind": label.kind, "source": label.source})
        records: list[Record] = []
        for record, example in search.find("examples", read_example, lambda each: each.event.event_id, since):
            found.examples.append(_example(record, example, private))
            records.append(record)
        if first is not None:
            found.features = _sent(consumer, first.outcome, loaded.stream.features_source, registry)
            if found.features is not None and "features" in found.features:
                found.features["features"] = masked(found.features["features"], private)
        if records:
            topic_id = cluster.topic_info(records[0].topic)[records[0].topic].id
            to_read = VersionCode(loaded, store, code).to_read
            for model in store.models(names.stream):
                fates = _fates(search, ExampleHistory(store, model, topic_id, to_read), records)
                if is_named(model):
                    found.models[name_of(model)] = fates
                else:
                    found.learned, found.not_learned = fates["learned"], fates["not_learned"]
    if not (found.predictions or found.labels or found.examples):
        raise NoSuchEvent(
            f"no event {event_id!r} on {names.whole}, {names.topic('labels')} or "
            f"{names.topic('examples')}: `millstream predictions` shows the ids, and what retention took is gone"
        )
    if first is not None:
        found.again = computed_again(VersionCode(loaded, store, code), first)
    return found


class _Search:
    def __init__(self, consumer: Consumer, names: Names, event_id: str) -> None:
        self._consumer, self._names, self._event_id = consumer, names, event_id
        self._needle = event_id.encode()

    def find(
        self, kind: str, read: Callable[[bytes], Any], id_of: Callable[[Any], str], since_ms: int = 0
    ) -> Iterator[tuple[Record, Any]]:
        """Yield records of the event with their decoded content. Usually they are all in one partition."""
        topic = self._names.whole if kind == "predictions" else self._names.topic(kind)

        def means(record: Record) -> bool:
            try:
                return bool(id_of(read(record.value or b"")) == self._event_id)
            except CodecError:
                return False

        # If partitions were added since the stream began, the likely partition may be the wrong one.
        for record in topic_readers.holding(self._consumer, topic, self._partition, self._needle, since_ms, means):
            yield record, read(record.value or b"")

    def reason(self, record: Record) -> str | None:
        """Return the reason in the learner's dead letter of an example, if the letter still exists."""
        place = record.topic, record.partition, record.offset
        topic = self._names.topic("dead-letters")
        for each in topic_readers.holding(self._consumer, topic, lambda _: 0, self._needle, record.timestamp):
            try:
                letter = read_dead_letter(each.value or b"")
            except CodecError:
                continue
            # A topic that was created again has had other records at the same offsets.
            same_place = (letter.topic, letter.partition, letter.offset) == place
            if same_place and (record.value or b"").startswith(letter.value or b""):
                return letter.reason
        return None

    def _partition(self, count: int) -> int:
        return partition_of(self._event_id, count)


def _place(record: Record) -> Row:
    return {"topic": record.topic, **topic_readers.place_of(record)}


def _outcome(outcome: Outcome) -> Row:
    return {
        "prediction": outcome.prediction,
        "probabilities": outcome.probabilities,
        "version": outcome.version if outcome.epoch >= 0 else None,
        "status": outcome.status,
        "error": None if outcome.error is None else outcome.error.message,
    }


def _example(record: Record, example: Example, private: Collection[str]) -> Row:
    label = example.label
    return {
        **_place(record),
        "lane": example.lane.name,
        "sequence": example.lane.sequence,
        "label": None if label is None else label.value,
        "kind": None if label is None else label.kind,
        "features": masked(example.event.features, private),
    }


def _sent(consumer: Consumer, outcome: Outcome, source: Source | None, registry: Registry | None) -> Row | None:
    """Return the feature event as it was sent, if it still exists; an external one as it is mapped now.

    Of an event that came over HTTP only the features used are kept, with the answer.
    """
    if outcome.source_topic.startswith(SOURCE):
        told = {"topic": outcome.source_topic, "partition": outcome.source_partition, "offset": outcome.source_offset}
        return {**told, "timestamp": outcome.predicted_at, "over_http": True}
    place = Partition(outcome.source_topic, outcome.source_partition)
    if place.topic not in consumer.topics():
        return None
    begin = consumer.beginning_offsets([place])[place]
    if outcome.source_offset < begin:
        return None
    for record in topic_readers.between(consumer, place, outcome.source_offset, outcome.source_offset + 1):
        try:
            if source is not None and source.topic == record.topic:
                event = EventMapping(source, decoder(source, registry)).event(record)
            else:
                event = read_event(record.value or b"", default_time=record.timestamp)
        except (CodecError, Unmapped, RegistryError):
            return _place(record)
        return {**_place(record), "event_time": event.event_time, "features": event.features}
    return None


def _fates(search: _Search, history: ExampleHistory, records: list[Record]) -> Row:
    """Return the first version of a model that learned the example, and the epochs that did not, with the reason."""
    fates = history.fates(records)
    first_learned: Row | None = None
    rows: list[Row] = []
    learned = [each.version for each in fates if each.how == "learned"]
    if learned:
        first = min(learned, key=lambda each: each.created_at_ms)
        first_learned = {"version": str(first.version), "made": first.created_at_ms}
    not_learned = [each for each in fates if each.how != "learned"]
    reason = search.reason(records[0]) if any(each.how in _WITH_LETTER for each in not_learned) else None
    for each in not_learned:
        rows.append(
            {
                "epoch": each.version.version.epoch,
                "version": str(each.version.version),
                "made": each.version.created_at_ms,
                "how": each.how,
                "why": (reason if each.how in _WITH_LETTER else None) or WHY[each.how],
            }
        )
    return {"learned": first_learned, "not_learned": rows}


def computed_again(code: VersionCode, said: Prediction) -> Row:
    """Return whether the version gives the same answer to the same features again, or why that is unknown."""
    outcome = said.outcome
    if outcome.epoch < 0 or outcome.error is not None:
        return {"equal": None, "why": "it was answered with an error"}
    version = VersionId(outcome.model, outcome.epoch, outcome.examples)
    try:
        manifest = code.store.manifest(version)
        run_with = code.to_answer(manifest)
        face = load_face(code.store, manifest, run_with, code.loaded.stream.task)
    except NotFound:
        return {"equal": None, "version": str(version), "why": f"version {version} is gone by retention"}
    except VersionRefused as error:
        return {"equal": None, "version": str(version), "why": str(error)}
    try:
        answer = face.predict(dict(said.event.features))
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the exception is the result
        if outcome.examples > 0:
            why = f"the model raises now: {type(error).__name__}: {error}"
            return {"equal": False, "version": str(version), "why": why}
        answer = Answer(None, None)  # some untrained models raise, which means no prediction yet
    prediction, shares = wire_value(answer.value), answer.wire_probabilities()
    equal = (prediction, shares) == (outcome.prediction, outcome.probabilities)
    return {
        "equal": equal,
        "version": str(version),
        "prediction": prediction,
        "probabilities": shares,
        "carried": run_with.carried,
    }
