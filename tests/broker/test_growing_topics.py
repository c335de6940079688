"""Partitions that are added to a real Kafka's topics, while the roles are down and while they run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
from kafka.structs import OffsetAndMetadata, TopicPartition
from raw_kafka import raw_admin, raw_producer
from river import linear_model, preprocessing
from whole_loop import PARTITIONS, WholeLoop, whole_loop

from millstream import Checkpoints, Stream
from millstream.reading.topic_readers import holding
from millstream.status.group_metadata import spread_of
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Record
from schemas.events import read_prediction
from schemas.topics import Names, partition_of

STREAM = Stream(
    name="grown",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    checkpoints=Checkpoints(every="1s"),
)
SINGLE = ("examples", "models", "alerts", "dead-letters")


def ask(loop: WholeLoop, numbers: range) -> None:
    for number in numbers:
        loop.event(f"e{number}", {"x": number % 7})


def tell(loop: WholeLoop, numbers: range) -> None:
    for number in numbers:
        loop.label(f"e{number}", number % 7 > 3)


def joined(loop: WholeLoop, count: int) -> Callable[[], bool]:
    return lambda: {each.event.event_id for each in loop.examples()} == {f"e{number}" for number in range(count)}


def test_every_label_finds_its_prediction_and_no_role_ends(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    with whole_loop(STREAM, bootstrap, prefix, tmp_path) as loop:
        ask(loop, range(40))
        tell(loop, range(40, 60))
        loop.wait_until(lambda: len(loop.predictions()) == 40, "40 answers")
        tell(loop, range(20))
        loop.wait_until(joined(loop, 20), "the first 20 to be joined")
    loop.grow(features=5, predictions=5, labels=5, **dict.fromkeys(SINGLE, 3))
    with whole_loop(STREAM, bootstrap, prefix, tmp_path) as again:
        again.grown.update(loop.grown)
        tell(again, range(20, 40))
        ask(again, range(40, 60))
        again.wait_until(joined(again, 60), "what came before and after to be joined")
        ask(again, range(60, 80))
        again.wait_until(lambda: len(again.predictions()) == 80, "80 answers")
        again.grow(features=6, predictions=6, labels=9)
        again.wait_until(again.knows_partitions, "the sender to know the partitions")
        tell(again, range(60, 100))
        ask(again, range(80, 100))
        again.wait_until(joined(again, 100), "what is sent while they run to be joined")
        again.wait_until(lambda: again.learned() == 100, "all to be learned")
    assert len(again.examples()) == len(again.predictions()) == 100
    with closing(loop.cluster.consumer()) as consumer:
        place = {each.event.event_id: each.outcome.source_offset for each in again.predictions()}
        found = holding(consumer, loop.names.whole, lambda count: partition_of("e5", count), b"e5", 0, _is_e5)
        assert [read_prediction(record.value or b"").outcome.source_offset for record in found] == [place["e5"]]
    found = admin.describe(loop.cluster, loop.names, partitions=PARTITIONS, label_wait_ms=STREAM.labels.wait_ms)
    assert {each.topic: each.severity for each in found.findings if "partitions" in each.message} == {
        loop.names.topic(kind): "warning" for kind in ("predictions", *SINGLE)
    }


def test_how_ids_are_spread_is_found_in_streams_that_did_not_note_it(bootstrap: str, prefix: str) -> None:
    cluster, names = Cluster(bootstrap), Names("old", prefix)
    admin.create(cluster, names, partitions=4, label_wait_ms=1)
    predictions, labels = names.topic("predictions"), names.topic("labels")

    def spread() -> int:
        return spread_of(cluster, names, cluster.topic_info(predictions, labels))

    assert spread() == 4, "nobody has begun"
    _commit(cluster, names.group("predictor"), names.topic("features"), {"spread": 3}, 1)
    assert spread() == 3, "predictors have"
    _commit(cluster, names.group("predictor"), names.topic("features"), {"v": "1/0"}, 1)
    from consumers.loop.log_faults import short_ids

    ids = [short_ids(info.id) for info in cluster.topic_info(predictions).values()]
    note = {"seq": 0, "epoch": "e", "ids": "i", "counts": {}, "each": [*ids, "l"]}
    _commit(cluster, names.group("joiner"), predictions, note, 2)
    assert spread() == 2, "two partitions were joined before the others were added"
    producer = raw_producer(cluster)
    producer.send(predictions, b"a prediction", partition=3)
    producer.close()
    assert spread() == 4, "predictors have gone on over all of them"
    _commit(cluster, names.group("joiner"), predictions, {**note, "spread": 2}, 1)
    assert spread() == 2, "it is noted"


def _is_e5(record: Record) -> bool:
    return read_prediction(record.value or b"").event.event_id == "e5"


def _commit(cluster: Cluster, group: str, topic: str, note: dict[str, object], partitions: int) -> None:
    text = msgspec.json.encode(note).decode()
    with raw_admin(cluster) as client:
        client.alter_group_offsets(
            group, {TopicPartition(topic, number): OffsetAndMetadata(0, text, -1) for number in range(partitions)}
        )
