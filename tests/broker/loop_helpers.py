"""What the tests of the loop share: a processor that copies, a loop in a thread or a process, and the oracle."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from kafka.structs import OffsetAndMetadata, TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from consumers.loop.instrumentation import Meter
from consumers.loop.loop import Loop, LoopSettings
from consumers.loop.processor import Assignment, Start
from runtime.exits import RoleFailure
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.kafka_python.consumer import metadata_of
from runtime.kafka_client.kafka_python.producer import KafkaPythonProducer
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.librdkafka.producer import LibrdkafkaProducer
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions
from runtime.kafka_client.transaction import TransactionLimits, Transactions

SECONDS = 60.0
# A third of the real ones, so that what takes 8 s in the field takes 3 s here.
LIMITS = TransactionLimits(
    request_ms=1_500, delivery_ms=2_000, deadline_ms=3_000, broker_ms=4_000, open_ms=8_000, connect_ms=4_000
)


def settings(prefix: str, instance: str = "0", **changes: Any) -> LoopSettings:
    quick = LoopSettings(
        group=prefix + "group",
        instance=f"{prefix}copier-{instance}",
        session_ms=6_000,  # the least that a broker takes
        commit_idle_ms=300,
        limits=LIMITS,
    )
    return replace(quick, **changes)


class Copier:
    """A `Processor`: each record of ``in`` goes to the same partition of ``out``, with its number there.

    The number is state: it is decided by the metadata of the committed offset, as the joiner's sequence is.
    So an output that is lost, repeated, or numbered by a state that was not taken back, shows.
    """

    def __init__(self, prefix: str, take: Callable[[Batch], None] | None = None) -> None:
        self._in, self._out = prefix + "in", prefix + "out"
        self._take = take or (lambda batch: None)
        self.counts: dict[int, int] = {}
        self.commits: list[Mapping[Partition, CommittedOffset]] = []
        self.hold: frozenset[Partition] = frozenset()
        self.assignments: list[list[Partition]] = []
        self.overlaps = True

    @property
    def topics(self) -> Sequence[str]:
        return (self._in,)

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        if assignment.committed:  # empty where there are more processes than partitions
            self.assignments.append(sorted(assignment.committed))
        self.counts = {
            partition.partition: 0 if place is None else int(place.metadata)
            for partition, place in assignment.committed.items()
        }
        return {
            partition: Start(live=assignment.beginnings[partition] if place is None else place.offset)
            for partition, place in assignment.committed.items()
        }

    def recover(self, batch: Batch) -> None:
        raise AssertionError("there is nothing to recover")

    def recovered(self) -> None:
        pass

    def process(self, batch: Batch) -> list[Output]:
        outputs = []
        for partition, records in batch.items():
            for record in records:
                number = self.counts[partition.partition]
                value = b"%d %s" % (number, record.value or b"")
                outputs.append(Output(self._out, partition.partition, record.key, value))
                self.counts[partition.partition] = number + 1
        self._take(batch)
        return outputs

    def tick(self, now_ms: int) -> list[Output]:
        return []

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {
            partition: CommittedOffset(offset, str(self.counts[partition.partition]))
            for partition, offset in read.items()
        }

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        self.commits.append(places)

    def paused(self) -> frozenset[Partition]:
        return self.hold

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        pass


class Running:
    """A loop in a thread of this process."""

    def __init__(self, cluster: Cluster, chosen: LoopSettings, processor: Any, meter: Meter | None = None) -> None:
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self.processor = processor
        self.loop = Loop(cluster, chosen, processor, settled=lambda partitions: self.ready.set(), meter=meter)
        self._thread = threading.Thread(target=self._run, name=chosen.instance, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - it is the result
            self.failure = error

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, seconds: float = SECONDS) -> BaseException | None:
        """Wait for its end and return what it ended with."""
        self._thread.join(seconds)
        assert self.ended, "the loop did not end"
        return self.failure

    def stop(self) -> None:
        """End it in order."""
        self.loop.stop()
        error = self.wait()
        if error is not None:
            raise error


@contextlib.contextmanager
def running(cluster: Cluster, chosen: LoopSettings, processor: Any) -> Iterator[Running]:
    """A loop that has settled; what it ends with is for the test to look at."""
    run = Running(cluster, chosen, processor)
    try:
        until(lambda: run.ready.is_set() or run.ended, "the loop to settle")
        yield run
    finally:
        run.loop.stop()
        run.wait()


def until(true: Callable[[], Any], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


def warmed(bootstrap: str) -> Cluster:
    """Return the cluster once it has its own topics for groups and transactions, which it makes at the first use."""
    _warm(bootstrap)
    return Cluster(bootstrap)


@cache
def _warm(bootstrap: str) -> None:
    cluster = Cluster(bootstrap)
    patient = TransactionLimits(20_000, 25_000, 28_000, 30_000, open_ms=60_000, connect_ms=30_000)
    transactions = Transactions(cluster, f"warm-{uuid.uuid4().hex}", patient)
    transactions.open()
    prefix = f"warm-{uuid.uuid4().hex}-"
    make_topics(cluster, prefix)
    transactions.commit([], {Partition(prefix + "in", 0): CommittedOffset(0, "")}, GroupMetadata(prefix + "group"))
    transactions.close()


def make_topics(cluster: Cluster, prefix: str, partitions: int = 1) -> None:
    with raw_admin(cluster) as admin:
        spec = {"num_partitions": partitions, "replication_factor": 1}
        admin.create_topics({prefix + "in": spec, prefix + "out": spec}, wait_for_metadata=True)


def put(cluster: Cluster, topic: str, values: Sequence[bytes], partitions: int = 1, **config: Any) -> None:
    """Write records round the partitions, and wait until they are there."""
    producer = raw_producer(cluster, **config)
    for number, value in enumerate(values):
        producer.send(topic, value, partition=number % partitions)
    producer.flush(SECONDS)
    producer.close()


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def read(cluster: Cluster, topic: str, *, committed: bool = True) -> dict[int, list[bytes]]:
    """Return the values a reader finds up to the end, by partition."""
    consumer = raw_consumer(cluster, isolation_level="read_committed" if committed else "read_uncommitted")
    partitions = [TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    values: dict[int, list[bytes]] = {partition.partition: [] for partition in partitions}
    deadline = time.monotonic() + SECONDS
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        assert time.monotonic() < deadline, f"{topic} could not be read to its end"
        for at, records in consumer.poll(100).items():
            values[at.partition] += [record.value for record in records]
    consumer.close()
    return values


def expected(values: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes]]:
    """Return what the copy of these must be: whole, once, in order."""
    return {at: [b"%d %s" % (n, value) for n, value in enumerate(each)] for at, each in values.items()}


def is_exact(cluster: Cluster, prefix: str) -> bool:
    """Say whether what was copied by now is all there is."""
    return read(cluster, prefix + "out") == expected(read(cluster, prefix + "in"))


def places(cluster: Cluster, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the committed offsets with their metadata, without the NUL that librdkafka writes behind it."""
    with raw_admin(cluster) as admin:
        found: dict[Any, Any] = admin.list_group_offsets([group])[group]
    return {
        TopicPartition(*tp): place._replace(metadata=metadata_of(place.metadata))
        for tp, place in found.items()
        if place.offset >= 0
    }


