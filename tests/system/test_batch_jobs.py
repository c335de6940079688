"""A batch model as a user has it: scheduled, trained beside the loop, promoted because it is better, taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import datasets
from system.commands import lines, millstream, publish, running, told, until_learned
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


def jobs(stream: Stream) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lines(stream, "jobs", "list", stream.ref)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def until_done(stream: Stream) -> None:
    until(lambda: told(stream, "jobs", "show", stream.ref)["state"] in ("done", "failed"))


def test_a_scheduled_job_trains_a_better_model_which_serves_until_it_is_taken_back(
    stream: Stream, tmp_path: Path
) -> None:
    with running(stream, tmp_path / "run.log"):
        publish(stream, ROWS[0:600], tmp_path / "from-0.csv")
        until_learned(stream, 600)
        asked = millstream(stream, "train", stream.ref, "gbdt", "--wait")
        assert "it is better" in asked  # than main, or than the version of a job that the schedule had before
        until_done(stream)
        until(lambda: told(stream, "status", stream.ref)["model"]["served"].startswith("gbdt:"))
        publish(stream, ROWS[600:700], tmp_path / "from-600.csv")
        last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert (last.outcome.model, last.outcome.error) == ("jobs.gbdt", None)
        until(lambda: any((each["by"], each["state"]) == ("schedule", "done") for each in jobs(stream)))
        status = told(stream, "status", stream.ref)
        assert status["jobs"]["trained"] >= 2
        assert status["stages"]["trainer"]["processes"] == 1
        millstream(stream, "models", "promote", stream.ref, "main", "--why", "a person decides")
        until(lambda: ":" not in told(stream, "status", stream.ref)["model"]["served"])
        publish(stream, ROWS[700:720], tmp_path / "from-700.csv")
        last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert last.outcome.model == "jobs"
        history = millstream(stream, "models", "history", stream.ref)
        assert "gbdt" in history
