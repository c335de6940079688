"""`run` and `demo` with the embedded broker: they start it again when it dies, and no event is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.embedded_kafka.server_properties import free_port

SECONDS = 120
ROWS = 600


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Lend a home whose broker has a port of its own, and end what a run has started there."""
    place = tmp_path / "home"
    (place / "broker").mkdir(parents=True)
    (place / "broker" / "port").write_text(f"{free_port()}\n")
    yield place
    EmbeddedBroker(place / "broker").kill()


def start(home: Path, log: Path, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "millstream", *words],
            env={**environment, "MILLSTREAM_HOME": str(home)},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


def until(condition: Callable[[], bool], told: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, told.read_text()
        time.sleep(0.1)


@pytest.mark.full
def test_a_broker_that_is_killed_under_a_run_is_back_and_every_event_is_answered_once(
    home: Path, tmp_path: Path
) -> None:
    log, sent, answers = tmp_path / "run.log", tmp_path / "publish.log", tmp_path / "predictions"
    run = start(home, log, "run", "phishing")
    try:
        until(lambda: log.read_text().count("ready: ") >= 3, log)
        publish = start(home, sent, "publish", "phishing", "river:Phishing", "--rate", "60", "--limit", str(ROWS))
        follow = start(home, answers, "predictions", "phishing", "--json", "--follow", "--limit", "100")
        assert follow.wait(SECONDS) == 0, answers.read_text()
        pid = EmbeddedBroker(home / "broker").status().pid
        assert pid is not None
        assert publish.poll() is None, "it is in the middle of it"
        os.kill(pid, signal.SIGKILL)
        until(lambda: "the embedded broker has died; starting it again" in log.read_text(), log)
        until(lambda: "the embedded broker listens again at 127.0.0.1:" in log.read_text(), log)
        assert publish.wait(SECONDS) == 0, sent.read_text()
        counted = tmp_path / "counted"

        def all_answered() -> bool:
            assert start(home, counted, "predictions", "phishing", "--json").wait(SECONDS) == 0
            return len(counted.read_text().splitlines()) >= ROWS

        until(all_answered, log)
        ids = [json.loads(line)["event_id"] for line in counted.read_text().splitlines()]
        assert len(ids) == len(set(ids)) == ROWS
    finally:
        run.send_signal(signal.SIGINT)
        code = run.wait(SECONDS)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text() + sent.read_text()
    assert EmbeddedBroker(home / "broker").status().running, "it outlives the run, as before"


@pytest.mark.full
def test_a_broker_that_is_killed_under_a_demo_is_back_and_the_demo_ends_by_itself(home: Path, tmp_path: Path) -> None:
    log, counted = tmp_path / "demo.log", tmp_path / "counted"
    demo = start(home, log, "demo", "phishing", "--rate", "100")
    try:
        until(lambda: re.search(r" [1-9]\d\d of 1,250 events", log.read_text()) is not None, log)
        pid = EmbeddedBroker(home / "broker").status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: "the embedded broker listens again at 127.0.0.1:" in log.read_text(), log)
        assert demo.wait(SECONDS) == 0, log.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert "the embedded broker has died; starting it again" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert start(home, counted, "predictions", "phishing", "--json").wait(SECONDS) == 0
    ids = {json.loads(line)["event_id"] for line in counted.read_text().splitlines()}
    assert len(ids) == 1250


def test_a_broker_that_was_stopped_is_not_one_that_died(home: Path) -> None:
    broker = EmbeddedBroker(home / "broker")
    assert not broker.died(), "before the first start"
    broker.start()
    assert not broker.died()
    assert broker.revive() is None
    broker.stop()
    assert not broker.died()
    assert broker.revive() is None
    assert not broker.status().running
    first = broker.start()
    broker.kill()
    assert broker.died()
    again = broker.revive()
    assert again is not None
    assert (again.running, again.bootstrap) == (True, first.bootstrap)
    assert not broker.died()
