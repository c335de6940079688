"""The roles as processes, scraped while they work; and a port that somebody else has."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scrape import Scrape, get, scrape
from system.commands import millstream, running
from system.oracle import Stream

from millstream.metrics.names import METRICS

EVENTS = 200


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


def until(url: str, name: str, value: float, seconds: float = 60, **labels: str) -> Scrape:
    deadline = time.monotonic() + seconds
    while (found := scrape(url)).total(name, **labels) < value or found.total("millstream_lag_records") > 0:
        assert time.monotonic() < deadline, f"{name} is {found.total(name, **labels)}, not {value}, or there is lag"
        time.sleep(0.2)
    return found


def test_roles_at_work_show_what_they_have_done(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_METRICS_PORT", "0")
    with running(stream, tmp_path / "run.log") as process:
        assert process.poll() is None
        urls = _urls(tmp_path / "run.log")
        millstream(stream, "publish", "phishing", "river:Phishing", "--limit", str(EVENTS), "--label-delay", "0")
        learner = until(urls["learner"], "millstream_checkpoint_examples", EVENTS)
        until(urls["predictor"], "millstream_served_version_examples", EVENTS)
        joiner = until(urls["joiner"], "millstream_labels_total", EVENTS, state="joined")
        predictor = until(urls["predictor"], "millstream_record_latency_seconds_count", EVENTS)
        assert [get(url + "/readyz")[0] for url in urls.values()] == [200, 200, 200]
        assert [get(url + "/livez")[0] for url in urls.values()] == [200, 200, 200]
    assert predictor.value("millstream_records_produced_total", topic="predictions") == EVENTS
    assert predictor.total("millstream_version_swaps_total") >= 1
    assert joiner.value("millstream_join_wait_seconds_count") == EVENTS
    assert joiner.value("millstream_label_to_example_seconds_count") == EVENTS
    assert learner.value("millstream_examples_learned") == EVENTS
    assert learner.total("millstream_model_size_bytes") > 1000
    assert 0 < learner.total("millstream_model_metric", source="progressive", span="all", metric="Accuracy") < 1
    assert learner.total("process_resident_memory_bytes") > 10_000_000
    for shown in (predictor, joiner, learner):
        assert {name.removesuffix("_total") for name in METRICS} <= set(shown.families)


def _urls(log: Path) -> dict[str, str]:
    """Return where each role is scraped, as it said itself."""
    deadline = time.monotonic() + 30
    while True:
        told = re.findall(r"^(\w+)-0 +\| metrics: (http://127\.0\.0\.1:\d+)/metrics", log.read_text(), re.MULTILINE)
        if len(told) == 3:
            return dict(told)
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


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
