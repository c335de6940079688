"""`/metrics`, `/livez` and `/readyz` of one process, answered by a thread that never stands in the role's way."""

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
"""Returns why not, or `None` where all is well."""


class PortTaken(OSError):  # noqa: N818
    """Nothing can be served there; the message says why and names the way out."""

    exit_code = FAILED


class MetricsServer:
    """Serves until it is closed, or the process ends.

    Parameters
    ----------
    port
        0 takes a free one; see `url`.

    Raises
    ------
    PortTaken
        Where the address cannot be listened at.
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
        # It looks that often whether it is to end.
        serve = partial(self._server.serve_forever, poll_interval=0.1)
        self._thread = threading.Thread(target=serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is served."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Answers a few at a time, and each for a while only.

    The port is open to whoever reaches it, and a thread each, for as long as somebody sends a byte now and then, would
    be all of the role's memory. Where all places are taken the oldest makes room: an answer takes milliseconds.
    """

    daemon_threads = True
    request_queue_size = 64  # of the library's five the sixth of a burst comes back after a second
    # One that hangs up early, or sends rubbish, is nothing to print a traceback about.
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
        except RuntimeError:  # no thread is to be had
            self._left(request)
            raise

    def process_request_thread(self, request: _Request, client_address: _Address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left(request)

    def service_actions(self) -> None:
        """End those who take too long; the loop that serves calls it ten times a second."""
        late = time.monotonic() - _REQUEST_SECONDS
        for connection, since in list(self._since.items()):
            if since < late:
                _hang_up(connection)

    def _left(self, request: _Request) -> None:
        self._since.pop(request, None)  # type: ignore[arg-type] # the library lets it be a pair, which UDP has
        self._free.release()


def _hang_up(connection: socket.socket | None) -> None:
    """Wake the thread that waits for a connection; it closes it itself."""
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

    do_HEAD = do_GET  # noqa: N815 - the library's own way of naming

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """A scrape every few seconds is no news."""
