"""Load on an HTTP server, as a process of its own, over connections that stay open.

`python -m benchmarks.http_load PORT CONNECTIONS SECONDS RATE WARM_UP KIND [KEEP]`. With a RATE of 0, each connection
sends its next request when it has the answer to the one before. Otherwise requests are sent at that rate, and a delay
counts from the time at which its request was due. KIND is `predict`, rows of Elec2 as JSON, or `get`, of `/livez`.
Bodies are made beforehand. The first WARM_UP seconds are not counted. Prints a line of JSON, see `Load`.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Final

from benchmarks.figures import percentile
from benchmarks.material import cycle

_BODIES: Final = 20_000
_OK: Final = (b"HTTP/1.1 200", b"HTTP/1.1 202")
_SLOWEST_S: Final = 10.0


@dataclass
class Load:
    """What a load measured.

    Attributes
    ----------
    rate
        Answers a second, after the warm-up.
    answered
        Answers in all, the warm-up included; each with the status 200.
    p50, p99, longest
        Of the delay from request to answer, ms.
    cpu
        Share of a CPU that this process used.
    answers
        Asked to keep them: event id and ns of the monotonic clock of each answer.
    """

    rate: float
    answered: int
    p50: float
    p99: float
    longest: float
    cpu: float
    answers: dict[str, int] = field(default_factory=dict)


class Failed(Exception):  # noqa: N818
    """A request was not answered as it must be."""


def request(path: str, body: bytes) -> bytes:
    """Return the bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def requests(kind: str, path: str = "/v1/predict") -> list[bytes]:
    """Return requests to send in turn."""
    if kind == "get":
        return [b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"]
    return [request(path, json.dumps({"features": row.features}).encode()) for _, row in cycle(_BODIES)]


class Connection:
    """One connection; at most one request is under way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _SLOWEST_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read, self.send, self.close = self._socket.recv, self._socket.send, self._socket.close
        self._begun = b""
        self.due = 0
        """When the request was sent, or should have been, ns."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> bytes | None:
        """Read; return the whole response, `None` until all of it is there. Raises Failed."""
        try:
            data = self._read(65536)
        except ConnectionError as error:
            raise Failed(f"the server closed a connection: {error}") from error
        if self._begun:
            data = self._begun + data
        at = data.find(b"\r\n\r\n")
        if at >= 0:
            named = data.find(b"content-length: ")
            size = int(data[named + 16 : data.find(b"\r", named)]) if 0 <= named < at else 0
            if len(data) >= at + 4 + size:
                self._begun = b""
                if not data.startswith(_OK):
                    raise Failed(f"the server answered {data[:500]!r}")
                return data
        if len(data) == len(self._begun):
            raise Failed("the server closed a connection")
        self._begun = data
        return None


class Client:
    """Sends requests over all connections, and keeps each answer's delay."""

    def __init__(self, port: int, connections: int, sent: list[bytes], *, keep: bool) -> None:
        self._all = [Connection(port) for _ in range(connections)]
        self._by_number = {each.fileno(): each for each in self._all}
        self._poll = select.epoll()
        for each in self._all:
            self._poll.register(each.fileno(), select.EPOLLIN)
        self._sent, self._next = sent, 0
        self._keep = keep
        self.delays: list[int] = []
        self.ended: list[int] = []
        self.answers: dict[str, int] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._poll.close()
        for each in self._all:
            each.close()

    def _send(self, connection: Connection, due: int) -> None:
        connection.due = due
        body = self._sent[self._next % len(self._sent)]
        self._next += 1
        try:
            whole = connection.send(body) == len(body)
        except ConnectionError as error:
            raise Failed(f"the server closed a connection: {error}") from error
        if not whole:
            raise Failed("the server does not read")

    def closed(self, until: int) -> None:
        """Send the next request of a connection when it has its answer, until a time (ns)."""
        now = time.monotonic_ns()
        for each in self._all:
            self._send(each, now)
        waiting = len(self._all)
        while waiting:
            for number, _ in self._events():
                connection = self._by_number[number]
                if self._taken(connection):
                    if connection.due < until and (now := time.monotonic_ns()) < until:
                        self._send(connection, now)
                    else:
                        waiting -= 1

    def steady(self, rate: float, until: int) -> None:
        """Send requests at a rate, until a time (ns)."""
        began = time.monotonic_ns()
        idle = deque(self._all)
        number, every = 0, 1e9 / rate
        while True:
            due = began + int(number * every)
            now = time.monotonic_ns()
            if due > until and len(idle) == len(self._all):
                return
            while idle and due <= min(now, until):
                self._send(idle.popleft(), due)
                number += 1
                due = began + int(number * every)
            wait = max(0.0, (due - now) / 1e9) if idle and due <= until else _SLOWEST_S
            for ready, _ in self._poll.poll(wait):
                if self._taken(self._by_number[ready]):
                    idle.append(self._by_number[ready])

    def _events(self) -> list[tuple[int, int]]:
        if not (found := self._poll.poll(_SLOWEST_S)):
            raise Failed(f"no answer within {_SLOWEST_S:g} s")
        return found

    def _taken(self, connection: Connection) -> bool:
        answer = connection.answer()
        if answer is None:
            return False
        now = time.monotonic_ns()
        self.delays.append(now - connection.due)
        self.ended.append(now)
        if self._keep:
            self.answers[str(json.loads(answer[answer.find(b"\r\n\r\n") :])["event_id"])] = now
        return True


def measure(client: Client, seconds: float, rate: float, warm_up: float) -> Load:
    """Send for some seconds."""
    began, worked = time.monotonic_ns(), time.process_time()
    until = began + int(seconds * 1e9)
    if rate:
        client.steady(rate, until)
    else:
        client.closed(until)
    worked = time.process_time() - worked
    since = began + int(warm_up * 1e9)
    delays = [each / 1e6 for each, at in zip(client.delays, client.ended, strict=True) if since <= at <= until]
    counted = len(delays) / (seconds - warm_up)
    took = (time.monotonic_ns() - began) / 1e9
    tails = percentile(delays, 0.5), percentile(delays, 0.99), max(delays)
    return Load(counted, len(client.ended), *tails, worked / took, client.answers)


def main(port: str, connections: str, seconds: str, rate: str, warm_up: str, kind: str, keep: str = "") -> None:
    """Print what was measured."""
    with Client(int(port), int(connections), requests(kind), keep=bool(keep)) as client:
        gc.freeze()
        gc.disable()
        print(json.dumps(asdict(measure(client, float(seconds), float(rate), float(warm_up)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
