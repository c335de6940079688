"""Rules of each processor from the stream file: reading events, joining labels, learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from consumers.joiner.join import JoinRules
from consumers.model.model_state import LearningRules
from consumers.model.version_files import Definition
from consumers.predictor.prediction_records import Form
from consumers.predictor.predictor import PredictorSettings
from millstream.stream.code_object import decode
from millstream.stream.definition_hash import changes
from millstream.stream.load import LoadedStream
from millstream.stream.stream import Stream
from runtime.kafka_client.cluster import TopicInfo
from schemas.label_spelling import ByClass
from schemas.public_predictions import CONTENT_TYPES, encoder
from schemas.schema_registry import Registry
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.topics import Names

HALF: Final = 32
"""Number of characters of the contract's hash in a definition, and of the target's hash."""


def predictor_settings(
    stream: Stream,
    names: Names,
    topics: dict[str, TopicInfo],
    new_epoch: bool = False,
    registry: Registry | None = None,
    *,
    spread: int | None = None,
) -> PredictorSettings:
    """Return the settings for reading and answering a stream's events.

    `topics` are those on the cluster; event ids are spread over `spread` partitions, by default over all.
    """
    source = stream.features_source
    public = names.topic("predictions")
    encode = encoder(
        stream.predictions.format,
        features=stream.predictions.features,
        registry=registry,
        subject=f"{public}-value",
    )
    form = Form(
        partitions=topics[public].partitions,
        encode=encode if names.public else None,
        content_type=CONTENT_TYPES[stream.predictions.format],
        cloudevents=stream.predictions.cloudevents,
    )
    return PredictorSettings(
        names,
        stream.contract,
        spread or topics[names.whole].partitions,
        new_epoch,
        mapping=event_mapping(stream, registry),
        start="beginning" if source is None else source.start,
        form=form,
        prepare=stream.prepare,
    )


def event_mapping(stream: Stream, registry: Registry | None) -> EventMapping | None:
    """Return the mapping of a stream's events if they are on an external topic, otherwise `None`."""
    source = stream.features_source
    return None if source is None else EventMapping(source, decoder(source, registry))


def learning_rules(stream: Stream) -> LearningRules:
    """Return the learning rules of a stream's model."""
    return LearningRules(
        target=stream.target,
        contract=stream.seen,
        make_model=stream.model,
        make_metrics=None if stream.evaluation.metrics is None else lambda: _as_list(stream.evaluation.metrics),
        window=stream.evaluation.window,
        learn_from_events=stream.learn_from == "events",
    )


def _as_list(make: Callable[[], Any] | None) -> Iterable[Any]:
    """Return the metrics as a list: River's sum of metrics is one, a single metric is not."""
    made = make() if make is not None else []
    return list(made) if isinstance(made, Iterable) else [made]


def join_rules(stream: Stream) -> JoinRules:
    """Return the join rules of a stream's labels."""
    weight = stream.weight
    on_timeout = None if stream.labels.on_timeout is None else stream.target.coerce(stream.labels.on_timeout)
    return JoinRules(
        target=stream.target,
        label_wait=stream.labels.wait_ms,
        dedup_window=stream.dedup_window_ms,
        on_timeout=on_timeout,
        learn_from_events=stream.learn_from == "events",
        weights=None if weight is None or callable(weight) else ByClass(weight),
        weight_of=weight if callable(weight) else None,
        private=bool(stream.contract.private),
    )


def definition_of(loaded: LoadedStream) -> Definition:
    """Return the definition for versions of this stream."""
    stream = loaded.stream
    contract = f"{stream.seen.fingerprint()[:HALF]}{stream.target.fingerprint()[:HALF]}"

    def differs(code: bytes) -> list[str]:
        return changes(decode(code).definition, loaded.definition_text)

    return Definition(loaded.model_id, loaded.definition, contract, loaded.allowed, loaded.find, loaded.code, differs)
