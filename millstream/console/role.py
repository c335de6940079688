"""Wiring of the console's process: its desk, its endpoints and the web server."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from consumers.roles import CONSOLE
from millstream.console.desk import Desk
from millstream.console.endpoints import Endpoints
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.role_log import say
from millstream.processes import role_events
from millstream.processes.http_access import require_access, survive_sighup
from millstream.status.report import Typed
from runtime.kafka_client.cluster import KafkaAccessDenied, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from server.openapi.pages import description
from server.tokens.token_file import TokenFile
from server.web.access import Access
from server.web.app import AppLimits
from server.web.guarded_app import GuardedApp
from server.web.messages import Routes
from server.web.worker import Address, Health, Worker

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream
    from millstream.version_code.choice import Policy

LARGEST_BODY: Final = 64 << 10
MOST_REQUESTS: Final = 256
_AGAIN_S: Final = 1.0
_END_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Options of a console.

    Attributes
    ----------
    drain_s
        Seconds for which it serves on, unready, after SIGTERM.
    code
        Code that a trace runs a version with.
    """

    address: Address
    app: AppLimits
    drain_s: float = 0.0
    code: Policy = "own"

    def require(self, settings: Settings) -> None:
        """Raise NoTokens, CertificateProblem, TokenFileProblem or PortTaken if it must not or cannot listen."""
        require_access(settings, self.address, is_public=self.app.is_public, scopes="read,data,admin")
        if self.address.certificate is not None:
            survive_sighup()
        self.address.require_free()


def run_console(
    given: Typed,
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    options: ConsoleOptions,
    meter: RoleInstrumentation,
) -> int:
    """Show and decide over HTTP until told to stop; return the exit code.

    Parameters
    ----------
    given
        The stream as the user named it.
    """
    options.require(settings)
    desk = Desk(given, loaded, settings, options.code, say)
    met = _Met(desk)
    health = Health(met.lacks)
    meter.needs(health.unready)
    access = Access(TokenFile(settings.tokens), required=options.app.is_public, say=say)
    app = GuardedApp(Endpoints(desk).all(), _routes(loaded.stream.name, health), options.app, say, access)
    meter.serves(lambda: dict(app.counts.requests), lambda: 0)
    meter.assigned(())
    where = options.address
    met.start()

    def ready() -> None:
        role_events.ready(f"ready: {where} shows and decides for {loaded.stream.name}", event="listening")

    say(f"{CONSOLE} {instance} listens at {where}")
    try:
        return Worker(app, health, options.address, options.drain_s, ready, meter.turned, say).run()
    finally:
        met.close()
        say(f"{CONSOLE} has ended in order")


def _routes(stream: str, health: Health) -> Routes:
    """Return the routes that need no token."""
    return {**health.routes(), **description(stream, version("millstream"), CONSOLE)}


class _Met:
    """Looks at the stream once Kafka is there, so that the first request finds what a report compares with."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lacks: str | None = "it has not looked at the stream yet"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="look", daemon=True)

    def lacks(self) -> str | None:
        """Return why there is nothing to show yet, `None` once there was."""
        return self._lacks

    def start(self) -> None:
        """Begin to look, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Wait until a look has ended: the client of a thread that is cut off writes a traceback."""
        self._stop.set()
        self._thread.join(_END_S)

    def _look(self) -> None:
        while self._lacks is not None and not self._stop.is_set():
            try:
                self._desk.status()
                self._lacks = None
            except (KafkaError, NoBroker, KafkaAccessDenied) as error:
                why = described(error) if isinstance(error, KafkaError) else str(error)
                self._lacks = f"it cannot look at the stream: {why}"
                self._stop.wait(_AGAIN_S)
