"""HTTP server for `/metrics`, `/livez` and `/readyz` in a thread that never blocks the role."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from runtime.exits import FAILED

_REQUEST_SECONDS: Final = 5.0  # from its beginning to the answer's end
_MOST_AT_ONCE: Final = 16
_ROOM_SECONDS: Final = 0.2
if TYPE_CHECKING:
    _Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]
    _Address: TypeAlias = Any
Probe = Callable[[], str | None]
"""A check that returns the problem, or `None` if all is well."""


class PortTaken(OSError):  # noqa: N818
    """The server cannot listen at the address; the message gives reason and solution."""

    exit_code = FAILED


class MetricsServer:
    """Serves until it is closed, or the process ends.

    Parameters
    ----------
    port
        0 chooses a free port; see `url`.

    Raises
    ------
    PortTaken
        If the server cannot listen at the address.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, live: Probe, ready: Probe) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        handler = type("_Handler", (_Answers,), {"registry": registry, "probes": {"/livez": live, "/readyz": ready}})
        try:
            self._server = type("_Family", (_Server,), {"address_family": family})((host, port), handler)
        except (OSError, OverflowError) as error:
            raise PortTaken(
                f"metrics cannot be served at {host}:{port}: {getattr(error, 'strerror', None) or error}; "
                "give another --metrics-port (0 takes a free one) or --metrics-host"
            ) from error
        # The interval at which the server checks whether it must stop.
        serve = partial(self._server.serve_forever, poll_interval=0.1)
        self._thread = threading.Thread(target=serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Return the server's address."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves a limited number of connections, each for a limited time.

    Anyone in the network can connect. Slow clients that send a byte from time to time, with a thread for each, could
    use up the role's memory. At the limit the oldest connection is closed, because an answer takes only milliseconds.
    """

    daemon_threads = True
    request_queue_size = 64  # with the library's 5, the sixth client of a burst must retry after a second
    # A client that disconnects early or sends garbage must not print a traceback.
    handle_error = staticmethod(lambda request, client_address: None)

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._since: dict[socket.socket, float] = {}
        super().__init__(address, handler)

    def process_request(self, request: _Request, client_address: _Address) -> None:
        if not self._free.acquire(blocking=False):
            _hang_up(next(iter(list(self._since)), None))
            if not self._free.acquire(timeout=_ROOM_SECONDS):
                self.shutdown_request(request)
                return
        if isinstance(request, socket.socket):
            self._since[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._left(request)
            raise

    def process_request_thread(self, request: _Request, client_address: _Address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left(request)

    def service_actions(self) -> None:
        """Close connections that take too long; the server's loop calls this ten times a second."""
        late = time.monotonic() - _REQUEST_SECONDS
        for connection, since in list(self._since.items()):
            if since < late:
                _hang_up(connection)

    def _left(self, request: _Request) -> None:
        self._since.pop(request, None)  # type: ignore[arg-type] # the library's type also allows a pair, for UDP
        self._free.release()


def _hang_up(connection: socket.socket | None) -> None:
    """Wake the thread that waits on a connection; that thread closes it."""
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Answers(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    probes: dict[str, Probe]
    timeout = _REQUEST_SECONDS
    server_version = "millstream"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.registry), kind)
        elif path in self.probes:
            why = self.probes[path]()
            self._answer(200 if why is None else 503, f"{why or 'ok'}\n".encode())
        else:
            self._answer(404, b"/metrics, /livez, /readyz\n")

    do_HEAD = do_GET  # noqa: N815 - the library defines the name

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing: there is a scrape every few seconds."""
