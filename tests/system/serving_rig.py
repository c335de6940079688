"""A stream with its server and its console as processes, which must outlast whatever is sent to them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from command_server import Started
from system.http_server import free_ports, is_ready, until
from system.oracle import Stream

EVENT = b'{"features": {"x": 1.0, "y": 2.0}}'
_ENDED = re.compile(r"^.*(?: ended with | failed: |Traceback|panicked).*$", re.MULTILINE)


@dataclass(frozen=True)
class Heard:
    """What came over a connection.

    Attributes
    ----------
    statuses
        Of the responses, in order.
    closed
        True if the server closed the connection.
    seconds
        Time until it was closed, or given up.
    """

    answer: bytes
    statuses: tuple[int, ...]
    closed: bool
    seconds: float


def raw(port: int, sent: bytes, wait_s: float = 0.3, *, shut: bool = False) -> Heard:
    """Send bytes over a connection of their own, and return what comes until nothing comes for a while.

    Parameters
    ----------
    shut
        True to end the own side afterwards, as a caller does that breaks off.
    """
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(30)
        answer, closed = b"", False
        try:
            connection.sendall(sent)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            while not closed:
                more = connection.recv(1 << 16)
                answer, closed = answer + more, not more
                connection.settimeout(wait_s)
        except TimeoutError:
            pass
        except OSError:
            closed = True
    statuses = tuple(int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer))
    return Heard(answer, statuses, closed, time.monotonic() - began)


class Serving:
    """The processes, by their ports."""

    def __init__(self, stream: Stream, process: Started, port: int, log: Path) -> None:
        self.stream, self.process, self.port, self._log = stream, process, port, log
        self.console = port + 1
        self.base = f"http://127.0.0.1:{port}"

    def said(self) -> str:
        return self._log.read_text()

    def check(self) -> None:
        """Look that no process has ended, that none failed at a request, and that events are answered."""
        assert self.process.poll() is None
        assert _ENDED.findall(self.said()) == []
        assert httpx.post(f"{self.base}/v1/predict", content=EVENT, timeout=30).status_code == 200


@contextmanager
def serving(stream: Stream, folder: Path, *words: str) -> Iterator[Serving]:
    """Run a stream with `run --serve`; what it printed is shown if the test fails."""
    port, log = free_ports(2), folder / "serving.log"
    command = ("run", stream.ref, "--serve", "--port", str(port), *words)
    with log.open("w") as out:
        process = Started(*command, env=stream.environment(), out=out.fileno(), err=out.fileno())
    try:
        found = Serving(stream, process, port, log)
        for each in (found.port, found.console):
            with httpx.Client(base_url=f"http://127.0.0.1:{each}", timeout=30) as client:
                until(lambda client=client: process.poll() is not None or is_ready(client), "it is ready")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            print(log.read_text())