def ends(cluster: Cluster, topic: str) -> dict[TopicPartition, int]:
    consumer = raw_consumer(cluster)
    found = consumer.end_offsets([TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)])
    consumer.close()
    return dict(found)


@contextlib.contextmanager
def child(bootstrap: str, prefix: str, *how: str, failpoints: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run this file as a process, a copier that misbehaves as the words in `how` say; kill it at the end."""
    paths = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, __file__, bootstrap, prefix, *how],
        env={**os.environ, "PYTHONPATH": paths, "MILLSTREAM_FAILPOINTS": failpoints},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Told(Meter):
    """Prints the places that were committed, of a topic with one partition."""

    def committed(self, outputs: Any, places: Mapping[Partition, CommittedOffset], seconds: float) -> None:
        print("committed", *(place.offset for place in places.values()), flush=True)


def _main(bootstrap: str, prefix: str, *how: str) -> int:
    words = dict(word.split("=") for word in how)
    chosen = settings(prefix, words.get("instance", "0"))
    if "poll_interval_ms" in words:
        chosen = replace(chosen, poll_interval_ms=int(words["poll_interval_ms"]))

    if "stuck" in words:
        for producer in (KafkaPythonProducer, LibrdkafkaProducer):
            setattr(producer, words["stuck"], lambda self: threading.Event().wait())

    def hang(batch: Batch) -> None:
        if "hang" in words and any(
            record.value == words["hang"].encode() for each in batch.values() for record in each
        ):
            # What a client does that spins in its own code: no exception, no way out, all of a core.
            while True:
                os.getpid()

    def process(batch: Batch) -> None:
        if "tell" in words:
            print("process", sum(map(len, batch.values())), flush=True)
        hang(batch)

    meter = Told() if "tell" in words else None
    library = library_named(os.environ["MILLSTREAM_CLIENT"])
    loop = Loop(
        Cluster(bootstrap, library=library),
        chosen,
        Copier(prefix, process),
        meter=meter,
        settled=lambda partitions: print("ready", flush=True),
    )
    try:
        loop.run()
    except RoleFailure as failure:
        print(failure, file=sys.stderr, flush=True)
        return failure.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
