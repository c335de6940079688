"""Jobs of a schedule, of alerts and of people, while trainers and their children are killed: each ends once."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from broker.batch_jobs import Batch, children
from loop_helpers import put

from consumers.loop.job_states import KnownJob
from millstream.reading.jobs import read_states
from runtime.kafka_client.cluster import Cluster
from schemas.alerts import Alert
from schemas.jobs import ENDED, JobState
from schemas.model_updates import Published

SECONDS = 75
STREAM = """
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from river import linear_model
from millstream import BatchModel, Stream

def make():
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "often": BatchModel(make, every="30s"),
    "drifts": BatchModel(make, retrain_on=["monitor.drift"], not_more_than=0, deploy="if-better"),
})
"""

pytestmark = pytest.mark.full


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run, STREAM)


def harm(batch: Batch, trainers: dict[str, subprocess.Popen[str]], chance: random.Random) -> Counter[str]:
    """Kill, ask and cancel for a time; return what was done how often."""
    done, asked = Counter[str](), list[str]()
    batch.until(lambda: any("ready: 2 partitions" in batch.said(each) for each in trainers), 120)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 4))
        what = chance.choice(["trainer", "child", "ask", "alert", "cancel", *["nothing"] * 3])
        done[what] += 1
        if what == "trainer":
            instance = chance.choice([*trainers])
            trainers[instance].send_signal(signal.SIGKILL)
            trainers[instance].wait(timeout=10)
            trainers[instance] = batch.started(instance)
        elif what == "child":
            for process in trainers.values():
                for child in children(process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
        elif what == "ask":
            asked.append(batch.ask("drifts"))
        elif what == "alert":
            alerts = [Alert("monitor.drift", "info", state, "x", 1, {}) for state in ("cleared", "raised")]
            put(batch.cluster, batch.names.topic("alerts"), [each.encode() for each in alerts])
        elif what == "cancel" and asked:
            batch.run("jobs", "cancel", str(batch.file), asked[-1])
    return done


def test_each_job_ends_once_whatever_is_killed(batch: Batch) -> None:
    trainers = {instance: batch.started(instance) for instance in ("0", "1")}
    try:
        done = harm(batch, trainers, random.Random(20))
    finally:
        for process in trainers.values():
            process.terminate()
        codes = [process.wait(timeout=60) for process in trainers.values()]
    assert {*codes} <= {0, -signal.SIGTERM}, "in order, or before it had begun"
    batch.file.write_text(STREAM.replace('every="30s"', 'every="20d"'))
    with batch.trainer("2"):
        batch.until(lambda: not read_states(batch.cluster, batch.names).open(), 400)
    ends = Counter[str]()
    for known in read_states(batch.cluster, batch.names):
        records = [each for each in batch.records(known.job.id) if isinstance(each, JobState)]
        assert [each.state for each in records if each.state in ENDED] == [known.state], known
        running = [each for each in records if each.state == "running"]
        assert [each.attempt for each in running] == [*range(1, len(running) + 1)]
        assert len({each.detail for each in running}) <= 1
        assert known.attempts - known.returned <= 3
        ends[known.state] += 1
    announced = [(each.model, each.epoch) for each in batch.decisions("decisions") if isinstance(each, Published)]
    assert len(announced) == len({*announced}) <= ends["done"]
    assert ends["done"] >= 3, (ends, done)
    kinds = {known.job.by for known in read_states(batch.cluster, batch.names)}
    assert {"schedule", "monitor.drift"} <= kinds, kinds
    print(ends, done)


def test_two_slots_of_a_schedule_are_two_jobs_with_one_version_each(batch: Batch) -> None:
    def done() -> list[KnownJob]:
        return [each for each in read_states(batch.cluster, batch.names) if each.state == "done"]

    with batch.trainer():
        batch.until(lambda: len(done()) >= 2, 240)
    jobs = done()
    assert {each.job.by for each in jobs} == {"schedule"}
    assert len({each.job.id for each in jobs}) == len(jobs)
    epochs = [each.claim.epoch for each in jobs if each.claim is not None]
    assert epochs == [*range(1, len(jobs) + 1)]
