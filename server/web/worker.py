"""One worker: the web server in this process, until it is told to stop, and its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from runtime.exits import FAILED, OK, RoleFailure
from server.web.app import App
from server.web.connections import give_up_unread, most_connections
from server.web.messages import Request, Response, Route, Routes, error_body
from server.web.tls import Certificate, Renewals

_LOOK_S: Final = 0.02
_TURN_S: Final = 1.0
_FINISH_S: Final = 10.0
_CLOSE_S: Final = 5.0
ENDS_WITHIN_S: Final = _FINISH_S + _CLOSE_S + 5.0
"""Seconds in which a worker ends after its drain time."""
_HEADER_MS: Final = 10_000
_BACKLOG: Final = 1024


class PortTaken(Exception):  # noqa: N818
    """Nothing can listen at this address; the message says why."""

    exit_code = FAILED


class WebServerMissing(Exception):  # noqa: N818
    """The extra `http` is not installed."""

    exit_code = FAILED


@dataclass(frozen=True)
class Address:
    """Address to listen at; several workers share it."""

    host: str
    port: int
    certificate: Certificate | None = None
    """With one, HTTPS alone is spoken."""

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'' if self.certificate is None else 's'}://{name}:{self.port}"

    def require_free(self, option: str = "--port") -> None:
        """Raise PortTaken if another program listens there; `option` names another port."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
                probe.listen(1)
            except OSError as error:
                raise PortTaken(
                    f"cannot listen at {self.host}:{self.port}: {error.strerror or error}; {option} names another "
                    "port, --host another address"
                ) from error


class Health:
    """``/livez`` and ``/readyz``.

    Parameters
    ----------
    lacks
        Returns what the worker needs before it can answer, `None` if nothing.
    """

    def __init__(self, lacks: Callable[[], str | None]) -> None:
        self._lacks = lacks
        self.draining = False
        self.failure: RoleFailure | None = None
        self.stop = asyncio.Event()
        """Set when the worker must end."""

    def fail(self, failure: RoleFailure) -> None:
        """End the worker: it cannot answer any more. Call it in the event loop."""
        self.failure = self.failure or failure
        self.draining = True
        self.stop.set()

    def unready(self) -> str | None:
        """Return why requests should go elsewhere, `None` if they should come."""
        return "it is about to end" if self.draining else self._lacks()

    async def livez(self, request: Request) -> Response:
        """Answer that the process lives."""
        return Response(200, b'{"live":true}')

    async def readyz(self, request: Request) -> Response:
        """Answer whether requests should come here."""
        why = self.unready()
        return Response(200, b'{"ready":true}') if why is None else Response(503, error_body("not-ready", why))

    def routes(self) -> Routes:
        """Return the routes of both."""
        livez, readyz = Route(self.livez, None), Route(self.readyz, None)
        return {"/livez": {"GET": livez, "HEAD": livez}, "/readyz": {"GET": readyz, "HEAD": readyz}}


class Worker:
    """Serves an application.

    Parameters
    ----------
    drain_s
        Seconds for which it serves on after SIGTERM, unready, so that a load balancer can take it out.
    ready
        Called once, when it listens and is ready.
    turned
        Called every second, as long as the event loop turns.
    say
        Prints one line for the operator.
    """

    def __init__(
        self,
        app: App,
        health: Health,
        address: Address,
        drain_s: float,
        ready: Callable[[], None],
        turned: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._app, self._health, self._address = app, health, address
        self._drain_s = drain_s
        self._ready = ready
        self._turned = turned
        self._say = say

    def run(self) -> int:
        """Serve until SIGTERM, Ctrl-C or a failure; return the exit code.

        Raises
        ------
        WebServerMissing
            If the extra `http` is not installed.
        """
        server = self._server()
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.run(self._serve(server))
        return asyncio.run(self._serve(server))

    def _server(self) -> Any:
        try:
            from granian.constants import HTTPModes, Interfaces, SSLProtocols
            from granian.http import HTTP1Settings
            from granian.server.embed import Server
        except ImportError as error:
            raise WebServerMissing(
                f"answers over HTTP need the extra `http`: pip install 'millstream[http]' ({error})"
            ) from error
        logging.getLogger("_granian").setLevel(logging.CRITICAL)  # it warns of its own state at every start

        certificate = self._address.certificate

        def make() -> Any:
            # Made in the running loop, which its constructor looks for.
            return Server(
                self._app,
                address=self._address.host,
                port=self._address.port,
                interface=Interfaces.RSGI,
                http=HTTPModes.http1,
                websockets=False,
                backlog=_BACKLOG,
                backpressure=most_connections(),
                http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MS),
                log_enabled=False,
                ssl_cert=None if certificate is None else certificate.cert,
                ssl_key=None if certificate is None else certificate.key,
                ssl_protocol_min=SSLProtocols.tls12,
            )

        return make

    async def _serve(self, make: Callable[[], Any]) -> int:
        loop = asyncio.get_running_loop()
        stop = self._health.stop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = make()
        serving = loop.create_task(server.serve())
        waiting = loop.create_task(stop.wait())
        telling = [loop.create_task(self._tell_ready()), loop.create_task(self._tell_turns())]
        if self._address.certificate is not None:
            telling.append(loop.create_task(self._renew(server, Renewals(self._address.certificate, self._say))))
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for each in telling:
            each.cancel()
        if serving.done():
            serving.result()
            return FAILED  # it never ends by itself
        await self._drain()
        server.stop()
        # Idle connections that callers keep open would hold it up.
        await asyncio.wait({serving}, timeout=_CLOSE_S)
        serving.cancel()
        failure = self._health.failure
        return OK if failure is None else failure.exit_code

    async def _tell_ready(self) -> None:
        while self._health.unready() is not None:
            await asyncio.sleep(_LOOK_S)
        give_up_unread(self._address.port)
        self._ready()

    async def _tell_turns(self) -> None:
        while True:
            self._turned()
            await asyncio.sleep(_TURN_S)

    async def _renew(self, server: Any, renewals: Renewals) -> None:
        """Use a renewed certificate for new connections; those that are open end after their request."""
        look = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look.set)
        while True:
            give_up_unread(self._address.port)  # a reload listens at a new socket
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(look.wait(), _TURN_S)
            look.clear()
            if renewals.renewed():
                server.reload()

    async def _drain(self) -> None:
        """Serve on, unready, for the drain time; then wait for the requests that are worked on."""
        self._health.draining = True
        if self._health.failure is None:
            await asyncio.sleep(self._drain_s)
        until = asyncio.get_running_loop().time() + _FINISH_S
        while self._app.running and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_LOOK_S)
