"""Trainings on Elec2, killed at each of their states: by the schedule, by an alert, by a person; each job ends once."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_log import BEGIN_MS, STEP_MS, Row
from broker.batch_jobs import Batch, children
from loop_helpers import put
from system.dask_processes import dask

from millstream.reading.jobs import read_states
from runtime.kafka_client.cluster import Cluster
from schemas.alerts import Alert
from schemas.jobs import ENDED, JobState
from schemas.model_updates import Published

STREAM = """
from river import linear_model
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Stream

def trees():
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=20, random_state=1))

LEAVES = {"histgradientboostingclassifier__max_leaf_nodes": [3, 7, 15]}
stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "gbdt": BatchModel(trees, search=LEAVES, candidates=3, seed=7, deploy="if-better", CLUSTER),
    "drifts": BatchModel(trees, retrain_on=["monitor.drift"], not_more_than=0),
    "daily": BatchModel(trees, every="EVERY"),
})
"""
# Where a training is killed, and what it says last when it is there.
STATES = {
    "training.read": "reading the log",
    "training.tried": "trial",
    "training.searched": "search: ",
    "training.fitted": "fit on ",
    "training.saved": "fit on ",
    "training.tested": "test on ",
}
DELAY = 48  # half hours until a label comes


def elec(path: Path, count: int) -> list[Row]:
    """Return the first half hours of Elec2; what was served is the last label that was known."""
    with path.open() as data:
        events = list(islice(csv.DictReader(data), count))
    labels = [event.pop("class") in ("1", "UP", "True", "true") for event in events]
    return [
        Row(
            {name: float(value) for name, value in event.items()},
            labels[number],
            BEGIN_MS + number * STEP_MS,
            BEGIN_MS + (number + DELAY) * STEP_MS,
            labels[number - DELAY] if number >= DELAY else False,
        )
        for number, event in enumerate(events)
    ]


@pytest.fixture
def made(
    home: Path,
    cluster: Cluster,
    prefix: str,
    environment: dict[str, str],
    run: Callable[..., Any],
    elec_path: Path,
) -> Callable[..., Batch]:
    def make(count: int, search_on: str = "", every: str = "20d") -> Batch:
        text = STREAM.replace("CLUSTER", search_on).replace("EVERY", every)
        return Batch.made(home, cluster, prefix, environment, run, text, elec(elec_path, count))

    return make


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def hanging(batch: Batch, trainer: Any, job: str, place: str) -> psutil.Process:
    """Return the process that trains, once it hangs at its failpoint."""

    def there() -> bool:
        known = batch.job(job)
        return known.step is not None and known.step.text.startswith(STATES[place]) and bool(children(trainer))

    batch.until(there, 240)
    return children(trainer)[0]


def insist_on_one_end(batch: Batch) -> None:
    states = read_states(batch.cluster, batch.names)
    assert not states.open()
    for known in states:
        records = [each for each in batch.records(known.job.id) if isinstance(each, JobState)]
        assert [each.state for each in records if each.state in ENDED] == [known.state], known
        assert known.attempts - known.returned <= 3
    done = [f"{each.job.model}:{each.claim.epoch}" for each in states if each.state == "done" and each.claim]
    announced = [
        f"{each.model.partition('.')[2]}:{each.epoch}"
        for each in batch.decisions("decisions")
        if isinstance(each, Published)
    ]
    assert sorted(announced) == sorted(done)
    folder = f"{batch.home}"
    assert not [*(batch.home / "state").rglob("estimator.skops")], "folders of trainings go with them"
    alive = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert not [line for line in alive if folder in line]


def killed_in_each_way(batch: Batch, place: str) -> None:
    """At a state of a training, kill the trainer, kill the training, end the trainer in order, and cancel a job."""
    job = batch.ask("gbdt")
    trainer = batch.started("0", f"{place}=hang")
    child = hanging(batch, trainer, job, place)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    batch.until(lambda: is_over(child))

    with batch.trainer("0", f"{place}=hang") as trainer:
        child = hanging(batch, trainer, job, place)
        os.kill(child.pid, signal.SIGKILL)
        batch.until(lambda: batch.job(job).attempts == 3, 120)
        hanging(batch, trainer, job, place)

    with batch.trainer():
        known = batch.until_ended(job, 240)
    assert (known.state, known.attempts, known.returned) == ("done", 4, 1), batch.said()

    cancelled = batch.ask("gbdt")
    with batch.trainer("0", f"{place}=hang") as trainer:
        child = hanging(batch, trainer, cancelled, place)
        assert batch.run("jobs", "cancel", str(batch.file), cancelled)[0] == 0
        assert batch.until_ended(cancelled, 120).state == "cancelled"
        batch.until(lambda: is_over(child))
    insist_on_one_end(batch)


@pytest.mark.full
@pytest.mark.parametrize("place", STATES)
def test_killed_at_each_state_of_a_training_a_job_ends_once(place: str, made: Callable[..., Batch]) -> None:
    killed_in_each_way(made(3000), place)


def test_a_trainer_that_is_killed_while_it_searches_takes_its_training_with_it(made: Callable[..., Batch]) -> None:
    batch, place = made(600), "training.searched"
    job = batch.ask("gbdt")
    trainer = batch.started("0", f"{place}=hang")
    child = hanging(batch, trainer, job, place)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    batch.until(lambda: is_over(child))
    with batch.trainer():
        known = batch.until_ended(job, 240)
    assert (known.state, known.attempts) == ("done", 2), batch.said()
    insist_on_one_end(batch)


@pytest.mark.full
def test_workers_are_killed_while_a_schedule_an_alert_and_a_person_ask(
    made: Callable[..., Batch], tmp_path: Path
) -> None:
    (tmp_path / "dask").mkdir()
    with dask(tmp_path / "dask", 2) as cluster:
        batch = made(3000, f"cluster={cluster.address!r}", every="30s")
        asked = batch.ask("gbdt")
        with batch.trainer():
            batch.until(lambda: (step := batch.job(asked).step) and step.text.startswith("search: "), 240)
            cluster.kill(cluster.workers[0])
            alert = Alert("monitor.drift", "info", "raised", "x drifts", 1, {})
            put(batch.cluster, batch.names.topic("alerts"), [alert.encode()])
            assert batch.until_ended(asked, 240).state == "done", batch.said()
            again = batch.ask("gbdt")
            batch.until(lambda: (step := batch.job(again).step) and step.text.startswith("search: "), 400)
            for each in cluster.workers[1:]:
                cluster.kill(each)
            cluster.add_worker()
            assert batch.until_ended(again, 400).state == "done", batch.said()
            batch.until(lambda: {"schedule", "monitor.drift"} <= ended_by(batch), 240)
        first, second = (batch.job(each) for each in (asked, again))
        assert first.ending is not None
        assert second.ending is not None
        assert parameters(batch, asked) == parameters(batch, again), "whoever has searched has found the same"
        batch.file.write_text(batch.file.read_text().replace("30s", "20d"))
        if read_states(batch.cluster, batch.names).open():
            with batch.trainer():
                batch.until(lambda: not read_states(batch.cluster, batch.names).open(), 240)
    insist_on_one_end(batch)


def parameters(batch: Batch, job: str) -> Any:
    row = batch.run("jobs", "show", str(batch.file), job)[1]
    assert row["result"]["table"]
    return row["result"]["parameters"]


def ended_by(batch: Batch) -> set[str]:
    return {each.job.by for each in read_states(batch.cluster, batch.names) if each.state == "done"}
