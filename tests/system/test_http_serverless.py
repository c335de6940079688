"""A server for functions that stop after the response: it publishes before it answers, or never."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import command_server
import httpx
import pytest
from system.http_server import FLOW, SECONDS, free_port, is_ready, running, until
from system.oracle import Stream, read_all

from millstream.processes.http_roles import SERVER
from runtime.exits import USAGE
from schemas.events import read_prediction
from schemas.topics import Names

EVENT = {"event_id": "first", "features": {"x": 1.0, "y": 2.0}}


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream(str(FLOW), bootstrap, prefix, tmp_path / "home")


def command(stream: Stream, *words: str) -> subprocess.CompletedProcess[str]:
    return command_server.run(*words, env=stream.environment())


def answered(stream: Stream) -> list[str]:
    names = Names("flow", prefix=stream.prefix)
    return [read_prediction(each.value).event.event_id for each in read_all(stream.bootstrap, names.whole)]


@pytest.mark.full
def test_before_answer_is_on_kafka_when_it_is_heard_and_never_is_in_no_log(stream: Stream) -> None:
    port = free_port()
    words = (SERVER, stream.ref, "--port", str(port), "--publish")
    with running(stream, "run", stream.ref) as roles, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        until(lambda: command(stream, "models", "list", "flow").stdout.count("1/0") or roles.poll() is not None, "1/0")
        for _ in range(2):  # the second start goes on after the first one's place
            with running(stream, *words, "before-answer") as server:
                until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
                said = client.post("/v1/predict", json=EVENT, timeout=60)
                assert said.status_code == 200
                assert answered(stream) == ["first"], "committed before the answer, and once"
                assert client.post("/v1/labels", json={"event_id": "first", "value": True}).status_code == 202
                server.send_signal(signal.SIGTERM)
                assert server.wait(SECONDS) == 0
        with running(stream, *words, "never") as server:
            until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
            said = client.post("/v1/predict", json={**EVENT, "event_id": "second"}, timeout=60)
            assert (said.status_code, said.headers["x-logged"], said.json()["logged"]) == (200, "false", False)
            refused = client.post("/v1/labels", json={"event_id": "second", "value": True})
            assert (refused.status_code, "--publish never" in refused.text) == (503, True)
            server.send_signal(signal.SIGTERM)
            assert server.wait(SECONDS) == 0
        assert answered(stream) == ["first"]


@pytest.mark.parametrize("words", [("serve", "--publish", "never"), (SERVER, "--publish", "never", "--workers", "2")])
def test_publish_is_for_a_single_server(stream: Stream, words: tuple[str, ...]) -> None:
    done = command(stream, words[0], stream.ref, *words[1:])
    assert done.returncode == USAGE
    assert "--publish never is for" in done.stderr
