"""A stream with batch models on a real Kafka, and the processes of its trainers."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from batch_log import Row, records, simple_rows
from loop_helpers import put

from consumers.loop.job_states import KnownJob, read_record
from consumers.trainer.offset_metadata import TrainerMetadata
from millstream.config.settings import Settings, interpreter
from millstream.reading import topic_readers
from millstream.reading.jobs import read_states
from millstream.stream.load import load_stream
from model_store import ModelStore, open_store
from runtime.failpoints import VARIABLE
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Record
from schemas.jobs import JobRecord, JobState
from schemas.model_updates import Promoted, Published, read_model_update
from schemas.topics import Names

STREAM: Final = """
import time
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from river import linear_model
from millstream import BatchModel, Stream

def make():
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))

class Slow(LogisticRegression):
    def fit(self, X, y):
        time.sleep(600)

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "quick": BatchModel(make, deploy="if-better"),
    "slow": BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), Slow()), retrain_on=["monitor.drift"]),
})
"""
ROWS: Final = 400


@dataclass
class Batch:
    """The stream, its settings, and how commands are run."""

    file: Path
    home: Path
    cluster: Cluster
    names: Names
    environment: dict[str, str]
    run: Callable[..., tuple[int, Any, str]]

    @classmethod
    def made(
        cls,
        home: Path,
        cluster: Cluster,
        prefix: str,
        environment: dict[str, str],
        run: Callable[..., Any],
        stream: str = STREAM,
        rows: Sequence[Row] | None = None,
    ) -> Batch:
        file = home / "mine.py"
        file.write_text(stream)
        names = Settings(home, cluster.bootstrap, prefix).names(load_stream(str(file)).stream)
        made = cls(file, home, cluster, names, environment, run)
        code, _, errors = run("topics", "create", str(file))
        assert code == 0, errors
        log = records(simple_rows(ROWS) if rows is None else rows)
        put(cluster, names.topic("examples"), [each.value or b"" for each in log])
        return made

    @contextmanager
    def trainer(self, instance: str = "0", failpoint: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """Run a trainer; at the end it is terminated, and has ended in order."""
        process = self.started(instance, failpoint)
        try:
            yield process
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said

    def started(self, instance: str = "0", failpoint: str | None = None) -> subprocess.Popen[str]:
        more = {} if failpoint is None else {VARIABLE: failpoint}
        command = [*interpreter(), "trainer", str(self.file), "--instance", instance]
        with (self.home / f"trainer-{instance}.log").open("a") as out:
            env = {**self.environment, **more}
            return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, text=True)

    def killed(self, failpoint: str) -> None:
        """Run a trainer until it has killed itself."""
        process = self.started(failpoint=failpoint)
        assert process.wait(timeout=60) == -signal.SIGKILL, self.said()

    def said(self, instance: str = "0") -> str:
        return (self.home / f"trainer-{instance}.log").read_text()

    def ask(self, model: str = "quick") -> str:
        code, told, errors = self.run("train", str(self.file), model)
        assert code == 0, errors
        return str(told["id"])

    def job(self, job: str) -> KnownJob:
        found = read_states(self.cluster, self.names).get(job)
        assert found is not None
        return found

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def until_ended(self, job: str) -> KnownJob:
        self.until(lambda: not self.job(job).open)
        return self.job(job)

    def records(self, job: str) -> list[JobRecord]:
        """Return the records of a job as they are on the topic."""
        found = [read_record(each.value) for each in self._committed("jobs")]
        return [each for each in found if each is not None and each.id == job]

    def steps(self, job: str) -> list[tuple[str, int]]:
        """Return states and attempts of a job, without its progress."""
        told = [
            (each.state, each.attempt) if isinstance(each, JobState) else ("asked", 0) for each in self.records(job)
        ]
        return [each for each in told if each[0] != "progress"]

    def decisions(self, kind: str) -> list[Published | Promoted]:
        states = [read_model_update(each.value or b"").state for each in self._committed(kind)]
        return [each for each in states if isinstance(each, (Published, Promoted))]

    def _committed(self, kind: str) -> list[Record]:
        topic = self.names.topic(kind)
        with closing(self.cluster.consumer()) as consumer:
            end = topic_readers.end(consumer, topic)
            return [*topic_readers.between(consumer, Partition(topic, 0), 0, end)]

    def store(self) -> ModelStore:
        settings = Settings(self.home, self.cluster.bootstrap, self.names.prefix)
        return open_store(settings.models, settings.keys, sign=False)

    def metadata(self) -> TrainerMetadata:
        with self.cluster.admin() as admin:
            places = admin.list_group_offsets(self.names.group("trainer"))
        place = places.get(Partition(self.names.topic("jobs"), 0))
        return (None if place is None else TrainerMetadata.decode(place.metadata)) or TrainerMetadata()


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes in which this trainer trains."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "millstream.training.child" in " ".join(each.cmdline()):
                found.append(each)
    return found
