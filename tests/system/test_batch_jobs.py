"""A batch model as a user has it: scheduled, trained beside the loop, promoted because it is better, taken back."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest
from river import datasets
from system.commands import millstream, running, told, until_learned, until_served
from system.oracle import Stream, predictions

ROWS: list[tuple[Any, Any]] = list(datasets.Phishing())
FILE = """
from river import dummy
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Stream

def better():
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))

stream = Stream(
    name="jobs",
    task="binary",
    label="is_phishing",
    model=dummy.NoChangeClassifier,
    batch={"gbdt": BatchModel(better, every="30s", deploy="if-better")},
)
"""

pytestmark = pytest.mark.full


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    file = tmp_path / "jobs.py"
    file.write_text(FILE)
    return Stream(str(file), bootstrap, prefix, tmp_path / "home")


def publish(stream: Stream, begin: int, end: int, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*ROWS[0][0], "is_phishing"])
        writer.writeheader()
        writer.writerows({**x, "is_phishing": int(y)} for x, y in ROWS[begin:end])
    millstream(stream, "publish", stream.ref, str(path), "--rate", "400")


def until_done(stream: Stream) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (shown := told(stream, "jobs", "show", stream.ref))["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    return shown


def test_a_scheduled_job_trains_a_better_model_which_serves_until_it_is_taken_back(
    stream: Stream, tmp_path: Path
) -> None:
    with running(stream, tmp_path / "run.log"):
        publish(stream, 0, 600, tmp_path / "first.csv")
        until_learned(stream, 600)
        asked = millstream(stream, "train", stream.ref, "gbdt", "--wait")
        assert "it is better, and serves instead of main" in asked
        job = until_done(stream)
        until_served(stream, job["version"])
        publish(stream, 600, 700, tmp_path / "then.csv")
        last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert (last.outcome.model, last.outcome.error) == ("jobs.gbdt", None)
        deadline = time.monotonic() + 120
        while not [each for each in _jobs(stream) if each["by"] == "schedule" and each["state"] == "done"]:
            assert time.monotonic() < deadline
            time.sleep(1)
        status = told(stream, "status", stream.ref)
        assert status["jobs"]["trained"] >= 2
        assert status["stages"]["trainer"]["processes"] == 1
        millstream(stream, "models", "promote", stream.ref, "main", "--why", "a person decides")
        publish(stream, 700, 720, tmp_path / "more.csv")
        last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert last.outcome.model == "jobs"
        history = millstream(stream, "models", "history", stream.ref)
        assert "gbdt" in history


def _jobs(stream: Stream) -> list[dict[str, Any]]:
    from system.commands import lines

    found: list[dict[str, Any]] = lines(stream, "jobs", "list", stream.ref)
    return found
