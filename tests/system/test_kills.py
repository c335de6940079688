"""The installed commands as processes, on the whole of Phishing, each role killed with -9 a few times."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from system.oracle import Stream, assert_once, assert_versions_are_functions_of_the_log, examples, predictions

EVENTS = 1250
ROLES = ("predictor", "joiner", "learner")


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "millstream", *words]


@pytest.fixture
def running(stream: Stream, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with (tmp_path / "run.log").open("w") as log:
        process = subprocess.Popen(
            command("run", "phishing", "--predictors", "2"),
            env=stream.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        yield process
        if process.poll() is None:
            process.kill()
            process.wait()
    print((tmp_path / "run.log").read_text()[-6000:])


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def roles_of(running: subprocess.Popen[str]) -> dict[int, str]:
    """Return pid and role of the children that are up."""
    found = {}
    for child in psutil.Process(running.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() in ROLES:
                found[child.pid] = child.name()
    return found


def status(stream: Stream) -> dict[str, object]:
    done = subprocess.run(
        command("status", "phishing", "--json"), env=stream.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def newest(stream: Stream) -> int:
    folder = stream.models / "phishing" / "versions"
    return max((int(path.stem) for path in folder.glob("*/*.json")), default=-1)


@pytest.mark.full
def test_kills_of_every_role_lose_nothing_and_repeat_nothing(stream: Stream, running: subprocess.Popen[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    until(lambda: newest(stream) == 0 and set(roles_of(running).values()) == set(ROLES), 40, "all roles up")
    publisher = subprocess.Popen(
        command("publish", "phishing", "river:Phishing", "--rate", "80", "--label-delay", "50"),
        env=stream.environment(),
        stdout=subprocess.DEVNULL,
    )
    killed = dict.fromkeys(ROLES, 0)
    while publisher.poll() is None:
        role = min(killed, key=lambda role: (killed[role], rng.random()))
        pids = [pid for pid, its_role in roles_of(running).items() if its_role == role]
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)
            killed[role] += 1
        time.sleep(rng.uniform(0.5, 2.0))  # faults come at random moments: nothing is awaited here
    assert publisher.returncode == 0
    assert min(killed.values()) >= 2
    until(lambda: newest(stream) == EVENTS, 60, f"a version of {EVENTS} examples, after kills {killed}")
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == 0

    answered = predictions(stream)
    ids = {prediction.event.event_id for prediction in answered}
    assert len(ids) == EVENTS
    assert_once([prediction.event.event_id for prediction in answered], ids, "predictions")
    assert_once([example.event.event_id for _, example in examples(stream)], ids, "examples")
    last = assert_versions_are_functions_of_the_log(stream)
    assert last.examples == EVENTS
