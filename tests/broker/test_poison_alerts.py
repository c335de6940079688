"""A poisoned record on a real Kafka: answered or not, it ends among the dead letters, alerts, and harms no version."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from river import linear_model, preprocessing
from whole_loop import WholeLoop, whole_loop

from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.verify import verify
from millstream import Stream
from millstream.reading import topic_readers
from millstream.status.snapshot import Observer
from millstream.stream.processor_rules import learning_rules
from runtime.kafka_client.records import Partition

POISON: dict[str, Any] = {"far": 1e12, "infinite": float("inf"), "text": "n/a"}


def ordinary(count: int, first: int = 0) -> Iterator[tuple[str, dict[str, Any], bool]]:
    rng = random.Random(first)
    for number in range(first, first + count):
        label = rng.random() > 0.5
        yield f"e{number}", {"a": rng.gauss(2.0 if label else -2.0, 1.0), "b": rng.random()}, label


def send(loop: WholeLoop, rows: Iterator[tuple[str, dict[str, Any], bool]]) -> None:
    for event_id, features, label in rows:
        loop.event(event_id, features)
        loop.label(event_id, label)


def test_poison_alerts_is_left_out_and_what_comes_after_is_learned(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    stream = Stream(
        name="poisoned",
        task="binary",
        model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    )
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        send(loop, ordinary(300))
        loop.wait_until(lambda: loop.learned() == 300, "the first are learned")
        send(loop, ((event_id, {"a": value, "b": 0.5}, True) for event_id, value in POISON.items()))
        send(loop, ordinary(2200, first=300))
        loop.wait_until(lambda: loop.learned() == 2500, "the others are learned")
        letters = list(topic_readers.read(loop.cluster, loop.names, "dead-letters"))
        with Observer(loop.cluster, loop.names) as observer:
            loop.wait_until(lambda: not observer.look().alerts, "the alerts clear")
        alerts = list(topic_readers.read(loop.cluster, loop.names, "alerts"))
        assert_verified(loop)
    # An untrained version answers anything, and then it is the learner that refuses the text.
    assert {row["code"] for row in letters} in ({"infinite", "model"}, {"infinite", "type", "model"})
    assert len(letters) == len(POISON)
    assert ["1000000000000" in row["reason"] for row in letters if row["stage"] == "learner"].count(True) == 1
    raised = {(row["name"], row["severity"]) for row in alerts if row["state"] == "raised"}
    assert raised - {("learner.refused", "warning")} == {("learner.poison", "critical")}


def assert_verified(loop: WholeLoop) -> None:
    """The newest version is what the log says: without what it was better without."""
    definition = Definition(loop.stream.name, "definition", "contract")
    checkpoints = LearnerCheckpoints(loop.store, definition, learning_rules(loop.stream), loop.stream.checkpoints.keep)
    versions = loop.store.versions(loop.stream.name)
    first, newest = loop.store.manifest(versions[0]), loop.store.manifest(versions[-1])
    assert len(newest.skipped) == 1
    consumer = loop.cluster.consumer()
    try:
        place = Partition(loop.names.topic("examples"), 0)
        records = list(topic_readers.between(consumer, place, 0, newest.offset))
    finally:
        consumer.close()
    assert verify(checkpoints, newest, first, records).holds
