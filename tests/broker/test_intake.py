"""The intake on a real Kafka: shared by several processes, exactly once when one dies, and seen from outside."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import command_server
import pytest
from broker.loop_helpers import LIMITS, Running, running, until, warmed
from kafka import TopicPartition
from kafka.admin import NewTopic
from raw_kafka import raw_admin, raw_consumer, raw_producer

from consumers.intake.intake import Intake, IntakeSettings
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.loop import LoopSettings
from millstream import Source
from millstream.status.group_metadata import recalled
from millstream.status.report import taken_in
from millstream.status.snapshot import Observer, StreamSnapshot
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.events import read_label
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.target import Target
from schemas.topics import Names, partition_of

PARTITIONS = 2
FILE = """
from river import linear_model
from millstream import Labels, Source, Stream

stream = Stream(
    name="taken-in",
    task="binary",
    model=linear_model.LogisticRegression,
    labels=Labels(
        sources=[
            Source(topic="{chargebacks}", id="ref", value="status == 'fraud'"),
            Source(topic="{reviews}", id="case.id", value="verdict", source="human", wins=True),
        ]
    ),
)
"""


class Others:
    """Two topics of somebody else's, and a stream that takes labels from them."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.cluster: Cluster = warmed(bootstrap)
        self.folder, self.prefix = folder, prefix
        self.chargebacks, self.reviews = f"{prefix}team.chargebacks", f"{prefix}reviews"
        self.names = Names("taken-in", prefix, labels_from=(self.chargebacks, self.reviews))
        admin.create(self.cluster, self.names, partitions=PARTITIONS, label_wait_ms=60_000)
        with raw_admin(self.cluster) as client:
            client.create_topics([NewTopic(self.chargebacks, 3, 1), NewTopic(self.reviews, 2, 1)])
        self.file = folder / "taken_in.py"
        self.file.write_text(FILE.format(chargebacks=self.chargebacks, reviews=self.reviews))
        self.producer = raw_producer(self.cluster, linger_ms=5)
        self.observer = Observer(self.cluster, self.names)

    def send(self, first: int, last: int) -> None:
        """Send a message of each event's by the system, and of every third by a person; keyed by neither."""
        for number in range(first, last):
            message = {"ref": f"e{number}", "status": "fraud" if number % 2 else "ok"}
            self.producer.send(self.chargebacks, json.dumps(message).encode(), partition=number % 3)
            if number % 3 == 0:
                verdict = {"case": {"id": f"e{number}"}, "verdict": None if number % 2 else True}
                self.producer.send(self.reviews, json.dumps(verdict).encode(), partition=number % 2)
        self.producer.flush(30)

    def intake(self, instance: str) -> Intake:
        sources = [
            Source(topic=self.chargebacks, id="ref", value="status == 'fraud'"),
            Source(topic=self.reviews, id="case.id", value="verdict", source="human", wins=True),
        ]
        settings = IntakeSettings(self.names, Target(task="binary"), PARTITIONS)
        mappings = [LabelMapping(source, decoder(source)) for source in sources]
        return Intake(settings, mappings, memory=TopicMemory(self.folder / f"{instance}.json"))

    @contextmanager
    def work(self, instance: str) -> Iterator[Running]:
        settings = LoopSettings(
            self.names.group("intake"),
            self.names.process("intake", instance),
            session_ms=6_000,
            commit_idle_ms=300,
            limits=LIMITS,
        )
        with running(self.cluster, settings, self.intake(instance)) as run:
            yield run

    def look(self) -> StreamSnapshot:
        return self.observer.look()

    def begun(self) -> bool:
        """Whether an intake has committed any labels on the stream's topic."""
        places = [TopicPartition(self.names.topic("labels"), number) for number in range(PARTITIONS)]
        with closing(raw_consumer(self.cluster)) as consumer:
            begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        return any(end > begins[place] for place, end in ends.items())

    def labels(self) -> Counter[tuple[str, str, str, Any]]:
        """Return the labels on the stream's own topic, each on the partition of its event."""
        topic, found = self.names.topic("labels"), Counter[tuple[str, str, str, Any]]()
        consumer = raw_consumer(self.cluster)
        try:
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            while any(consumer.position(place) < end for place, end in ends.items()):
                for place, records in consumer.poll(timeout_ms=200).items():
                    for label in (read_label(record.value) for record in records):
                        assert place.partition == partition_of(label.event_id, PARTITIONS)
                        found[label.event_id, label.source, label.kind, label.value] += 1
        finally:
            consumer.close(autocommit=False)
        return found


