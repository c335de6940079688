"""A server whose spool is full or whose disk fails: it refuses, goes on when it can, or answers unlogged."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from system.http_server import FLOW, SECONDS, free_port, is_ready, running, until
from system.oracle import Stream

ROWS: list[dict[str, Any]] = [{"features": {"x": 1.0, "y": float(number)}} for number in range(1000)]


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream(str(FLOW), bootstrap, prefix, tmp_path / "home")


@pytest.mark.full
def test_a_full_spool_and_a_disk_that_fails(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with running(stream, "topics", "create", stream.ref) as created:
        assert created.wait(SECONDS) == 0
    words = ("server", stream.ref, "--port", str(port), "--spool", "1MiB")
    base = f"http://127.0.0.1:{port}"
    with running(stream, "run", stream.ref) as roles, httpx.Client(base_url=base, timeout=60) as client:
        with running(stream, *words) as server:
            until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
            answers: list[dict[str, Any]] = []
            while not any("error" in each for each in answers):
                answers = client.post("/v1/predict", json={"events": ROWS}).json()["answers"]
                assert len(answers) == len(ROWS)
            assert {each["error"]["code"] for each in answers if "error" in each} == {"spool-full"}
            full = client.post("/v1/predict", json={"events": ROWS[:50]})
            assert (full.status_code, full.headers["retry-after"]) == (503, "1")
            assert is_ready(client), "it is ready: the forwarder may come back at any moment"
            with running(stream, "forwarder", stream.ref) as forwarder:
                again = lambda: client.post("/v1/predict", json=ROWS[0]).status_code == 200  # noqa: E731
                until(lambda: again() or forwarder.poll() is not None, "space in the spool")
                assert again()
                forwarder.send_signal(signal.SIGTERM)
                assert forwarder.wait(SECONDS) == 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(SECONDS) == 0
        monkeypatch.setenv("MILLSTREAM_FAILPOINTS", "spool.write.before=EIO@1-")
        with running(stream, *words, "--unlogged") as server:
            until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
            said = client.post("/v1/predict", json=ROWS[0])
            assert (said.status_code, said.headers["x-logged"], said.json()["logged"]) == (200, "false", False)
            label = client.post("/v1/labels", json={"event_id": "a", "value": True})
            assert (label.status_code, label.json()["error"]["code"]) == (503, "spool-failed")
            server.send_signal(signal.SIGTERM)
            assert server.wait(SECONDS) == 0
        roles.send_signal(signal.SIGTERM)
        assert roles.wait(SECONDS) == 0
