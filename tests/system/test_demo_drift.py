"""`millstream demo --drift` as a user types it: the alarm, what it names, and what was done about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from system.commands import lines, millstream, told, typed
from system.oracle import Stream

from consumers.roles import MONITOR


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("bananas-drift", bootstrap, prefix, tmp_path / "home")


@pytest.mark.full
def test_the_demo_raises_an_alarm_that_names_the_changed_feature_and_pauses_learning(stream: Stream) -> None:
    summary = json.loads(typed(stream, "demo", "--drift", "--json", seconds=300))
    found, alert = summary["drift"], f"{MONITOR}.drift-1"
    raised = next(each for each in found["alerts"] if each["state"] == "raised")
    assert raised["name"] == alert, "the other feature, and the answers of a model that begins to learn, raise none"
    assert "feature:1: mean " in raised["message"]
    assert raised["details"]["action.pause"].endswith("`millstream resume bananas-drift` continues it")
    [paused] = [each for each in found["decisions"] if each["by"] == alert]
    assert (paused["decision"], paused["in_force"]) == ("pause learning of main", True)
    assert "feature:1: mean " in paused["why"]
    assert summary["predictions"] == summary["events"], "answers go on"
    assert summary["learned"] < summary["events"], "learning was paused before the end"

    subjects = {each["subject"] for each in found["drift"]["findings"]}
    assert "feature:1" in subjects
    assert "feature:2" not in subjects, "the other feature is as before"
    page = Path(found["page"]).read_text()
    assert page.startswith("<!doctype html>")
    assert "feature:1" in page
    # The commands that it names at its end tell the same.
    assert told(stream, "drift", "bananas-drift")["findings"] == found["drift"]["findings"]
    assert any(each["name"] == alert for each in lines(stream, "alerts", "bananas-drift"))
    millstream(stream, "resume", "bananas-drift", "--why", "the sensor is put right")
