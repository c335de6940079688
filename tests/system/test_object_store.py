"""A stream whose versions live in an object store: the installed commands against a server that speaks S3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_server import BUCKET, ObjectServer, object_server
from system.oracle import Stream
from system.test_commands import written

SECRET = "canary-secret-of-the-store"  # noqa: S105 - as the server hands it out
_SECONDS = 180


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def said(stream: Stream, *words: str) -> str:
    """Run a command with its store in the bucket; return all that it printed, on both outputs."""
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *words],
        env={**stream.environment(), "MILLSTREAM_STORE": f"s3://{BUCKET}/models/"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert SECRET not in done.stdout
    return done.stdout


@pytest.mark.full
def test_a_stream_learns_serves_and_verifies_from_an_object_store(
    stream: Stream, server: ObjectServer, tmp_path: Path
) -> None:
    said(stream, "topics", "create", "phishing")
    said(stream, "import", "phishing", str(written(tmp_path / "history.csv", 0, 200, labelled=True)))
    said(stream, "publish", "phishing", str(written(tmp_path / "new.csv", 200, 220, labelled=False)))
    said(stream, "run", "phishing", "--until-idle", "2s")
    listed = json.loads(said(stream, "models", "list", "phishing", "--json"))
    # Not every half second: untrained, and at the end; in between at most one each 30 s.
    assert [each["examples"] for each in listed] in ([0, 200], [0, listed[1]["examples"], 200])
    assert json.loads(said(stream, "models", "verify", "phishing", "--json"))["holds"]
    assert not (stream.home / "models").exists()
    answers = [json.loads(line) for line in said(stream, "predictions", "phishing", "--json").splitlines()]
    assert len(answers) == 20
    assert {each["version"] for each in answers} <= {each["version"] for each in listed}
    kept = [file for file in stream.home.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert kept == []
