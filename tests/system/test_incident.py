"""The incident of docs/operations.md, with the commands it names: labels come inverted, and are learned.

Pause, serve the version of before, make one anew without those labels, adopt it, resume, follow again. What is
served from the rollback on is never worse than what served before the incident.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from river import datasets
from system.commands import millstream, publish, running, told, until_learned, until_served
from system.oracle import Stream, predictions

from consumers.model.checkpoints import MODEL_FILE
from model_store import VersionId, open_store

BEFORE, INVERTED = 600, 1000
ROWS = list(datasets.Phishing())
HELD_OUT = ROWS[INVERTED:]


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def accuracy(stream: Stream, version: str) -> float:
    """Return how many of the held-out events a version gets right."""
    store = open_store(stream.models, stream.home / "keys", sign=False)
    model = store.load(store.manifest(VersionId.parse(version, "phishing")), MODEL_FILE)
    return sum(bool(model.predict_one(dict(x))) == y for x, y in HELD_OUT) / len(HELD_OUT)


@pytest.mark.full
def test_labels_that_were_wrong_are_taken_out_and_nothing_worse_is_served_meanwhile(
    stream: Stream, tmp_path: Path
) -> None:
    millstream(stream, "topics", "create", "phishing")
    with running(stream, tmp_path / "run.log"):
        publish(stream, ROWS[:BEFORE], tmp_path / "good.csv", rate=200)
        until_learned(stream, BEFORE)
        until_served(stream, f"1/{BEFORE}")
        since = time.time_ns() // 1_000_000
        publish(stream, [(x, not y) for x, y in ROWS[BEFORE:INVERTED]], tmp_path / "inverted.csv", rate=200)
        until_learned(stream, INVERTED)
        until_served(stream, f"1/{INVERTED}")
        good = accuracy(stream, f"1/{BEFORE}")
        assert accuracy(stream, f"1/{INVERTED}") < good - 0.1, "the incident did no harm: nothing is shown"

        millstream(stream, "pause", "phishing", "--why", "labels are inverted")
        millstream(stream, "models", "rollback", "phishing", f"1/{BEFORE}", "--why", "labels are inverted")
        until_served(stream, f"1/{BEFORE}")
        answered = len(predictions(stream))
        made = told(stream, "models", "rebuild", "phishing", "--labels-from", str(since), "--adopt", "--why", "without")
        assert (made["version"], made["learned"], made["left_out"]) == (f"2/{BEFORE}", BEFORE, INVERTED - BEFORE)
        assert made["difference"]["serving"] == f"1/{BEFORE}"
        assert made["difference"]["equal"] == 1.0  # of the same examples, the same model
        assert_traced(stream, predictions(stream))
        millstream(stream, "resume", "phishing")
        publish(stream, HELD_OUT, tmp_path / "after.csv", rate=200)
        until_served(stream, f"1/{BEFORE}")
        newest = f"2/{BEFORE + len(HELD_OUT)}"
        until_learned(stream, BEFORE + len(HELD_OUT))
        millstream(stream, "models", "unpin", "phishing")
        until_served(stream, newest)
        publish(stream, ROWS[:50], tmp_path / "then.csv", rate=200, labels=False)
        assert told(stream, "models", "verify", "phishing", newest)["holds"]

    served = {prediction.outcome.version for prediction in after_the_rollback(stream, answered)}
    assert {f"1/{BEFORE}", newest} <= served
    assert not {version for version in served if version.startswith("1/")} - {f"1/{BEFORE}"}
    assert {version: accuracy(stream, version) >= good for version in served} == dict.fromkeys(served, True)


def assert_traced(stream: Stream, answered: list[Any]) -> None:
    """One whose label was inverted was learned once, and is not in what was made anew."""
    last = max(answered, key=lambda each: each.outcome.predicted_at)
    found = told(stream, "trace", "phishing", last.event.event_id)
    assert found["learned"]["version"].startswith("1/")
    assert [(each["epoch"], each["how"]) for each in found["not_learned"]] == [(2, "left out")]


def after_the_rollback(stream: Stream, answered: int) -> list[Any]:
    by_time = sorted(predictions(stream), key=lambda each: each.outcome.predicted_at)
    return by_time[answered:]
