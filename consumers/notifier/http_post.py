"""One HTTP request to an address of the stream file.

No redirect is followed, no proxy of the environment is used, and nothing of the answer but its status is read. The
whole exchange has one deadline: a receiver that sends a byte now and then cannot prolong it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Final

TIMEOUT_S: Final = 5.0
_SUCCESS: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


class Undelivered(Exception):  # noqa: N818
    """A request had no success; the message says why, without the address or anything that was sent.

    Attributes
    ----------
    refused
        True if the receiver finds the content invalid, or says that it is gone for good: the same content would be
        refused again.
    """

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


_FINAL: Final = (400, 410, 413, 422)
"""Statuses that will not change; of 410, Standard Webhooks says that nothing more is to be sent."""


def post(url: str, headers: Mapping[str, str], body: bytes, timeout_s: float = TIMEOUT_S) -> None:
    """Post a body.

    Raises
    ------
    Undelivered
        If the answer is not a success, or none has come within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    late = f"no answer within {timeout_s:g} s"
    try:
        status = _status(urllib.parse.urlsplit(url), headers, body, deadline)
    except ssl.SSLCertVerificationError as error:
        raise Undelivered(f"its certificate is refused: {error.verify_message}") from error
    except TimeoutError as error:
        raise Undelivered(late) from error
    except socket.gaierror as error:
        raise Undelivered("its name does not resolve to an address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Undelivered(late if time.monotonic() >= deadline else _described(error)) from error
    if status in _SUCCESS:
        return
    if status in _REDIRECTS:
        raise Undelivered(f"it answers with a redirect (HTTP {status}), which is not followed")
    raise Undelivered(f"it answers with HTTP {status}", refused=status in _FINAL)


def _status(url: urllib.parse.SplitResult, headers: Mapping[str, str], body: bytes, deadline: float) -> int:
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    sock = _connected(host, port, deadline)
    # A time-out of the socket is for one operation; at the deadline all operations end.
    with _ended_at(deadline) as ending:
        ending(sock)
        if url.scheme == "https":
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            ending(sock)
            sock.do_handshake()
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
        connection.request("POST", path, body, {**headers, "Host": url.netloc, "Connection": "close"})
        status = connection.getresponse().status
        if time.monotonic() >= deadline:
            raise TimeoutError  # the answer was cut off
        return status


@contextlib.contextmanager
def _ended_at(deadline: float) -> Iterator[Callable[[socket.socket], None]]:
    """Shut the socket that was named last when the deadline comes, and close it at the end of this context."""
    current: list[socket.socket] = []
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), lambda: _shut(current[-1]))
    timer.daemon = True

    def name(sock: socket.socket) -> None:
        current.append(sock)
        if len(current) == 1:
            timer.start()

    try:
        yield name
    finally:
        timer.cancel()
        current[-1].close()


def _connected(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of the host that answers in its share of the time."""
    failure: OSError = OSError("it has no address")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(left / (len(addresses) - tried))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error.with_traceback(None)  # whose frame would keep the next socket
            continue
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        return sock
    raise failure


def _shut(sock: socket.socket) -> None:
    try:
        # Not the method of an SSLSocket, which would change the wrapper under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return


def _described(error: Exception) -> str:
    """Return the kind of failure: what an exception says may hold what was sent or received."""
    if isinstance(error, ConnectionRefusedError):
        return "it refuses the connection"
    if isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
        return "it closes the connection without an answer"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as expected"
    if isinstance(error, http.client.HTTPException):
        return "its answer is not HTTP"
    return f"it cannot be reached ({type(error).__name__})"
