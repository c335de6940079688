"""The load of the benchmarks over HTTP: it counts right, and takes no wrong answer for a right one."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.append(
    str(Path(__file__).resolve().parents[2])
)  # benchmarks are not installed: they are run from the checkout

from benchmarks.http_load import Client, Failed, Load, measure, request

Answer = Callable[[socket.socket], None]
_BODY = b'{"event_id":"a"}'
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n" + _BODY


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """Answer each request of any connection so; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):  # the client may have gone
                while connection.recv(65536):
                    answer(connection)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def load(port: int, seconds: float, rate: float = 0.0, warm_up: float = 0.0, *, keep: bool = False) -> Load:
    with Client(port, 3, [request("/v1/predict", b"{}")], keep=keep) as client:
        return measure(client, seconds, rate, warm_up)


def in_two(connection: socket.socket) -> None:
    connection.sendall(_WHOLE[:50])
    connection.sendall(_WHOLE[50:])


@pytest.mark.parametrize("answer", [lambda connection: connection.sendall(_WHOLE), in_two], ids=["whole", "in two"])
def test_each_answer_is_counted_once(answer: Answer) -> None:
    with server(answer) as port:
        found = load(port, 0.3, warm_up=0.1, keep=True)
    assert found.answered > 3
    assert 0 < found.rate * 0.2 <= found.answered
    assert 0 < found.p50 <= found.p99 <= found.longest
    assert found.answers.keys() == {"a"}


def test_at_a_rate_as_many_are_sent_as_it_says() -> None:
    with server(lambda connection: connection.sendall(_WHOLE)) as port:
        assert 36 <= load(port, 0.4, rate=100).answered <= 41


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda connection: connection.sendall(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"), "503 Busy"),
        (lambda connection: connection.shutdown(socket.SHUT_RDWR), "closed a connection"),
    ],
    ids=["an error", "a closed connection"],
)
def test_anything_but_an_answer_ends_the_load(answer: Answer, why: str) -> None:
    with server(answer) as port, pytest.raises(Failed, match=why):
        load(port, 0.3)
