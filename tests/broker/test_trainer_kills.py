"""The trainer as a process on a real Kafka: jobs by command, killed at each state, and what becomes of a version."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from broker.batch_jobs import ROWS, Batch, children
from loop_helpers import put

from consumers.model.version_files import ESTIMATOR_FILE
from millstream.cli import app as cli
from model_store import VersionId
from runtime.kafka_client.cluster import Cluster
from schemas.alerts import Alert
from schemas.model_updates import Published

FEW = ("trainer.stored",)
REST = (
    "transaction.commit.after",
    "transaction.send.before",
    "transaction.send.after",
    "transaction.offsets.before",
    "transaction.offsets.after",
    "transaction.commit.before",
)


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run)


def announced(batch: Batch, kind: str = "decisions") -> list[str]:
    return [f"{each.model}:{each.epoch}" for each in batch.decisions(kind) if isinstance(each, Published)]


def test_a_job_by_command_is_trained_signed_announced_and_shown(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = str(batch.file)
    with batch.trainer():
        code, row, errors = batch.run("train", ref, "quick", "--wait", "--why", "a first one")
        assert (code, row["state"], row["attempts"]) == (0, "done", 1), (errors, batch.said())
        batch.until(lambda: batch.metadata().trained == 1)
    assert row["why"] == "a first one"
    version = VersionId.parse(row["version"], "mine")
    manifest = batch.store().manifest(version)
    assert (manifest.version.model, manifest.version.epoch) == ("mine.quick", 1)
    assert {ESTIMATOR_FILE, "code"} <= {*manifest.files}
    assert manifest.offset == row["claim"]["end"] == ROWS
    assert manifest.extra["job"] == row["id"]
    assert announced(batch) == announced(batch, "models") == ["mine.quick:1"]
    # What served was always wrong on half of them.
    assert row["deployed"] == "it is better, and serves instead of main"
    assert "its mean loss (error) on the newest" in row["reason"]
    assert batch.run("jobs", "list", "mine")[1]["id"] == row["id"]  # the name is enough
    for command in ("list", "show", "log"):
        assert cli.run(("jobs", command, ref)) == 0
    said = capsys.readouterr().out
    assert row["id"] in said
    assert "better by" in said
    assert "done 1 by" in said
    told = batch.run("status", ref)[1]
    assert "trainer" in told["stages"]


@pytest.mark.full
@pytest.mark.parametrize("place", [*FEW, *REST])
def test_killed_in_a_transaction_each_job_ends_once(place: str, batch: Batch) -> None:
    job = batch.ask()
    call = 1 if place == "trainer.stored" else 2  # the second is the one that claims, or ends
    batch.killed(f"{place}=kill@{call}")
    with batch.trainer():
        batch.until_ended(job)
    steps = batch.steps(job)
    assert steps[0] == ("asked", 0)
    assert [state for state, _ in steps].count("done") == 1
    assert steps[-1][0] == "done"
    attempts = [attempt for state, attempt in steps if state == "running"]
    assert attempts == list(range(1, len(attempts) + 1))
    assert announced(batch) == announced(batch, "models") == ["mine.quick:1"]
    assert len(batch.store().versions("mine.quick")) == 1


@pytest.mark.full
def test_a_trainer_killed_while_it_trains_ends_its_child_and_after_three_attempts_the_job_has_failed(
    batch: Batch,
) -> None:
    job = batch.ask("slow")
    for attempt in (1, 2, 3):
        process = batch.started()
        batch.until(lambda process=process: bool(children(process)))  # type: ignore[misc]
        [child] = children(process)
        assert batch.job(job).attempts == attempt
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        batch.until(lambda child=child: has_ended(child))  # type: ignore[misc]
    with batch.trainer():
        known = batch.until_ended(job)
        assert (known.state, known.attempts) == ("failed", 3)
        assert batch.until_ended(batch.ask()).state == "done"
    [raised] = [json.loads(line) for line in _alerts(batch)]
    assert (raised["name"], raised["severity"]) == ("trainer.failed.slow", "warning")
    assert batch.metadata().failed == 1


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _alerts(batch: Batch) -> list[str]:
    code, told, errors = batch.run("alerts", str(batch.file), "--open")
    assert code == 0, errors
    return [json.dumps(told)]


def test_a_child_that_is_killed_is_another_attempt_and_a_cancelled_job_ends_its_child(batch: Batch) -> None:
    job = batch.ask("slow")
    with batch.trainer() as process:
        for attempt in (1, 2):
            batch.until(lambda: bool(children(process)))
            [child] = children(process)
            batch.until(lambda attempt=attempt: batch.job(job).attempts == attempt)  # type: ignore[misc]
            if attempt == 1:
                os.kill(child.pid, signal.SIGKILL)
                batch.until(lambda child=child: child not in children(process))  # type: ignore[misc]
        code, wish, errors = batch.run("jobs", "cancel", str(batch.file), job, "--why", "a mistake")
        assert (code, wish["state"]) == (0, "cancel"), errors
        assert batch.until_ended(job).state == "cancelled"
        batch.until(lambda: not children(process))
    assert batch.steps(job) == [("asked", 0), ("running", 1), ("running", 2), ("cancel", 0), ("cancelled", 2)]
    code, _, errors = batch.run("jobs", "cancel", str(batch.file), job)
    assert (code, "has ended already: cancelled" in errors) == (1, True)
    assert "was killed by SIGKILL" in batch.said()


def test_an_alert_asks_for_a_job_and_an_orderly_end_costs_no_attempt(batch: Batch) -> None:
    alert = Alert("monitor.drift", "warning", "raised", "x drifts", 1, {})
    with batch.trainer() as process:
        batch.until(lambda: "ready: " in batch.said())
        batch.until(lambda: batch.metadata().models == ["quick", "slow"])
        put(batch.cluster, batch.names.topic("alerts"), [alert.encode()])
        batch.until(lambda: bool(children(process)))
    code, row, errors = batch.run("jobs", "show", str(batch.file))
    assert (code, row["by"], row["state"], row["model"]) == (0, "monitor.drift", "asked", "slow"), errors
    alive = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]  # a zombie has none
    assert not [line for line in alive if f"{batch.home}" in line]
    with batch.trainer("1") as process:
        batch.until(lambda: bool(children(process)))
        batch.run("jobs", "cancel", str(batch.file), row["id"])
        batch.until_ended(row["id"])
    assert [attempt for state, attempt in batch.steps(row["id"]) if state == "running"] == [1, 2]


def test_commands_about_jobs_say_what_is_wrong(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    ref = str(batch.file)
    wrong = [
        (("train", ref, "quik"), 2, "no batch model 'quik'; did you mean quick?"),
        (("train", "phishing", "x"), 2, "its batch models are none: batch={...} in the stream file names them"),
        (("train", ref, "quick", "--from", "9000"), 2, "has no examples from 9000 to its end"),
        (("jobs", "show", ref), 1, "mine has no job"),
        (("jobs", "cancel", ref, "nothing"), 1, "mine has no job nothing; not ended: none"),
        (("jobs", "list", ref, "--limit", "0"), 2, "--limit 0 must be at least 1"),
    ]
    for command, code, words in wrong:
        found, _, errors = batch.run(*command)
        assert (found, words in errors) == (code, True), (command, errors)
    assert cli.run(("jobs", "list", ref)) == 0
    assert "mine has no jobs" in capsys.readouterr().out
    code, told, errors = batch.run("train", ref, "quick", "--from", "100", "--to", "300")
    assert code == 0, errors
    job = batch.job(told["id"]).job
    assert (job.begin, job.end) == (100, 300)
