"""Preview of events as sent, as mapped and as answered; it writes nothing: `millstream preview`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from consumers.model.river_model import wire_value
from consumers.predictor.feature_requests import Questions, Unanswerable
from consumers.predictor.model_feed import ModelsTopic, VersionFeed
from consumers.predictor.predictor import ask
from millstream.processes.model_process_main import starter
from millstream.reading import topic_readers
from millstream.stream.processor_rules import definition_of
from millstream.version_code.choice import Policy, VersionCode
from model_store import open_store
from runtime.kafka_client.cluster import MissingTopic
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.contract import MASK, masked
from schemas.sources.decoding import Decode, decoder
from schemas.sources.event_mapping import EventMapping
from schemas.topics import NOT_OURS

if TYPE_CHECKING:
    from consumers.predictor.predictor import ServedVersion
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from runtime.kafka_client.cluster import Cluster

_LOAD_SECONDS: Final = 30.0


def preview(
    loaded: LoadedStream,
    settings: Settings,
    cluster: Cluster,
    version: ServedVersion | None,
    count: int,
    *,
    newest: bool = False,
) -> Iterator[topic_readers.Row]:
    """Yield a row for each of the first (or the newest) events of the stream's features topic.

    Each row has the record's partition, offset and key, ``raw`` (its text), ``message`` (decoded), ``event_id``,
    ``event_time`` and ``features`` (as the model gets them), ``prediction``, ``probabilities``, ``version``; and
    ``error`` if the event would be answered with one.

    Parameters
    ----------
    version
        The version that answers; without one the events are only mapped.

    Raises
    ------
    MissingTopic
        If there is no such topic.
    """
    stream, names = loaded.stream, settings.names(loaded.stream)
    source = stream.features_source
    decode = None if source is None else decoder(source, settings.schema_registry())
    mapping = None if source is None or decode is None else EventMapping(source, decode)
    questions = Questions(stream.contract, mapping, lambda: time.time_ns() // 1_000_000, stream.prepare)
    topic, private = names.topic("features"), stream.contract.private
    if source is not None and topic not in cluster.topic_info(topic):
        raise MissingTopic(f"there is no topic {topic}: {NOT_OURS}")
    for record in topic_readers.records(cluster, topic, count, newest=newest):
        row = {
            **topic_readers.place_of(record),
            "key": topic_readers.text_of(record.key),
            "raw": MASK if private else topic_readers.text_of(record.value),
        }
        if decode is not None and not private:
            row["message"] = _message(decode, record)
        answer = _answer(record, questions, version)
        if answer["features"] is not None:
            answer["features"] = masked(answer["features"], private)
        yield row | answer


@contextmanager
def serving(
    loaded: LoadedStream, settings: Settings, cluster: Cluster, code: Policy = "version"
) -> Iterator[ServedVersion | None]:
    """Yield the serving version, loaded as a predictor loads it; `None` if no version can be served yet."""
    names = settings.names(loaded.stream)
    if names.topic("models") not in cluster.topic_info(names.topic("models")):
        yield None  # an external topic can be previewed before the stream has topics of its own
        return
    store = open_store(settings.models, settings.keys, sign=False)
    choose = VersionCode(loaded, store, code, _say).to_answer
    start = starter(loaded, settings, choose)
    feed = VersionFeed(store, definition_of(loaded), loaded.stream.task, say=_say, start_process=start, choose=choose)
    follower = ModelsTopic(cluster, names.topic("models"), feed.follow, _say)
    follower.start()
    try:
        follower.wait_until_current(_LOAD_SECONDS)
        yield feed.newest()
    finally:
        follower.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _message(decode: Decode, record: Record) -> Any:
    try:
        return decode(record.value or b"", record.headers)
    except CodecError:
        return None  # the row's field `error` gives the reason


def _answer(record: Record, questions: Questions, version: ServedVersion | None) -> topic_readers.Row:
    asked = questions.ask(record)
    event, failure = asked.event, asked.failure
    row: topic_readers.Row = {
        "event_id": None if event is None else event.event_id,
        "event_time": None if event is None else event.event_time,
        "features": asked.used,
        "prediction": None,
        "probabilities": None,
        "version": None if version is None else f"{version.epoch}/{version.examples}",
    }
    if version is not None and asked.used is not None:
        try:
            answer = ask(version, asked.used)
            row |= {"prediction": wire_value(answer.value), "probabilities": answer.wire_probabilities()}
        except Unanswerable as error:
            failure = error.code, str(error)
    return row | {"error": None if failure is None else {"code": failure[0], "message": failure[1]}}
