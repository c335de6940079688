"""`millstream serve` as a user types it: answers, labels that are learned, and an orderly end."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_server
import httpx
import pytest
from kafka_fixture import new_prefix
from system.http_server import FLOW, SECONDS, free_port, is_ready, running, until
from system.oracle import Stream


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream(str(FLOW), bootstrap, prefix, tmp_path / "home")


@pytest.fixture(scope="module")
def roles(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    """Lend a stream whose roles are at work, and which a test serves."""
    stream = Stream(str(FLOW), bootstrap, new_prefix(), tmp_path_factory.mktemp("home"))
    created = command_server.run("topics", "create", stream.ref, env=stream.environment())
    assert created.returncode == 0, created.stderr
    with running(stream, "run", stream.ref) as process:
        yield stream
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_what_is_asked_over_http_is_learned_and_the_next_version_answers(stream: Stream) -> None:
    port = free_port()
    with (
        running(stream, "run", stream.ref, "--serve", "--port", str(port), "--workers", "2") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        until(lambda: is_ready(client) or process.poll() is not None, "a server that is ready")
        event = {"event_id": "first", "features": {"x": 1.0, "y": 2.0}}
        first = client.post("/v1/predict", json=event)
        assert (first.status_code, first.headers["x-model-version"]) == (200, "1/0")
        assert client.post("/v1/labels", json={"event_id": "first", "value": True}).status_code == 202
        learned = client.post("/v1/predict?min_version=1/1&wait=30s", json={**event, "event_id": "second"})
        assert learned.json()["version"] == "1/1"
        assert learned.json()["probabilities"] != first.json()["probabilities"]
        again = client.post("/v1/predict", json=event).json()
        assert again == {**first.json(), "repeated": True}
        words = ("trace", "flow", "first", "--json")
        told = command_server.run(*words, env=stream.environment())
        assert told.returncode == 0, told.stderr
        assert '"over_http": true' in told.stdout or '"over_http":true' in told.stdout
        assert '"equal": true' in told.stdout or '"equal":true' in told.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_one_metrics_port_for_all_workers_and_what_stays_in_the_spool_is_said(roles: Stream) -> None:
    port, metrics = free_port(), free_port()
    words = ("--workers", "2", "--drain", "1s", "--metrics-port", str(metrics))
    with (
        running(roles, "serve", roles.ref, "--port", str(port), *words) as serve,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        httpx.Client(base_url=f"http://127.0.0.1:{metrics}", timeout=30) as watch,
    ):
        until(lambda: serve.poll() is not None or (is_ready(client) and is_ready(watch)), "all workers ready")
        for number in range(40):  # each by a connection of its own, so that both workers have some
            event = {"event_id": f"m{number}", "features": {"x": 1.0, "y": 2.0}}
            assert httpx.post(f"http://127.0.0.1:{port}/v1/predict", json=event, timeout=30).status_code == 200

        def scraped() -> str:
            return watch.get("/metrics").text

        until(lambda: re.search(r'topic="predictions"} 40\.0', scraped()) is not None, "the forwarder's numbers")
        assert re.search(r'http_requests_total{.*path="/v1/predict".*} 40\.0', scraped())
        serve.send_signal(signal.SIGTERM)
        until(lambda: client.get("/readyz").status_code == 503, "unready workers")
        assert serve.wait(SECONDS) == 0


# After the test above: this server has no forwarder, and leaves what it answered in the spool.
def test_a_server_that_is_told_to_stop_is_unready_at_once_and_finishes_its_requests(roles: Stream) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    answers: list[Any] = []
    with (
        running(roles, "server", roles.ref, "--port", str(port), "--drain", "2s") as server,
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
        rows = [{"features": {"x": 1.0, "y": float(number)}} for number in range(5000)]

        def asking() -> None:
            answers.append(httpx.post(f"{base}/v1/predict", json={"events": rows}, timeout=60))

        ask = threading.Thread(target=asking)
        server.send_signal(signal.SIGTERM)
        until(lambda: client.get("/readyz").status_code == 503, "an unready server")
        assert client.post("/v1/predict", json=rows[0]).status_code == 200, "it serves on while it drains"
        ask.start()
        assert server.wait(30) == 0
        ask.join()
        assert len(answers[0].json()["answers"]) == 5000
