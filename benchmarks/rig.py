"""A Kafka of the benchmark's own in a folder that goes away, its topics, and the processes that are measured."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.role import STREAM
from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.topics import admin
from runtime.kafka_client.client import Admin, Consumer, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import CoordinatorNotAvailableError, UnknownGroupError
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA
from runtime.kafka_client.records import Partition, Record
from schemas.topics import DAY_MS, Names

PARTITIONS: Final = 4
_ROOT: Final = Path(__file__).resolve().parent.parent
_END_SECONDS: Final = 20.0
_READY_SECONDS: Final = 90.0


class Broken(Exception):  # noqa: N818
    """A process that was to be measured ended by itself, or did not finish; the message has its last words."""


class Process:
    """A child that is measured."""

    def __init__(self, command: Sequence[str | Path], log: Path, client: str | None = None) -> None:
        self._log = log
        self._file = log.open("wb")
        chosen = {} if client is None else {"MILLSTREAM_CLIENT": client}
        self._child = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0", **chosen},
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )
        self.stats = psutil.Process(self._child.pid)

    def require(self) -> None:
        """Raise Broken where it has ended."""
        if self._child.poll() is not None:
            raise Broken(f"{self._log.name} ended with {self._child.returncode}: {self._words()}")

    def until_ready(self, word: str = "ready:", seconds: float = _READY_SECONDS) -> None:
        """Wait until it says so."""

        def ready() -> bool:
            self.require()
            return word in self._words()

        until(ready, seconds, f"{self._log.name} is not ready")

    def wait(self, timeout: float) -> str:
        """Wait for its own end and return what it printed."""
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise Broken(f"{self._log.name} did not end within {timeout:g} s: {self._words()}") from None
        self._file.close()
        if code != 0:
            raise Broken(f"{self._log.name} ended with {code}: {self._words()}")
        return self._log.read_text()

    def end(self) -> None:
        """End it in order, or by force."""
        self._child.terminate()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._file.close()

    def _words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:].strip()


class Rig:
    """One broker and one folder, shared by all benchmarks of a run; each takes a prefix of its own."""

    def __init__(self, folder: Path, cluster: Cluster, broker: EmbeddedBroker) -> None:
        self.folder = folder
        self.cluster = cluster
        self._broker = broker
        self._count = 0

    @contextmanager
    def kafka_away(self) -> Iterator[None]:
        """Stop the broker for a while; afterwards it is at the same address."""
        self._broker.stop()
        try:
            yield
        finally:
            self._broker.start()

    # --- topics ------------------------------------------------------------------------------------

    def names(self, prefix: str, models: tuple[str, ...] = ()) -> Names:
        """Return a stream of its own, its topics made; `models` are the names of its challengers."""
        names = Names(STREAM, f"{prefix}-", models=models)
        admin.create(self.cluster, names, partitions=PARTITIONS, label_wait_ms=DAY_MS)
        return names

    def topic(self, name: str, partitions: int) -> str:
        """Make a topic for a bare loop to write to, set up like predictions."""
        with self.cluster.admin() as client:
            config = {"message.timestamp.type": "LogAppendTime"}
            client.create_topics([NewTopic(name, partitions, config)], timeout_ms=10_000)
            until(lambda: _has_leaders(client, name), 30, f"{name} has no leaders")
        return name

    def topic_once(self, name: str, partitions: int) -> str:
        """Make such a topic unless it exists."""
        return name if self.cluster.topic_info(name) else self.topic(name, partitions)

    def load(self, topic: str, records: Iterable[tuple[int, bytes | None, bytes]]) -> None:
        """Put (partition, key, value) records on a topic."""
        producer = self.cluster.producer(linger_ms=20, batch_size=1 << 18)
        try:
            for partition, key, value in records:
                producer.send(topic, value, key, None, partition)
            producer.flush(timeout=120)
        finally:
            producer.close()

    def ends(self, *topics: str) -> dict[Partition, int]:
        """Return where the partitions of topics end."""
        found = self.cluster.topic_info(*topics)
        places = [Partition(topic, each) for topic in topics for each in range(found[topic].partitions)]
        with self._reader() as reader:
            return reader.end_offsets(places)

    def times(self, topic: str, since: Mapping[Partition, int]) -> list[int]:
        """Return the broker's times (ms) of all records after `since`, in order."""
        return sorted(record.timestamp for record in self._records(topic, since))

    def values(self, topic: str, since: Mapping[Partition, int]) -> Iterator[bytes]:
        """Yield the values of all records after `since`, each partition's in order."""
        return (record.value or b"" for record in self._records(topic, since))

    def _records(self, topic: str, since: Mapping[Partition, int]) -> Iterator[Record]:
        ends = self.ends(topic)
        with self._reader() as reader:
            reader.assign(list(ends))
            for place in ends:
                reader.seek(place, since.get(place, 0))
            while any(reader.position(place) < end for place, end in ends.items()):
                for records in reader.poll(timeout_ms=500).values():
                    yield from records

    @contextmanager
    def _reader(self) -> Iterator[Consumer]:
        reader = self.cluster.consumer(max_poll_records=5000)
        try:
            yield reader
        finally:
            reader.close()

    # --- processes ---------------------------------------------------------------------------------

    def role(
        self,
        role: str,
        names: Names,
        model: str = "lr",
        snapshot_every: str = "5m",
        client: str | None = None,
        turns_file: Path | None = None,
    ) -> Process:
        """Start one of ours, with the Kafka client of this name. At its end it writes `turns_file`, if given."""
        home = str(self.folder / names.prefix)
        arguments = [role, model, home, self.cluster.bootstrap, names.prefix, snapshot_every]
        arguments += [] if turns_file is None else [str(turns_file)]
        return self.python("benchmarks.role", *arguments, client=client)

    def command(self, names: Names, *words: str, nice: int = 0) -> Process:
        """Start `millstream`, as a user would, with this priority."""
        home = str(self.folder / names.prefix)
        where = ("--bootstrap", self.cluster.bootstrap, "--prefix", names.prefix, "--home", home)
        return self.python("millstream", *words, *where, nice=nice)

    def bare(
        self, name: str, out: str, extra: int, partitions: int, topics: Sequence[str], client: str | None = None
    ) -> Process:
        """Start a bare loop."""
        given = [self.cluster.bootstrap, name, out, str(extra), str(partitions), *topics]
        return self.python("benchmarks.bare_loop", *given, client=client)

    def python(self, *arguments: str, client: str | None = None, nice: int = 0) -> Process:
        """Start a module."""
        first = ("nice", "-n", str(nice)) if nice else ()
        return self.program([*first, sys.executable, "-m", *arguments], arguments[0].rpartition(".")[2], client)

    def program(self, command: Sequence[str | Path], name: str, client: str | None = None) -> Process:
        """Start any program; `name` is its log's."""
        self._count += 1
        return Process(command, self.folder / f"{self._count}-{name}.log", client)

    def forget(self, group: str, state: Path | None = None) -> None:
        """Delete a group, so that it starts again from the beginning, and its state folder."""
        with self.cluster.admin() as client:
            until(lambda: _deleted(client, group), 30, f"group {group} does not end")
        if state is not None:
            shutil.rmtree(state, ignore_errors=True)

    def drained(self, group: str, topics: Sequence[str], process: Process, timeout: float = 300) -> None:
        """Wait until a group has read all there is."""
        with self.cluster.admin() as client:
            ends = self.ends(*topics)

            def done() -> bool:
                process.require()
                try:
                    places = client.list_group_offsets(group)
                except CoordinatorNotAvailableError:
                    return False
                at = {place: data.offset for place, data in places.items()}
                return all(at.get(place, 0) >= end for place, end in ends.items())

            until(done, timeout, f"{group} does not finish")


