"""The data of `millstream demo --drift`, which changes in the middle, and what the demo says of it."""

from __future__ import annotations

from typing import Any

from millstream.demo.drift import FEATURE, STREAM, DriftingRows, words
from millstream.scaffold.open_data import source_of
from millstream.stream.load import load_stream
from producers.rows import OnBad


def test_the_data_of_the_demo_changes_in_the_middle_and_only_in_the_feature_that_it_names() -> None:
    loaded = load_stream(STREAM)
    source = source_of(loaded.stream, str(loaded.source))
    moved = DriftingRows(source)
    refuse: OnBad = lambda *_: None  # noqa: E731
    before, after = list(source.raw_rows(refuse)), list(moved.raw_rows(refuse))
    assert len(before) == len(after) == moved.count()
    assert before[: moved.middle] == after[: moved.middle]
    for was, now in zip(before[moved.middle :], after[moved.middle :], strict=True):
        value = was.features[FEATURE]
        assert isinstance(value, float)
        assert now.features == {**was.features, FEATURE: value + 1.5}
        assert (now.named, now.line) == (was.named, was.line)


def found(**alert: Any) -> dict[str, Any]:
    row = {"name": "monitor.drift", "severity": "warning", "state": "raised", "message": "drift: 1 has moved", **alert}
    decision = {"by": "monitor.drift", "decision": "paused", "why": "drift: 1 has moved"}
    raised = row["state"] == "raised"
    return {"alerts": [row], "decisions": [decision] if raised else [], "page": "/home/demo.html"}


def test_the_end_names_the_alarm_and_the_action_or_says_why_there_was_none() -> None:
    text = "\n".join(words(found(), STREAM))
    assert "1.5 was added to feature '1'" in text
    assert "monitor.drift (warning): drift: 1 has moved" in text
    assert "monitor.drift: paused: drift: 1 has moved" in text
    assert f"millstream resume {STREAM}" in text
    assert "/home/demo.html" in text
    assert "no alert was raised: " in "\n".join(words(found(state="cleared"), STREAM))
