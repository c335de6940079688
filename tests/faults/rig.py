"""A stream of real processes on a real Kafka, with events going on, to which a test does its harm.

with Rig(bootstrap, prefix, tmp_path, fork_server) as rig:
    rig.start_all()
    rig.publish()
    rig.kill("learner-0")      # and how long until a version is announced again
    rig.finish(tally)          # the oracle: nothing lost, nothing twice, every version a function of the log
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.processes import Member, command
from faults.verdict import Verdict, due, judge
from faults_table import Tally
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer
from system.oracle import Stream, read_all

from consumers import roles
from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer
from millstream.stream.load import load_stream
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.model_updates import Published, read_model_update

FLOW = Path(__file__).with_name("flow.py")
SECONDS = 180.0  # for what takes 5 where the machine does nothing else
PROGRESS = {"predictor": "predictions", "joiner": "examples", "learner": "models", "monitor": "profiles"}
COMPARED = {"shadow": "shadows", "judge": "comparisons"}
"""Of the roles that compare models, where a stream has several."""
ORDER = ("predictor", "joiner", "learner")
Mark = Mapping[TopicPartition, int] | int


@dataclass(frozen=True)
class Fall:
    """When a process fell (monotonic), and how far its role's work was."""

    began: float
    role: str
    mark: Mark


