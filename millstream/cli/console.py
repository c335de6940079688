"""`millstream console`: decisions and status over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from consumers.roles import CONSOLE
from millstream.cli.http_security import HttpSecurity, listening_address
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.roles import Instance, run_role
from millstream.cli.shared_options import HERE, CodePolicy, StreamFileName, UsageError, Where, to_create

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.console.role import ConsoleOptions
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream

_LARGEST_PORT = 65_535


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class ConsoleHttp(HttpSecurity):
    """Options of the console's web server."""

    # Annotated must be a name of this module, too: the inherited fields are evaluated here.
    port: Annotated[int, Parameter(help="Port to listen at.")] = 8081

    host: str = "127.0.0.1"
    """Address to listen at. One that other machines can reach (0.0.0.0) needs a token: `millstream tokens create`."""

    drain: str = "0s"
    """Time to serve on after SIGTERM, with /readyz at 503, so that a load balancer can take the console out."""

    def options(self, code: Literal["own", "version"]) -> ConsoleOptions:
        """Return the checked options. Raises UsageError, or InvalidDuration."""
        from millstream.console.role import LARGEST_BODY, MOST_REQUESTS, ConsoleOptions
        from millstream.stream.duration import milliseconds
        from server.web.app import AppLimits
        from server.web.worker import Address

        if not 1 <= self.port <= _LARGEST_PORT:
            raise UsageError(f"--port {self.port} must be from 1 to {_LARGEST_PORT}")
        host, is_public = listening_address(self.host)
        return ConsoleOptions(
            address=Address(host, self.port, self.certificate()),
            app=AppLimits(body_bytes=LARGEST_BODY, requests=MOST_REQUESTS, hosts=self.hosts(host), is_public=is_public),
            drain_s=milliseconds(self.drain) / 1000,
            code=code,
        )


_DEFAULTS = ConsoleHttp()


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(console)


def console(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    code: CodePolicy = "own",
    http: ConsoleHttp = _DEFAULTS,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Show status, versions, alerts and events over HTTP, and take decisions there, until stopped.

    It may pin, unpin, roll back, adopt, pause and resume, as the commands do. It writes no labels and no examples.

    Example: millstream console my_stream.py --port 8081
    """
    options = http.options(code)

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.console.role import run_console
        from millstream.status.report import Typed

        return run_console(Typed(stream, to_create(stream)), loaded, settings, name, options, meter)

    return run_role(CONSOLE, stream, instance, where, monitoring, work)
