"""The installed commands as a user types them, and what their answers are waited for."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command_server
from system.oracle import Stream

from millstream.status.report import served
from millstream.status.snapshot import Observer
from model_store import StoreError, open_store
from runtime.kafka_client.cluster import Cluster

_SECONDS = 120


def millstream(stream: Stream, *words: str, code: int = 0, folder: Path | None = None) -> str:
    """Run a command to its end and return what it printed; its error where that is what is expected."""
    done = command_server.run(*words, env=stream.environment(), cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


def typed(stream: Stream, *words: str, folder: Path | None = None, seconds: float = _SECONDS) -> str:
    """Run a command in a process that starts from nothing, as a user's shell starts it; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *words],
        env=stream.environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def told(stream: Stream, *words: str) -> Any:
    return json.loads(millstream(stream, *words, "--json"))


def lines(stream: Stream, *words: str) -> list[Any]:
    return [json.loads(line) for line in millstream(stream, *words, "--json").splitlines()]


def traced(stream: Stream, event_id: str) -> tuple[int, Any]:
    """Return the exit code of `trace` and its JSON, which it prints whatever the code is."""
    done = command_server.run("trace", stream.names.stream, event_id, "--json", env=stream.environment())
    assert "Traceback" not in done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def until_served(stream: Stream, version: str) -> None:
    """Wait until the predictors have a version; asked in this process, for a command's start computes for a second."""
    deadline = time.monotonic() + _SECONDS
    with Observer(Cluster(stream.bootstrap), stream.names) as observer:
        while (found := served(observer.look()).served) != version:
            assert time.monotonic() < deadline, f"{version} is to serve, not {found}"
            time.sleep(0.1)


class running:  # noqa: N801 - read as a verb
    """`millstream run` in the background, ended as a user ends it."""

    def __init__(self, stream: Stream, log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "millstream", "run", stream.ref],
                env=stream.environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> subprocess.Popen[bytes]:
        deadline = time.monotonic() + _SECONDS
        while "| ready: " not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        return self.process

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(_SECONDS)


def publish(
    stream: Stream, rows: Sequence[tuple[Any, Any]], path: Path, *, rate: int = 400, labels: bool = True
) -> None:
    """Publish rows of River's Phishing from a file that this writes."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0][0], "is_phishing"])
        writer.writeheader()
        writer.writerows({**x, "is_phishing": int(y) if labels else ""} for x, y in rows)
    millstream(stream, "publish", stream.ref, str(path), "--rate", str(rate))


def until_learned(stream: Stream, count: int) -> None:
    """Wait until the newest version has learned so many."""
    deadline = time.monotonic() + _SECONDS
    while _learned(stream) < count:
        assert time.monotonic() < deadline, f"{count} examples are not learned"
        time.sleep(0.1)


def _learned(stream: Stream) -> int:
    try:
        versions = open_store(stream.models, stream.home / "keys", sign=False).versions(stream.names.stream)
    except StoreError:  # there are no keys before there is a learner
        return -1
    return versions[-1].examples if versions else -1
