"""A stream at work with a server and consoles, each a process, for the tests of consoles."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command_server
import httpx
from command_server import Running
from system.http_server import FLOW, free_port, until
from system.oracle import Stream

EVENTS = 30


@contextmanager
def running(environ: dict[str, str], *words: str) -> Iterator[Running]:
    """Run a command for a while, and end it in order."""
    with command_server.running(*words, env=environ, end=signal.SIGTERM) as started:
        yield started


@contextmanager
def console(stream: Stream, *words: str, failpoints: str = "", ready: bool = True) -> Iterator[Console]:
    """Run a console of its own."""
    port = free_port()
    environ = {**stream.environment(), "MILLSTREAM_FAILPOINTS": failpoints}
    with (
        running(environ, "console", stream.ref, "--port", str(port), *words) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        until(lambda: answers(client, "/readyz" if ready else "/livez") or process.poll() is not None, "a console")
        yield Console(client, process)


class Console:
    """A console, as a caller sees it."""

    def __init__(self, client: httpx.Client, process: Running) -> None:
        self.client, self.process = client, process

    def get(self, path: str) -> Any:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def decide(self, deed: str, version: str | None = None, why: str = "a test") -> Any:
        body = {"why": why} if version is None else {"why": why, "version": version}
        response = self.client.post(f"/v1/{deed}", json=body)
        assert response.status_code == 200, response.text
        return response.json()


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


class Site:
    """A stream that has learned some events, with its server and its console."""

    def __init__(self, stream: Stream, server: httpx.Client, first: Console) -> None:
        self.stream, self.server, self.console = stream, server, first

    def feed(self) -> None:
        """Teach it some events, and send one that is refused."""
        for number in range(EVENTS):
            event = {"event_id": f"e/{number}", "features": {"x": number - 15.0, "y": 1.0}}
            assert self.server.post("/v1/predict", json=event).status_code == 200
            label = {"event_id": f"e/{number}", "value": number % 2 == 0}
            assert self.server.post("/v1/labels", json=label).status_code == 202
        refused = {"event_id": "refused", "features": {"x": 1000.0, "y": 1.0}}
        assert self.server.post("/v1/predict", json=refused).status_code == 422
        until(lambda: self.status()["stages"]["learner"]["done"] == EVENTS, "all are learned")
        until(lambda: self.status()["model"]["newest"] == f"1/{EVENTS}", "a version that learned all")
        until(lambda: self.status()["dead_letters"] == 1, "the dead letter")
        self.until_served(f"1/{EVENTS}")

    def status(self) -> Any:
        return self.console.get("/v1/status")

    def served(self) -> str:
        """Return the version by which the server answers."""
        response = self.server.post("/v1/predict", json={"features": {"x": 1.0, "y": 1.0}})
        assert response.status_code == 200, response.text
        return str(response.json()["version"])

    def until_served(self, version: str) -> None:
        """Wait until predictors and server answer by a version."""
        until(lambda: self.served() == version, f"the server answers by {version}")
        until(lambda: self.status()["model"]["served"] == version, f"predictors answer by {version}")


@contextmanager
def site(bootstrap: str, prefix: str, home: Path) -> Iterator[Site]:
    """Run a stream with `run --serve`."""
    stream = Stream(str(FLOW), bootstrap, prefix, home)
    ports = free_port(), free_port()
    words = ("--serve", "--port", str(ports[0]), "--console-port", str(ports[1]))
    with (
        running(stream.environment(), "run", stream.ref, *words) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", timeout=60) as client,
    ):
        for each in (server, client):
            until(lambda each=each: answers(each, "/readyz") or process.poll() is not None, "it is ready")
        found = Site(stream, server, Console(client, process))
        found.feed()
        yield found
