"""`millstream console`: decisions and status over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cyclopts
from cyclopts import Parameter

from consumers.roles import CONSOLE
from millstream.cli.http import listening
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.roles import Instance, run_role
from millstream.cli.shared_options import HERE, CodePolicy, StreamFileName, Where, to_create

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class ConsoleHttp:
    """Options of the console's web server."""

    port: int = 8081
    """Port to listen at."""

    host: str = "127.0.0.1"
    """Address to listen at: a loopback address."""

    drain: str = "0s"
    """Time to serve on after SIGTERM, with /readyz at 503, so that a load balancer can take the console out."""


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
    from millstream.stream.duration import milliseconds

    address, drain_s = listening(http.host, http.port), milliseconds(http.drain) / 1000

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.console.role import ConsoleOptions, run_console
        from millstream.status.report import Typed

        options = ConsoleOptions(address=address, drain_s=drain_s, code=code)
        return run_console(Typed(stream, to_create(stream)), loaded, settings, name, options, meter)

    return run_role(CONSOLE, stream, instance, where, monitoring, work)
