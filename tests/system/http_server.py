"""Servers in processes of their own, and what is waited for."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import command_server
import httpx
from command_server import Running
from system.oracle import Stream

SECONDS = 120
FLOW = Path(__file__).parents[1] / "faults" / "flow.py"


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    """Return a free port, after which another one is free: `serve` gives that to the console."""
    return free_ports(2)


def free_ports(count: int) -> int:
    """Return the first of some ports in a row, below those that the system gives to others meanwhile."""
    while True:
        first = random.randrange(20_000, 32_000)
        with ExitStack() as opened, suppress(OSError):
            for port in range(first, first + count):
                opened.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


@contextmanager
def running(stream: Stream, *words: str) -> Iterator[Running]:
    with command_server.running(*words, env=stream.environment(), end=signal.SIGKILL) as started:
        yield started


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
