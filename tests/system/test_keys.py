"""Keys rotated and revoked under a stream that runs: nothing is restarted, nothing between is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from system.oracle import Stream
from system.test_commands import millstream, running, told, until_learned, until_served


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def publish(stream: Stream, count: int) -> None:
    """Publish so many of the data set's events in all; those before are seen as duplicates."""
    millstream(stream, "publish", "phishing", "river:Phishing", "--limit", str(count))


def keys(stream: Stream) -> dict[str, dict[str, Any]]:
    return {row["key_id"]: row for row in told(stream, "keys", "list")}


def signer_of(stream: Stream, version: str) -> str:
    [key_id] = [key_id for key_id, row in keys(stream).items() if version in row["signed"].get("phishing", [])]
    return key_id


@pytest.mark.full
def test_a_stream_that_runs_takes_up_a_new_key_and_lets_go_of_a_revoked_one(stream: Stream, tmp_path: Path) -> None:
    first = told(stream, "keys", "init")["key_id"]
    millstream(stream, "topics", "create", "phishing")
    with running(stream, tmp_path / "run.log") as process:
        publish(stream, 50)
        until_learned(stream, 50)
        until_served(stream, "1/50")
        assert signer_of(stream, "1/50") == first
        second = told(stream, "keys", "rotate")["signs"]
        publish(stream, 80)
        until_learned(stream, 80)
        until_served(stream, "1/80")
        assert signer_of(stream, "1/80") == second
        assert "refused" not in (tmp_path / "run.log").read_text()
        told(stream, "keys", "revoke", first, "--yes", "--why", "to see it")
        # What the old key signed is refused now, and what serves goes on.
        assert "is revoked" in millstream(stream, "models", "pin", "phishing", "1/50", code=1)
        publish(stream, 100)
        until_learned(stream, 100)
        until_served(stream, "1/100")
        assert "is revoked: `millstream keys" not in (tmp_path / "run.log").read_text().replace("list` says", "")
        third = told(stream, "keys", "rotate")["signs"]
        told(stream, "keys", "revoke", second, "--yes")
    assert process.returncode == 0
    goes_on_without_a_version(stream, third, tmp_path)


def goes_on_without_a_version(stream: Stream, third: str, tmp_path: Path) -> None:
    """Every version there is has a revoked key: the learner says so, and the log gives the model back."""
    refused = millstream(stream, "learner", "phishing", code=1)
    assert "none of the" in refused
    assert "--new-epoch replay" in refused
    millstream(stream, "run", "phishing", "--new-epoch", "replay", "--until-idle", "1s")
    newest = told(stream, "models", "list", "phishing")[-1]
    assert (newest["version"], signer_of(stream, newest["version"])) == ("2/100", third)
    assert told(stream, "models", "verify", "phishing")["holds"]
