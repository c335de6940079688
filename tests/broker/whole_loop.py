"""A whole stream in this process: the real roles' processors in the real loop, on a real Kafka, as threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from consumers.intake.intake import Intake, IntakeSettings
from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import DiskStore
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.loop.loop import Loop, LoopSettings
from consumers.loop.processor import Processor
from consumers.model.checkpoints import Definition, LearnerCheckpoints, NewEpoch
from consumers.predictor.model_feed import ModelsTopic, PauseSwitch, VersionFeed
from consumers.predictor.predictor import Predictor
from millstream import Stream
from millstream.config.settings import Settings
from millstream.status.group_metadata import spread_of
from millstream.stream.processor_rules import join_rules, learning_rules, predictor_settings
from millstream.topics import admin
from model_store import ModelStore, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.events import Event, Example, Label, LabelValue, Prediction, read_example, read_prediction
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.topics import Names, partition_of

PARTITIONS = 2


@dataclass(frozen=True)
class WholeLoop:
    """Sends events and labels, and reads what became of them."""

    stream: Stream
    cluster: Cluster
    names: Names
    store: ModelStore
    producer: Any
    raised: list[BaseException]
    grown: dict[str, int] = field(default_factory=dict)

    def grow(self, **counts: int) -> None:
        """Add partitions, by kind, so that there are so many."""
        with raw_admin(self.cluster) as admin:
            admin.create_partitions({self.names.topic(kind): count for kind, count in counts.items()})
        self.grown.update(counts)

    def knows_partitions(self) -> bool:
        """Tell whether the client has heard of those that were added: to others it sends nothing."""
        known = {kind: self.producer.partitions_for(self.names.topic(kind)) for kind in self.grown}
        return all(len(known[kind]) == count for kind, count in self.grown.items())

    def event(self, event_id: str, features: dict[str, Any]) -> None:
        made = Event(event_id, _now(), features)
        self._send("features", event_id, made.encode())

    def label(self, event_id: str, value: LabelValue) -> None:
        self._send("labels", event_id, Label(event_id, value, _now()).encode())

    def _send(self, kind: str, event_id: str, value: bytes) -> None:
        number = partition_of(event_id, self.grown.get(kind, PARTITIONS))
        self.producer.send(self.names.topic(kind), value, event_id.encode(), partition=number)

    def predictions(self) -> list[Prediction]:
        return [read_prediction(record.value) for record in self.records(self.names.whole)]

    def examples(self) -> list[Example]:
        return [read_example(record.value) for record in self.records(self.names.topic("examples"))]

    def records(self, topic: str) -> Iterator[Any]:
        """Yield what a topic holds, each partition in its order."""
        consumer = raw_consumer(self.cluster, group_id=None)
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for records in consumer.poll(timeout_ms=200).values():
                    yield from records
        finally:
            consumer.close(autocommit=False)

    def learned(self) -> int:
        """Return how many examples the newest version has learned; -1 without a version."""
        versions = self.store.versions(self.stream.name)
        return versions[-1].examples if versions else -1

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 45) -> None:
        self.producer.flush()
        deadline = time.monotonic() + seconds
        while not condition():
            if self.raised:
                raise self.raised[0]
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.1)


@contextmanager
def whole_loop(
    stream: Stream,
    bootstrap: str,
    prefix: str,
    home: Path,
    new_epoch: NewEpoch | None = None,
    *,
    definition: Definition | None = None,
    models: str | None = None,
) -> Iterator[WholeLoop]:
    """Run predictor, joiner and learner of a stream until the block ends; what they raised is raised then.

    Parameters
    ----------
    definition, models
        Those that commands know the stream by, and find its versions at, where commands are run beside the loop.
    """
    cluster = Cluster(bootstrap)
    names = Settings(home=home, bootstrap=bootstrap, prefix=prefix).names(stream)
    admin.create(cluster, names, partitions=PARTITIONS, label_wait_ms=stream.labels.wait_ms)
    store = open_store(models or str(home / "models"), home / "keys", sign=True)
    definition = definition or Definition(stream.name, "definition", "contract")
    feed, switch = VersionFeed(store, definition, stream.task), PauseSwitch(stream.name)
    followers = [ModelsTopic(cluster, names.topic("models"), follow) for follow in (feed.follow, switch.follow)]
    checkpoints = LearnerCheckpoints(store, definition, learning_rules(stream), stream.checkpoints.keep)
    pace = CheckpointPace(*stream.checkpoints.pace())
    topics = cluster.topic_info(*(names.topic(kind) for kind in names.kinds))
    spread = spread_of(cluster, names, topics)
    joiner_settings = JoinerSettings(names, join_rules(stream), spread, stream.join.max_pending)
    processors: dict[str, Processor] = {
        "predictor": Predictor(predictor_settings(stream, names, topics, spread=spread), feed),
        "joiner": Joiner(joiner_settings, DiskStore(home / "joiner")),
        "learner": Learner(LearnerSettings(names, pace, new_epoch), checkpoints, switch),
    }
    if stream.labels.each_source:
        mappings = [LabelMapping(source, decoder(source)) for source in stream.labels.each_source]
        processors["intake"] = Intake(IntakeSettings(names, stream.target, spread), mappings)
    for follower in followers:
        follower.start()
        assert follower.wait_until_current(20)
    producer = raw_producer(cluster, linger_ms=5, metadata_max_age_ms=500)
    raised: list[BaseException] = []
    try:
        with _loops(cluster, names, processors, raised):
            yield WholeLoop(stream, cluster, names, store, producer, raised)
    finally:
        producer.close()
        for follower in followers:
            follower.close()
    if raised:
        raise raised[0]


@contextmanager
def _loops(
    cluster: Cluster, names: Names, processors: dict[str, Processor], raised: list[BaseException]
) -> Iterator[None]:
    def run(loop: Loop) -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            raised.append(error)

    loops = [
        Loop(cluster, LoopSettings(names.group(role), names.process(role, "0")), processor)
        for role, processor in processors.items()
    ]
    threads = [threading.Thread(target=run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.stop()
        for thread in threads:
            thread.join(20)


def _now() -> int:
    return time.time_ns() // 1_000_000