def expected(count: int) -> Counter[tuple[str, str, str, Any]]:
    system = [(f"e{number}", "system", "label", number % 2 == 1) for number in range(count)]
    human = [(f"e{number}", "human", "correction", True) for number in range(0, count, 6)]
    return Counter([*system, *human])


@pytest.fixture
def others(bootstrap: str, prefix: str, tmp_path: Path) -> Iterator[Others]:
    made = Others(bootstrap, prefix, tmp_path)
    yield made
    made.observer.close()
    made.producer.close()


def test_several_share_the_topics_and_one_that_leaves_is_taken_over_from(others: Others) -> None:
    others.send(0, 300)
    with ExitStack() as held:
        first = held.enter_context(others.work("0"))
        second = held.enter_context(others.work("1"))
        until(lambda: second.loop._partitions and len(first.loop._partitions) == 3, "each to have a share")
        others.send(300, 600)
        until(lambda: others.look().lag("intake") == 0, "all to be taken in")
        first.stop()
        others.send(600, 900)
        until(lambda: others.look().lag("intake") == 0, "the other to take over")
    assert others.labels() == expected(900)


def test_what_became_of_messages_is_seen_by_file_and_by_mere_name(others: Others) -> None:
    others.send(0, 60)
    others.producer.send(others.reviews, b"no JSON", partition=0)
    others.producer.flush(10)
    assert others.look().lag("intake") == 81
    with others.work("0"):
        until(lambda: others.look().lag("intake") == 0, "all to be taken in")
        assert others.look().members["intake"] == 1
    by_name = recalled(others.cluster, Names("taken-in", others.prefix))
    assert sorted(by_name.labels_from) == sorted(others.names.labels_from)
    with Observer(others.cluster, by_name) as observer:
        seen = [taken_in(others.look()), taken_in(observer.look())]
    assert seen == 2 * [
        {
            others.chargebacks: {"mapped": 60, "skipped": 0, "refused": 0, "lag": 0},
            others.reviews: {"mapped": 10, "skipped": 10, "refused": 1, "lag": 0},
        }
    ]


def command(others: Others, *words: str) -> AbstractContextManager[command_server.Running]:
    environ = {
        **os.environ,
        "MILLSTREAM_HOME": str(others.folder / "home"),
        "MILLSTREAM_BOOTSTRAP": others.cluster.bootstrap,
        "MILLSTREAM_PREFIX": others.prefix,
        "PYTHONHASHSEED": "0",
        "MILLSTREAM_LOG_FORMAT": "text",
    }
    return command_server.running(*words, env=environ, end=signal.SIGKILL)


def test_a_process_that_is_killed_goes_on_without_a_repeat_and_without_a_hole(others: Others) -> None:
    others.send(0, 12_000)
    with command(others, "intake", str(others.file), "--instance", "0") as process:
        until(lambda: others.begun() or process.poll() is not None, "some labels", 30)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL, process.said()
    assert 0 < len(others.labels()) < 14_000, "it is to be killed amid its work"
    with command(others, "intake", str(others.file), "--instance", "0") as process:
        until(lambda: others.look().lag("intake") == 0 or process.poll() is not None, "the rest of the labels", 30)
        process.terminate()
        assert process.wait(30) == 0, process.said()
    assert others.labels() == expected(12_000)


def test_a_topic_that_is_not_there_is_told_in_a_line(others: Others) -> None:
    with raw_admin(others.cluster) as client:
        client.delete_topics([others.reviews])
    with command(others, "intake", str(others.file)) as process:
        assert process.wait(30) == 1, process.said()
        said = process.said()
    assert f"topic {others.reviews}, which labels of taken-in come from, does not exist" in said
    assert [each for each in said.splitlines() if " starts" not in each] == [said.splitlines()[-1]], said
