"""`/metrics`, `/livez` and `/readyz` of one process, answered by a thread that never stands in the role's way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

_REQUEST_SECONDS: Final = 5.0
Probe = Callable[[], str | None]
"""Returns why not, or `None` where all is well."""


class PortTaken(OSError):  # noqa: N818
    """Nothing can be served there; the message says why and names the way out."""

    exit_code = 1


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
    daemon_threads = True
    # One that hangs up early, or sends rubbish, is nothing to print a traceback about.
    handle_error = staticmethod(lambda request, client_address: None)


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
