"""What must hold of a stream after any faults: nothing lost, nothing twice, every version a function of the log."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import TopicPartition
from raw_kafka import raw_consumer
from river import evaluate, metrics

from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.model_state import LearnerState
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import learning_rules
from model_store import Manifest, VersionId, open_store
from model_store.offset_runs import Offsets
from runtime.kafka_client.cluster import Cluster
from schemas.events import Example, Prediction, read_example, read_prediction
from schemas.topics import Names


@dataclass(frozen=True)
class Stream:
    """Where the stream under test is."""

    ref: str
    bootstrap: str
    prefix: str
    home: Path

    @property
    def models(self) -> Path:
        return self.home / "models" / self.prefix

    def environment(self) -> dict[str, str]:
        """Return what a command is told of it."""
        return {
            **os.environ,
            "MILLSTREAM_HOME": str(self.home),
            "MILLSTREAM_BOOTSTRAP": self.bootstrap,
            "MILLSTREAM_PREFIX": self.prefix,
            "PYTHONHASHSEED": "0",
            "MILLSTREAM_LOG_FORMAT": "text",  # what roles say is read here as people read it
        }

    @property
    def names(self) -> Names:
        stream = load_stream(self.ref).stream
        return Names(stream.name, self.prefix, models=tuple(stream.named), batch=tuple(stream.batch))


def read_all(bootstrap: str, topic: str) -> Iterator[Any]:
    """Yield every committed record of a topic, partition by partition, up to its present end."""
    consumer = raw_consumer(Cluster(bootstrap), group_id=None)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        ends = consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            while consumer.position(partition) < ends[partition]:
                yield from consumer.poll(timeout_ms=500).get(partition, ())
    finally:
        consumer.close(autocommit=False)


def predictions(stream: Stream) -> list[Prediction]:
    return [read_prediction(r.value) for r in read_all(stream.bootstrap, stream.names.topic("predictions"))]


def examples(stream: Stream) -> list[tuple[int, Example]]:
    return [(r.offset, read_example(r.value)) for r in read_all(stream.bootstrap, stream.names.topic("examples"))]


def assert_once(ids: Iterator[str] | list[str], expected: set[str], what: str) -> None:
    """0 lost, 0 twice."""
    got = Counter(ids)
    twice = {event_id: count for event_id, count in got.items() if count > 1}
    assert not twice, f"{what} twice: {twice}"
    assert set(got) == expected, f"{what}: {len(expected - set(got))} lost, {len(set(got) - expected)} unknown"


def assert_versions_are_functions_of_the_log(stream: Stream, most: int = 200) -> Manifest:
    """Chain and fingerprint of every version equal an offline replay from version 0; return the newest."""
    loaded = load_stream(stream.ref)
    store = open_store(stream.models, stream.home / "keys", sign=False)
    rules = learning_rules(loaded.stream)
    definition = Definition(loaded.stream.name, loaded.definition, "", loaded.allowed)
    checkpoints = LearnerCheckpoints(store, definition, rules, loaded.stream.checkpoints.keep)
    versions = store.versions(loaded.stream.name)[-most:]
    learning = checkpoints.load(store.manifest(VersionId(loaded.stream.name, 1, 0)))
    log = examples(stream)
    read = 0
    newest: Manifest | None = None
    for version in versions:
        newest = store.manifest(version)
        while read < len(log) and log[read][0] < newest.offset:
            learning.apply(log[read][1], log[read][0], log[read][0] in Offsets(newest.skipped))
            read += 1
        assert learning.learned == version.examples
        assert newest.chain == learning.chain.hex(), f"version {version} learned something else than the log says"
        assert newest.fingerprint == learning.fingerprint(), f"version {version} answers otherwise than its replay"
    assert newest is not None
    assert_progressive_metrics_are_rivers(newest, loaded.stream.model(), log, learning)
    return newest


def assert_progressive_metrics_are_rivers(
    newest: Manifest, model: Any, log: list[tuple[int, Example]], learning: LearnerState
) -> None:
    """River's own evaluation over the log, in its order, gives the version's numbers to the last digit."""
    rows = [
        (example.event.features, example.label.value)
        for offset, example in log
        if offset < newest.offset and example.label is not None and example.label.kind == "label"
    ]
    fresh = [getattr(metrics, name)() for name in newest.metrics["progressive"]["all"]]
    total = metrics.base.Metrics(fresh)
    evaluate.progressive_val_score(rows, model, total)
    assert newest.metrics["progressive"]["all"] == {type(metric).__name__: metric.get() for metric in fresh}
