"""A role as a process that is scraped: before it is ready, and with a port that somebody else has."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from scrape import get, scrape
from system.commands import millstream
from system.oracle import Stream


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def test_a_predictor_that_nobody_has_trained_is_alive_and_not_ready_and_says_json(stream: Stream) -> None:
    millstream(stream, "topics", "create", "phishing")
    process = subprocess.Popen(
        [sys.executable, "-m", "millstream", "predictor", "phishing", "--instance", "7", "--metrics-port", "0"],
        env={**stream.environment(), "MILLSTREAM_LOG_FORMAT": "auto"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline())]
        while told[-1].get("event") != "assigned":
            told.append(json.loads(process.stdout.readline()))
        said = next(each["message"] for each in told if "metrics: " in each["message"])
        url = said.split()[1].removesuffix("/metrics,")
        assert get(url + "/livez") == (200, "ok\n")
        assert get(url + "/readyz") == (503, "no version to answer with yet\n")
        assert scrape(url).value("millstream_ready") == 0
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    told += [json.loads(line) for line in rest.splitlines()]
    assert [each["event"] for each in told if "event" in each] == ["started", "assigned", "ended"]
    assert told[-1]["exit_code"] == process.returncode == 0
    assert {(each["role"], each["instance"], each["stream"]) for each in told} == {
        ("predictor", "7", f"{stream.prefix}phishing")
    }


def test_a_predictor_without_a_port_of_its_own_says_so_in_one_line_and_ends_with_1(stream: Stream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = millstream(stream, "predictor", "phishing", "--metrics-port", port, code=1)
    assert said.count("\n") == 1
    assert f"metrics cannot be served at 127.0.0.1:{port}" in said


def test_a_port_that_is_none_is_a_wrong_usage(stream: Stream) -> None:
    assert "--metrics-port 65534" in millstream(stream, "run", "phishing", "--metrics-port", "65534", code=2)
