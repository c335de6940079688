"""Jobs of several batch models, cancelled and interrupted at each stage by a person: each ends once, and is told so."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker.batch_jobs import Batch, children

from millstream.cli import app as cli
from millstream.reading.jobs import read_states
from runtime.kafka_client.cluster import Cluster

pytestmark = pytest.mark.full

STREAM = """
import sys, time
from pathlib import Path
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from river import linear_model
from millstream import BatchModel, Stream

def stage():
    frame, found = sys._getframe(), set()
    while frame is not None:
        found.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
        frame = frame.f_back
    if any(file == "searching.py" for file, _ in found):
        return "search"
    return "fit" if ("training.py", "_fitted") in found else "trial"

class Slow(LogisticRegression):
    slow_in = ""

    def fit(self, X, y, sample_weight=None):
        if stage() == self.slow_in:
            time.sleep(600)
        return super().fit(X, y)

class SlowSearch(Slow):
    slow_in = "search"

class SlowFit(Slow):
    slow_in = "fit"

def of(make, **more):
    return BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), make(random_state=1)), **more)

SEARCH = dict(search={"slowsearch__C": [0.1, 1.0, 10.0]}, candidates=3, folds=2)

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "search": of(SlowSearch, **SEARCH), "fit": of(SlowFit), "quick": of(LogisticRegression), SCHEDULED
})
"""


def made(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Any, scheduled: str) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run, STREAM.replace("SCHEDULED", scheduled))


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return made(home, cluster, prefix, environment, run, "")


def text_of(batch: Batch, job: str) -> str:
    step = batch.job(job).step
    return "" if step is None else step.text


def reached(batch: Batch, stage: str, process: subprocess.Popen[str], job: str) -> None:
    """Wait until a job is at a stage."""
    if stage == "asked":
        batch.until(lambda: bool(children(process)))  # of the job before it
        assert batch.job(job).attempts == 0
    elif stage == "running":
        batch.until(lambda: batch.job(job).state == "running")
    else:
        words = {"search": ("rung", "search"), "fit": ("fit on",)}[stage]
        batch.until(lambda: any(word in text_of(batch, job) for word in words) and bool(children(process)))


@pytest.mark.parametrize("stage", ["asked", "running", "search", "fit"])
def test_an_orderly_end_gives_a_job_back_and_a_cancelled_one_ends_once(
    stage: str, batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [batch.ask("fit")] if stage == "asked" else []
    job = batch.ask("search" if stage == "search" else "fit")
    with batch.trainer() as process:
        reached(batch, stage, process, job)
        [child] = children(process)
        process.send_signal(signal.SIGTERM)
    assert not child.is_running() or child.status() == "zombie"
    assert (batch.job(job).state, batch.job(job).open) == ("asked", True)
    assert batch.job(job).attempts == batch.job(job).returned
    with batch.trainer("1") as process:
        reached(batch, stage, process, job)
        for each in [job, *before]:
            assert cli.run(("jobs", "cancel", str(batch.file), each, "--why", "a mistake")) == 0
        assert f"job {job} is to be cancelled" in capsys.readouterr().out
        for each in [job, *before]:
            assert batch.until_ended(each).state == "cancelled"
        batch.until(lambda: not children(process))
        # The trainer goes on with others.
        assert batch.until_ended(batch.ask("quick")).state == "done"
    steps = [state for state, _ in batch.steps(job)]
    assert steps.count("cancelled") == 1
    assert steps[-1] == "cancelled"
    assert steps.count("running") == {"asked": 0}.get(stage, 2)
    assert cli.run(("jobs", "show", str(batch.file), job)) == 0
    assert "a mistake" in capsys.readouterr().out
    note = batch.metadata()
    assert (note.cancelled, note.failed, note.trained, note.waiting, note.working) == (1 + len(before), 0, 1, 0, None)


def test_a_job_that_is_done_stays_done(batch: Batch) -> None:
    job = batch.ask("quick")
    with batch.trainer():
        batch.until_ended(job)
        code, _, errors = batch.run("jobs", "cancel", str(batch.file), job)
        assert (code, f"job {job} has ended already: done" in errors) == (1, True)
    with batch.trainer("1"):
        again = batch.ask("quick")
        batch.until_ended(again)
    assert batch.steps(job) == [("asked", 0), ("running", 1), ("done", 1)]
    assert [each.epoch for each in batch.decisions("decisions")] == [1, 2]


def test_several_models_on_schedules_each_have_one_job_a_slot(
    home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]
) -> None:
    scheduled = '"a": of(LogisticRegression, every="20s"), "b": of(LogisticRegression, every="20s"), '
    scheduled += '"daily": of(LogisticRegression, every="1d", at="02:00")'
    batch = made(home, cluster, prefix, environment, run, scheduled)

    def done(model: str) -> list[str]:
        return [
            each.job.id for each in read_states(batch.cluster, batch.names) if each.job.model == model and not each.open
        ]

    with batch.trainer():
        batch.until(lambda: len(done("a")) >= 2 and len(done("b")) >= 2, 300)
    slots = Counter(each.job.id for each in read_states(batch.cluster, batch.names))
    assert set(slots.values()) == {1}
    assert not done("daily"), "a new trainer waits for its first slot"
    assert set(batch.metadata().slots) == {"a", "b", "daily"}
    for model in ("a", "b"):
        for job in done(model):
            assert [state for state, _ in batch.steps(job)] == ["asked", "running", "done"]
            assert int(time.strptime(job.split(".")[1], "%Y-%m-%dT%H:%M:%SZ").tm_sec) % 20 == 0
