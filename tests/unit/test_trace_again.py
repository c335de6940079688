"""What `trace` says of an answer that no version gave."""

from __future__ import annotations

from pathlib import Path

from millstream.cli.trace import confirmed
from millstream.stream.load import load_stream
from millstream.version_code.choice import VersionCode
from millstream.versions.trace_event import computed_again
from model_store import open_store
from schemas.events import Event, Failure, Outcome, Prediction


def test_an_error_for_an_answer_has_no_version_to_be_computed_by(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "models"), tmp_path / "keys", sign=False)
    outcome = Outcome(None, None, "phishing", -1, -1, 0, "phishing.features", 0, 0, Failure("type", "no number"))
    again = computed_again(VersionCode(load_stream("phishing"), store), Prediction(Event("a", 0, {}), outcome))
    assert again == {"equal": None, "why": "it was answered with an error"}
    assert confirmed(again), "nothing is wrong with it"


def test_an_answer_of_a_version_that_is_gone_is_not_confirmed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "models"), tmp_path / "keys", sign=False)
    outcome = Outcome(True, None, "phishing", 1, 200, 0, "phishing.features", 0, 0, None)
    again = computed_again(VersionCode(load_stream("phishing"), store), Prediction(Event("a", 0, {}), outcome))
    assert again == {"equal": None, "version": "1/200", "why": again["why"]}
    assert "gone by retention" in again["why"]
    assert not confirmed(again), "`millstream trace` ends with 1"