def _has_leaders(client: Admin, topic: str) -> bool:
    [found] = client.describe_topics([topic])
    return found.exists and all(leader >= 0 for leader in found.leaders.values())


def _deleted(client: Admin, group: str) -> bool:
    """Remove all members from a group and delete it; return whether it was deleted."""
    try:
        # A static member that ended is one until its session does.
        gone = [each.instance_id for each in client.describe_group(group).members if each.instance_id is not None]
        if gone:
            client.remove_group_members(group, gone)
        return client.delete_group(group)
    except UnknownGroupError:
        return True
    except CoordinatorNotAvailableError:
        return False


def instruments(bootstrap: str) -> Cluster:
    """Return a cluster for the clients that measure.

    Sender and reader of kafka-python take most of one core at 500 events/s, for which the measured processes then wait.
    """
    installed = importlib.util.find_spec("confluent_kafka") is not None
    return Cluster(bootstrap, library=library_named(LIBRDKAFKA if installed else KAFKA_PYTHON))


def until(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Wait for a condition; Broken where it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{otherwise} within {timeout:g} s")
        time.sleep(0.1)


@contextmanager
def rig() -> Iterator[Rig]:
    """Lend a broker in a folder of its own; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="millstream-bench-"))
    broker = EmbeddedBroker(folder / "broker", port=0)
    try:
        yield Rig(folder, instruments(broker.start().bootstrap), broker)
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
