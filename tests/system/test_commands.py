"""The installed commands as a user types them, one after the other, on a Kafka that is not the embedded one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from river import datasets
from system.commands import lines, millstream, running, told, traced, typed, until_learned, until_served
from system.oracle import Stream, assert_once, assert_versions_are_functions_of_the_log, examples, predictions

from schemas.events import Prediction

EVENTS = 1250
_SECONDS = 120


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def test_the_demo_ends_by_itself_and_leaves_all_for_the_other_commands(stream: Stream) -> None:
    summary = json.loads(typed(stream, "demo", "--json"))
    assert (summary["events"], summary["predictions"], summary["learned"]) == (EVENTS, EVENTS, EVENTS)
    assert summary["metrics"]["served"]["all"]["ROCAUC"] > 0.9
    answered = predictions(stream)
    ids = {prediction.event.event_id for prediction in answered}
    assert len(ids) == EVENTS
    assert_once([prediction.event.event_id for prediction in answered], ids, "predictions")
    assert_once([example.event.event_id for _, example in examples(stream)], ids, "examples")
    assert assert_versions_are_functions_of_the_log(stream).examples == EVENTS
    assert len(lines(stream, "predictions", "phishing")) == EVENTS
    for prediction in (answered[0], max(answered, key=lambda each: each.outcome.examples)):
        again = assert_traced(stream, prediction)
    assert again["equal"], again
    assert_previewed(stream, answered)
    assert "no event 'nobody'" in millstream(stream, "trace", "phishing", "nobody", code=1)
    assert [version["examples"] for version in told(stream, "models", "list", "phishing")][-1:] == [EVENTS]
    assert not [process for process in psutil.process_iter(["environ"]) if is_role_of(process, stream)]


def assert_previewed(stream: Stream, answered: list[Prediction]) -> None:
    """The version that serves answers once more, without anybody's noticing."""
    sent = {prediction.event.event_id: prediction.event.features for prediction in answered}
    found = lines(stream, "preview", "phishing", "--count", "3", "--newest")
    assert [each["version"] for each in found] == [f"1/{EVENTS}"] * 3
    for each in found:
        assert each["features"] == sent[each["event_id"]]
        assert each["prediction"] == (each["probabilities"]["true"] > 0.5)
        assert each["error"] is None


def assert_traced(stream: Stream, prediction: Prediction) -> dict[str, Any]:
    event, outcome = prediction.event, prediction.outcome
    code, found = traced(stream, event.event_id)
    assert found["features"]["features"] == event.features
    assert [each["version"] for each in found["predictions"]] == [outcome.version]
    assert [each["kind"] for each in found["labels"]] == ["label"]
    assert [each["label"] for each in found["examples"]] == [found["labels"][0]["value"]]
    learned = int(found["learned"]["version"].partition("/")[2])
    assert learned > outcome.examples
    # Retention may have taken the version that answered; where it is there, it answers the same.
    again: dict[str, Any] = found["again"]
    assert again["equal"] or "gone by retention" in again["why"]
    assert code == (0 if again["equal"] else 1)
    return again


def is_role_of(process: psutil.Process, stream: Stream) -> bool:
    return (process.info["environ"] or {}).get("MILLSTREAM_PREFIX") == stream.prefix


def written(path: Path, first: int, last: int, *, labelled: bool) -> Path:
    """Write some rows of Phishing as a CSV, their labels left empty where they are not known yet."""
    data = list(datasets.Phishing())[first:last]
    rows = [{**features, "is_phishing": int(label) if labelled else ""} for features, label in data]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.full
def test_history_events_a_label_by_hand_and_a_pause_until_idle(stream: Stream, tmp_path: Path) -> None:
    history = written(tmp_path / "history.csv", 0, 200, labelled=True)
    new = written(tmp_path / "new.csv", 200, 300, labelled=False)
    millstream(stream, "topics", "create", "phishing")
    assert told(stream, "import", "phishing", str(history))["imported"] == 200
    again = told(stream, "import", "phishing", str(history))
    assert (again["imported"], again["already"]) == (0, 200)
    millstream(stream, "publish", "phishing", str(new))
    millstream(stream, "pause", "phishing", "--why", "to see it")
    millstream(stream, "resume", "phishing")
    said = millstream(stream, "run", "phishing", "--until-idle", "2s")
    assert "check: phishing.py is fit to run" in said
    assert told(stream, "models", "list", "phishing")[-1]["examples"] == 200
    first = lines(stream, "predictions", "phishing")[0]
    millstream(stream, "label", "phishing", first["event_id"], "true")
    with running(stream, stream.home.parent / "run.log") as process:
        refused = millstream(stream, "run", "phishing", code=1)
        assert f"phishing runs already from this MILLSTREAM_HOME, as process {process.pid}" in refused
        until_learned(stream, 201)
        assert told(stream, "models", "verify", "phishing", "1/201")["holds"]
        decide_what_serves(stream)
    assert process.returncode == 0
    assert [row["event_id"] for row in lines(stream, "examples", "phishing")][-1] == first["event_id"]


def decide_what_serves(stream: Stream) -> None:
    until_served(stream, "1/201")
    rolled_back = told(stream, "models", "rollback", "phishing", "--why", "to see it")
    assert (rolled_back["epoch"], rolled_back["why"]) == (1, "to see it")
    assert rolled_back["examples"] < 201
    until_served(stream, f"1/{rolled_back['examples']}")
    assert "there is no version 1/77 of phishing" in millstream(stream, "models", "pin", "phishing", "1/77", code=1)
    millstream(stream, "models", "pin", "phishing", "1/0")
    until_served(stream, "1/0")
    assert [each["version"] for each in told(stream, "models", "list", "phishing") if each["pinned"]] == ["1/0"]
    # What served before the pin: the version that was rolled back to.
    assert told(stream, "models", "rollback", "phishing")["examples"] == rolled_back["examples"]
    until_served(stream, f"1/{rolled_back['examples']}")
    millstream(stream, "models", "unpin", "phishing")
    until_served(stream, "1/201")
