"""A server that speaks S3, on loopback, and what can happen between it and a client."""

from __future__ import annotations

import logging
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "versions"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Network:
    """Loses, fails and delays requests, some before the store has done what was asked, some after.

    Parameters
    ----------
    share
        Of the requests that something happens to.
    hang_seconds
        Longer than the client's patience with one request.
    """

    seed: int = 0
    share: float = 0.0
    hang_seconds: float = 1.0
    done: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    next: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def fate(self) -> str:
        """Return what happens to the next request."""
        with self._lock:
            self.requests += 1
            fate = "passes"
            if self.next:
                fate = self.next.pop(0)
            elif self._random.random() < self.share:
                fate = self._random.choice(("fails", "fails after", "hangs", "hangs after"))
            self.done[fate] = self.done.get(fate, 0) + 1
            return fate


class ObjectServer:
    """moto's S3 behind a network; one request at a time, so that create-only is as atomic as it is in S3."""

    def __init__(self, network: Network) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.network = network
        self._store: Application = DomainDispatcherApplication(create_backend_app)
        self._one = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.port}"

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        fate = self.network.fate()
        environ["wsgi.input"] = _whole_body(environ)
        if fate in ("passes", "fails after", "hangs after"):
            answer, told = self._answered(environ)
        if fate == "passes":
            start(*told)
            return answer
        if fate.startswith("hangs"):
            time.sleep(self.network.hang_seconds)
        start("503 Slow Down", [("Content-Type", "text/plain")])
        return [b"AKIA-QUOTED-BY-THE-SERVER"]

    def _answered(self, environ: dict[str, Any]) -> tuple[list[bytes], tuple[str, list[tuple[str, str]]]]:
        told: list[Any] = []
        with self._one:
            answer = list(self._store(environ, lambda status, headers, *rest: told.extend((status, headers))))
        return answer, (told[0], told[1])

    def begin(self) -> None:
        """Forget what a server before has left in this process, and make the bucket."""
        for method, path in (("POST", "moto-api/reset"), ("PUT", BUCKET)):
            request = urllib.request.Request(f"{self.endpoint}/{path}", method=method)  # noqa: S310 - our own
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def environment(self) -> dict[str, str]:
        """Return what a client is told of it."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "canary-secret-of-the-store",
            "AWS_REGION": "us-east-1",
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _whole_body(environ: dict[str, Any]) -> Any:
    """Read the body before anything else: a client that is told no in the midst of it sees a broken connection."""
    import io

    return io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


@contextmanager
def object_server(network: Network | None = None) -> Iterator[ObjectServer]:
    """Lend a server with one bucket; the environment names it meanwhile."""
    server = ObjectServer(Network())
    server.begin()
    server.network = network or Network()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        try:
            yield server
        finally:
            server.close()
