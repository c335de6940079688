"""One role at a time on a real Kafka, fed by hand, for what becomes of it when its log is not the one it left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from broker.loop_helpers import LIMITS, Running, running
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer
from river import linear_model, preprocessing

from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import DiskStore
from consumers.joiner.snapshot_thread import SnapshotKeeper
from consumers.joiner.snapshots import Snapshots
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import LogRefused
from consumers.loop.loop import LoopSettings
from consumers.loop.processor import Processor
from consumers.model.checkpoints import Definition, LearnerCheckpoints, NewEpoch
from consumers.model.river_model import wrap
from consumers.predictor.model_feed import PauseSwitch
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from millstream import Checkpoints, Stream
from millstream.status.report import Report, report
from millstream.status.snapshot import Observer, kinds_read
from millstream.stream.processor_rules import join_rules, learning_rules
from millstream.topics import admin
from model_store import open_store
from runtime.kafka_client.cluster import Cluster
from schemas import codec
from schemas.codec import HEADER_BYTES
from schemas.events import Event, Example, Joined, Label, Lane, Outcome, read_example, read_prediction
from schemas.topics import Names

STREAM: Final = Stream(
    name="logs",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    checkpoints=Checkpoints(every="100ms"),
)


class _Served:
    """A version that is there at once."""

    def __init__(self) -> None:
        model = STREAM.model()
        model.learn_one({"x": 1.0}, True)
        self._version = ServedVersion(wrap(model, "binary"), "logs", 1, 1, time.time_ns() // 1_000_000, None)

    def newest(self) -> ServedVersion:
        return self._version


@dataclass
class LogRoles:
    """A stream's topics, and its roles one at a time."""

    cluster: Cluster
    names: Names
    home: Path
    said: list[str] = field(default_factory=list)
    examples_sent: int = 0
    snapshots: Snapshots | None = None

    def create(self) -> None:
        admin.create(self.cluster, self.names, partitions=1, label_wait_ms=STREAM.labels.wait_ms)

    def recreate(self, *kinds: str) -> None:
        """Delete topics and make them again."""
        topics = [self.names.topic(kind) for kind in kinds]
        with raw_admin(self.cluster) as client:
            client.delete_topics(topics)
            while any(each["error_code"] == 0 for each in client.describe_topics(topics)):
                time.sleep(0.05)
        self.create()

    # --- a role ------------------------------------------------------------------------------------

    def processor(self, role: str, go_on: bool = False) -> Processor:
        if role == "predictor":
            settings = PredictorSettings(self.names, STREAM.contract, 1, go_on)
            memory = TopicMemory(self.home / "predictor.json")
            return Predictor(settings, _Served(), say=self.said.append, memory=memory)
        if role == "joiner":
            joining = JoinerSettings(self.names, join_rules(STREAM), 1, STREAM.join.max_pending, go_on)
            keeper = None if self.snapshots is None else SnapshotKeeper(self.snapshots, 0.0, self.said.append)
            return Joiner(joining, DiskStore(self.home / "joiner", self.said.append), keeper, self.said.append)
        store = open_store(self.home / "models", self.home / "keys", sign=True)
        definition = Definition("logs", "definition", "contract")
        checkpoints = LearnerCheckpoints(store, definition, learning_rules(STREAM), STREAM.checkpoints.keep)
        new_epoch: NewEpoch | None = "keep" if go_on else None
        settings_ = LearnerSettings(self.names, CheckpointPace(0.1, 1000), new_epoch)
        return Learner(settings_, checkpoints, PauseSwitch("logs"), self.said.append)

    @contextmanager
    def work(self, role: str, go_on: bool = False) -> Iterator[Running]:
        """Run a role that has settled, or has ended already."""
        settings = LoopSettings(
            self.names.group(role), self.names.process(role, "0"), session_ms=6_000, commit_idle_ms=300, limits=LIMITS
        )
        with running(self.cluster, settings, self.processor(role, go_on)) as run:
            yield run

    def work_off(self, role: str, go_on: bool = False) -> None:
        """Run a role until it has read all there is, and end it."""
        with self.work(role, go_on) as run, Observer(self.cluster, self.names) as observer:
            deadline = time.monotonic() + 30
            while not run.ended and observer.look().lag(role):
                assert time.monotonic() < deadline, f"{role} does not come to the end"
                time.sleep(0.05)
            run.stop()

    def refusal(self, role: str) -> LogRefused:
        """Start a role that must refuse, twice: it does not give in."""
        failures = []
        for _ in range(2):
            with self.work(role) as run:
                failures.append(run.wait())
        assert isinstance(failures[0], LogRefused), failures
        assert str(failures[0]) == str(failures[1])
        return failures[0]

    def status(self) -> Report:
        with Observer(self.cluster, self.names) as observer:
            return report(observer.look(), "logs", self.cluster.bootstrap, (1 << 40, 1 << 40))

    # --- what is on the topics ---------------------------------------------------------------------

    def feed(self, role: str, first: int, last: int, only: str = "") -> None:
        """Put what a role reads on its topics, or on one kind of them, for events of these numbers."""
        producer = raw_producer(self.cluster)
        for number in range(first, last):
            for kind, value in self._records(role, number):
                if only not in kind:
                    continue
                producer.send(self.names.topic(kind), value, f"e{number}".encode(), partition=0)
        producer.flush(20)
        producer.close()

    def _records(self, role: str, number: int) -> Iterator[tuple[str, bytes]]:
        now = time.time_ns() // 1_000_000
        event = Event(f"e{number}", now, {"x": float(number % 7)})
        outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "logs", 1, 0, now, "logs.features", 0, number)
        label = Label(event.event_id, number % 7 > 3, now)
        if role == "predictor":
            yield "features", event.encode()
        elif role == "joiner":
            fields: dict[str, Any] = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
            body = event.encode()[HEADER_BYTES:] + b"\x02" + codec.OUTCOME.encode_body(fields)
            yield "predictions", codec.PREDICTION.header + body
            yield "labels", label.encode()
        else:
            lane = Lane("fed", "epoch", self.examples_sent)
            self.examples_sent += 1
            yield "examples", Example(event, outcome, label, lane, Joined(0, number, now, number, now)).encode()

    def delete_before(self, kind: str, offset: int) -> None:
        with raw_admin(self.cluster) as client:
            client.delete_records({TopicPartition(self.names.topic(kind), 0): offset})

    def done(self, role: str) -> list[str]:
        """Return the ids of the events that a role has done its work on, in order: answered, joined or learned."""
        if role == "learner":
            versions = open_store(self.home / "models", self.home / "keys", sign=False).versions("logs")
            return [str(versions[-1].examples)]
        kind = "predictions" if role == "predictor" else "examples"
        reads = read_prediction if role == "predictor" else read_example
        return [reads(value).event.event_id for value in self._values(kind)]

    def _values(self, kind: str) -> Sequence[bytes]:
        place = TopicPartition(self.names.topic(kind), 0)
        consumer = raw_consumer(self.cluster)
        found: list[bytes] = []
        try:
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            end = consumer.end_offsets([place])[place]
            while consumer.position(place) < end:
                found += [record.value for record in consumer.poll(timeout_ms=200).get(place, ())]
        finally:
            consumer.close(autocommit=False)
        return found

    def committed(self, role: str) -> dict[str, Any]:
        """Return what a role wrote beside its offset in its first input."""
        with raw_admin(self.cluster) as client:
            group = self.names.group(role)
            found = client.list_group_offsets(group)[group]
        place = TopicPartition(self.names.topic(kinds_read(role)[0]), 0)
        told: dict[str, Any] = msgspec.json.decode(found[place].metadata.rstrip("\0"))
        return told