class Rig:
    """See the module's text. `most_events`: the publisher's source ends there. `rate`: its events a second."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        folder: Path,
        fork_server: ForkServer,
        *,
        ref: Path = FLOW,
        most_events: int = 60_000,
        rate: float = 60,
    ) -> None:
        self.folder = folder
        self.stream = Stream(str(ref), bootstrap, prefix, folder / "home")
        self.names = self.stream.names
        self.cluster = Cluster(bootstrap)
        self._fork_server = fork_server
        self.members: dict[str, Member] = {}
        self.recoveries: list[float] = []
        self.fallen: dict[str, Fall] = {}
        self.announced = -1
        self.watching = True  # false where a test takes away what this would read
        self.broker_is_down = False
        self._most, self._rate = most_events, rate
        self.publisher: subprocess.Popen[str] | None = None
        self._seen: dict[TopicPartition, int] = {}
        self.progress = PROGRESS
        self.counted: dict[str, int] = {}

    def __enter__(self) -> Self:
        found = load_stream(self.stream.ref).stream
        outcome = admin.create(
            self.cluster, self.names, partitions=found.partitions, label_wait_ms=found.labels.wait_ms, wait=60
        )
        assert not outcome.findings, outcome.findings
        # Answers that wait a little for more: what watches takes less from what is watched.
        self._witness = raw_consumer(self.cluster, group_id=None, fetch_min_bytes=1 << 16, fetch_max_wait_ms=100)
        self._ends = raw_consumer(self.cluster, group_id=None, isolation_level="read_uncommitted")
        self.progress = {**PROGRESS, **(COMPARED if self.names.models else {})}
        self.counted = dict.fromkeys(self.progress.values(), 0)
        followed = [
            TopicPartition(self.names.topic(kind), number)
            for kind in self.progress.values()
            for number in range(found.partitions if kind in ("predictions", "shadows") else 1)
        ]
        self._witness.assign(followed)
        self._witness.seek_to_beginning(*followed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members.values():
            if member.process is not None:
                member.process.kill()
                member.process.wait()
        if self.publisher is not None:
            self.publisher.kill()
            self.publisher.communicate()
        for consumer in (self._witness, self._ends):
            consumer.close(autocommit=False)
        for member in self.members.values():  # shown where the test fails
            print(f"===== {member.name}, ended {member.ends}\n{member.said()}")

    # --- processes ---------------------------------------------------------------------------------

    def start(self, role: str, instance: str = "0", *armed: str, words: Sequence[str] = ()) -> Member:
        """Start a process; the failpoints in `armed` are those of its first start, its second, and so on.

        `words`: more of its command line.
        """
        name = f"{role}-{instance}"
        member = self.members.get(name) or Member(
            role,
            instance,
            [*roles.named(role).command(self.stream.ref, instance), *words],
            self.stream.environment(),
            self._fork_server,
            self.folder / f"{name}.log",
        )
        self.members[name] = member
        member.armed.extend(armed)
        member.start()
        return member

    def start_all(self, predictors: int = 1) -> None:
        """Start each role, and wait until events are answered, joined and learned."""
        for number in range(predictors):
            self.start("predictor", str(number))
        self.start("joiner")
        self.start("learner")

    def publish(self, *, wait: bool = True) -> None:
        """Let events come from now on, and wait until the first is answered, joined and learned."""
        source = self.folder / "events.csv"
        if not source.exists():
            source.write_text(events(self._most))
        self.publisher = subprocess.Popen(
            command(
                "publish",
                self.stream.ref,
                str(source),
                f"--rate={self._rate:g}",
                "--label-delay=20",
                "--json",
            ),
            env=self.stream.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            self.until(lambda: self.learned() >= 1, "the first to be learned")

    def end_publishing(self) -> dict[str, Any]:
        """Stop the publisher in order and return its report; nothing that it sent may be unacknowledged."""
        assert self.publisher is not None
        self.publisher.send_signal(signal.SIGINT)
        said, complaint = self.publisher.communicate(timeout=SECONDS)
        self.publisher = None
        report: dict[str, Any] = json.loads(said)
        assert report["sent"] == report["acknowledged"] > 0, (report, complaint)
        assert report["labels_sent"] == report["labels_acknowledged"]
        return report

    def look(self) -> None:
        """Keep the processes up, read what has come out, and note who is back at work."""
        for name, member in self.members.items():
            began = time.monotonic()
            died = member.look() and name not in self.fallen and not self.broker_is_down
            if died and roles.kind_of_role(member.role) in self.progress:  # a referee hardly ever writes anything
                self.fallen[name] = Fall(began, member.role, self.mark(member.role))
        if self.publisher is not None and self.publisher.poll() not in (None, 0):
            raise AssertionError(f"the publisher ended: {self.publisher.communicate()[1]}")
        if self.watching:
            for partition, records in self._witness.poll(timeout_ms=50).items():
                self._note(partition, records)
        else:
            time.sleep(0.05)
        for name, fall in list(self.fallen.items()):
            if self.progressed(fall.role, fall.mark):
                self.recoveries.append(time.monotonic() - fall.began)
                del self.fallen[name]

    def _note(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        self._seen[partition] = records[-1].offset
        kind = partition.topic.rpartition(".")[2]
        self.counted[kind] += len(records)
        if kind == "models":
            states = (read_model_update(record.value).state for record in records)
            self.announced = max([self.announced, *(s.examples for s in states if isinstance(s, Published))])

    def until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Wait for a condition, keeping the processes up."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; {self.counted}"
            self.look()

    # --- faults and recovery -----------------------------------------------------------------------

    def mark(self, role: str) -> Mark:
        """Return how far a role's work is: what is beyond has been done after this moment."""
        if roles.kind_of_role(role) == "learner":
            return self.learned()
        topic = self.names.topic(self.progress[role])
        partitions = [partition for partition in self._witness.assignment() if partition.topic == topic]
        # With what is not committed: a transaction that is open now may yet be aborted.
        return dict(self._ends.end_offsets(partitions))

    def progressed(self, role: str, mark: Mark) -> bool:
        """Say whether a newer version was announced, or something has come out on every partition, since."""
        if isinstance(mark, int):
            return self.announced > mark
        return all(self._seen.get(partition, -1) >= offset for partition, offset in mark.items())

    def kill(self, *names: str) -> None:
        """Kill -9, and wait until the work of all of them goes on."""
        began = time.monotonic()
        for name in names:
            self.members[name].kill()
        for name in names:
            role = self.members[name].role
            self.fallen[name] = Fall(began, role, self.mark(role))
        self.recover()

    def recover(self, seconds: float = SECONDS) -> None:
        """Wait until everybody who fell is at work again."""
        self.until(lambda: not self.fallen, f"{', '.join(self.fallen)} to be at work again", seconds)

    def work(self, seconds: float) -> None:
        """Let it work: a fault comes at any moment, and is not waited for."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()

    def outage(self, broker: EmbeddedBroker, seconds: float) -> None:
        """Kill the broker, start it again so much later; all go on, and recovery is from its first answer."""
        self.broker_is_down = True
        broker.kill()
        self.work(seconds)
        broker.start(timeout=120)
        began = time.monotonic()
        self.broker_is_down = False
        self.await_progress(*ORDER, began=began)

    def await_progress(self, *roles: str, began: float | None = None) -> None:
        """Wait until these roles have done something after this moment; the time since `began` is a recovery's."""
        since = time.monotonic() if began is None else began
        self.fallen |= {role: Fall(since, role, self.mark(role)) for role in roles}
        self.recover()

    def members_of(self, role: str, at_work: bool = False) -> set[str]:
        """Return a group's processes, those that hold partitions alone if `at_work`; none until they have agreed."""
        group = self.names.group(role)
        with raw_admin(self.cluster) as client:
            found = client.describe_groups([group])[group]
        if found["group_state"] != "Stable":
            return set()
        prefix = self.names.process(role, "")
        return {
            f"{role}-{member['group_instance_id'].removeprefix(prefix)}"
            for member in found["members"]
            if not at_work
            or any(each["partitions"] for each in (member["member_assignment"] or {}).get("assigned_partitions", ()))
        }

    def learned(self) -> int:
        """Return how many examples the newest version has learned; -1 without one."""
        folder = self.stream.models / self.names.stream / "versions"
        newest = max(folder.glob("*/*.json"), default=None)
        return -1 if newest is None else int(newest.stem)

    # --- the end -----------------------------------------------------------------------------------

    def finish(self, tally: Tally | None = None, times: int = 0, errors: int | None = 0) -> Verdict:
        """End the publisher, wait until all is learned, end the roles in order, and judge."""
        if self.publisher is not None:
            self.end_publishing()
        asked = sum(1 for _ in read_all(self.stream.bootstrap, self.names.topic("features")))
        self.until(lambda: self.counted["predictions"] >= asked, f"{asked} events to be answered")
        expected = len(due(self.stream))
        self.until(lambda: self.learned() >= expected, f"a version of {expected} examples")
        self.end_roles()
        verdict = judge(self.stream)
        if tally is not None:
            tally.row(times, verdict.lost, verdict.repeated, max(self.recoveries, default=None))
        verdict.insist(errors)
        return verdict

    def end_roles(self) -> None:
        """End all in order: what is under way goes on to the learner's last version."""
        for role in ORDER:
            for member in self.members.values():
                if member.role == role:
                    member.end()


def events(count: int, seed: int = 7) -> str:
    """Return a source of so many events: two numbers, and a label that depends on both."""
    rng = random.Random(seed)
    lines = ["id,x,y,label"]
    for number in range(count):
        x, y = rng.gauss(0, 1), rng.gauss(0, 1)
        lines.append(f"e{number},{x:.4f},{y:.4f},{str(x + y / 2 + rng.gauss(0, 0.3) > 0).lower()}")
    return "\n".join(lines) + "\n"
