"""A receiver of webhooks: answers as it is told, well or badly."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[socket.socket], None]


def answering(status: int, *headers: str) -> Behaviour:
    """Return the behaviour that answers with a status."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} X", *headers, "Content-Length: 2"))
    return lambda connection: connection.sendall(f"{head}\r\nok".encode())


ACCEPTS = answering(204)


def closing(connection: socket.socket) -> None:
    """Close without an answer."""


def hanging(connection: socket.socket) -> None:
    """Say nothing until the sender gives up."""
    with contextlib.suppress(OSError):
        connection.recv(1)


def endless(first: bytes, then: bytes) -> Behaviour:
    """Return the behaviour that never stops sending; that says nothing more if `then` is empty."""

    def send(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(first)
            while then:
                connection.sendall(then)
        hanging(connection)

    return send


def dripping(connection: socket.socket) -> None:
    """Send a byte of a header now and then, always before a time-out of one operation."""
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        connection.settimeout(0.1)
        gone = False
        while not gone:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                gone = not connection.recv(1)


@dataclass
class Receiver:
    """A server on this machine. `behaviour` may be changed at any time."""

    behaviour: Behaviour
    certificate: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        self.requests: list[Request] = []
        self._came = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}/hook?a=b"

    def wait(self, count: int, seconds: float = 30) -> list[Request]:
        """Wait until so many requests have come; return all."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, seconds), len(self.requests)
            return [*self.requests]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not end a call that waits
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        # What is not HTTP, such as the beginning of TLS, is not answered.
        with contextlib.suppress(OSError, ssl.SSLError, ValueError, IndexError), connection:
            if self.certificate is None:
                self._talk(connection)
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            with context.wrap_socket(connection, server_side=True) as wrapped:
                self._talk(wrapped)

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            first = lines.readline().decode()
            if not first:
                return
            headers = dict(_header(line) for line in iter(lines.readline, b"\r\n"))
            body = lines.read(int(headers.get("content-length", "0")))
        with self._came:
            self.requests.append(Request(first.split()[1], headers, body))
            behaviour = self.behaviour
            self._came.notify_all()
        behaviour(connection)


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode().strip().partition(": ")
    return name.lower(), value


@contextlib.contextmanager
def receiving(behaviour: Behaviour = ACCEPTS, certificate: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """Run a receiver inside this context."""
    receiver = Receiver(behaviour, certificate)
    try:
        yield receiver
    finally:
        receiver.close()
