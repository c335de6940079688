"""`millstream serve`, `server` and `forwarder`: answers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from consumers.roles import FORWARDER, SERVER
from millstream.cli.http_security import HttpSecurity, listening_address
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.roles import Instance, run_role
from millstream.cli.shared_options import HERE, CodePolicy, StreamFileName, UsageError, Where, byte_count, load_file
from millstream.cli.uploads import UploadOptions

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.processes.http_roles import ServerOptions
    from millstream.processes.serving import Beside
    from millstream.stream.load import LoadedStream

_LARGEST_PORT = 65_535
_MOST_WORKERS = 64
_LEAST_SPOOL = 1 << 20


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class Http(HttpSecurity, UploadOptions):
    """Options of commands that answer over HTTP."""

    port: int = 8080
    """Port to listen at."""

    host: str = "127.0.0.1"
    """Address to listen at. One that other machines can reach (0.0.0.0) needs a token: `millstream tokens create`."""

    workers: int = 1
    """Number of processes that answer. Each has the model in memory."""

    sync: Literal["process", "disk", "kafka"] = "process"
    """What an answer has survived when it is sent: process (a kill of the server), disk (a power failure), kafka (it is
    committed on Kafka)."""

    spool: str = "1GiB"
    """Size of the spool on disk from which on requests are refused, because Kafka is away for too long."""

    remember: str = "10m"
    """Time for which an event id gets the same answer again."""

    drain: str = "0s"
    """Time to serve on after SIGTERM, with /readyz at 503, so that a load balancer can take the server out."""

    largest_body: str = "8MiB"
    """Largest body of a request."""

    largest_event: str = "1MiB"
    """Largest event or label in a request, where a number counts 8 bytes. Other requests wait while one is read: about
    50 ms for each MiB."""

    publish: Literal["spool", "before-answer", "never"] = "spool"
    """Way of answers to Kafka: spool (a forwarder takes them from there), before-answer (the server puts them
    onto Kafka before it answers, for functions that stop after the response), never (answers are in no log)."""

    unlogged: Annotated[bool, Parameter(negative="")] = False
    """Also answer when the spool is full or its disk fails. Such an answer is in no log: the header X-Logged says so,
    and it is never learned."""

    def options(self, code: Literal["own", "version"], *, is_worker: bool = False) -> ServerOptions:
        """Return the checked options. Raises UsageError, or InvalidDuration."""
        from millstream.processes.http_roles import ServerOptions
        from millstream.stream.duration import milliseconds
        from server.spool.spool import SpoolLimits
        from server.web.app import AppLimits
        from server.web.worker import Address

        if not 1 <= self.port <= _LARGEST_PORT:
            raise UsageError(f"--port {self.port} must be from 1 to {_LARGEST_PORT}")
        host, is_public = listening_address(self.host)
        if not 1 <= self.workers <= _MOST_WORKERS:
            raise UsageError(f"--workers {self.workers} must be from 1 to {_MOST_WORKERS}")
        if self.publish != "spool" and self.workers > 1:
            raise UsageError(f"--publish {self.publish} is for a server with one worker, not with {self.workers}")
        most = byte_count("--spool", self.spool)
        if most < _LEAST_SPOOL:
            raise UsageError(f"--spool {self.spool} must be at least 1MiB")
        return ServerOptions(
            address=Address(host, self.port, self.certificate()),
            workers=self.workers,
            drain_s=milliseconds(self.drain) / 1000,
            spool=SpoolLimits(
                most_bytes=most,
                remember_ms=milliseconds(self.remember),
                sync="kafka" if self.publish == "before-answer" else self.sync,
            ),
            uploads=self.upload_limits(),
            app=AppLimits(
                body_bytes=byte_count("--largest-body", self.largest_body),
                hosts=self.hosts(host),
                is_public=is_public,
            ),
            largest_event=byte_count("--largest-event", self.largest_event),
            code=code,
            unlogged=self.unlogged,
            publish=self.publish,
            is_worker=is_worker,
        )

    def words(self) -> list[str]:
        """Return the options as arguments of a worker's command."""
        return [
            *("--port", str(self.port), "--host", self.host, "--sync", self.sync, "--spool", self.spool),
            *("--remember", self.remember, "--drain", self.drain, "--largest-body", self.largest_body),
            *("--largest-event", self.largest_event, "--publish", self.publish),
            *(("--unlogged",) if self.unlogged else ()),
            *self.upload_words(),
            *super().words(),
        ]

    def beside(
        self,
        stream: str,
        code: Literal["own", "version"],
        monitoring: Monitoring = UNWATCHED,
        console: Sequence[str] | None = None,
    ) -> Beside:
        """Return what the processes of a command have in common; `console` has the arguments of a console's command."""
        from millstream.processes.serving import Beside

        return Beside(
            given=stream,
            worker=[*self.words(), "--code", code],
            importer=self.upload_words(),
            console=console,
            metrics=monitoring.address(),
            log_format="json" if monitoring.log_format == "json" else "text",
            trace_ratio=monitoring.ratio(),
        )


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class HttpWithConsole(Http):
    """Options of a command that runs a console beside the server."""

    console_port: int | None = None
    """Port of the console [default: the one after --port]; 0 runs none."""

    def console(self, code: Literal["own", "version"]) -> list[str] | None:
        """Return the arguments of the console's command, `None` to run none. Raises UsageError."""
        port = self.port + 1 if self.console_port is None else self.console_port
        if port == 0:
            return None
        if not 0 < port <= _LARGEST_PORT or port == self.port:
            raise UsageError(f"--console-port {port} must be from 0 to {_LARGEST_PORT}, and not --port")
        words = ["--port", str(port), "--host", self.host, "--drain", self.drain, "--code", code]
        return [*words, *HttpSecurity.words(self)]

    def require_console_free(self) -> None:
        """Raise PortTaken if another program listens at the console's port."""
        from server.web.worker import Address

        if (words := self.console("own")) is not None:
            Address(listening_address(self.host)[0], int(words[1])).require_free("--console-port")


@Parameter(name="*", group="HTTP")
@dataclass(frozen=True)
class HttpBeside(HttpWithConsole):
    """Options of a command that answers over HTTP if it is asked to."""

    serve: Annotated[bool, Parameter(negative="")] = False
    """Also answer over HTTP, with a server, a forwarder, an importer and a console; the other options of this group are
    for them."""


_DEFAULTS = Http()
_WITH_CONSOLE = HttpWithConsole()
NO_HTTP = HttpBeside()


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(serve)
    parent.command(server)
    parent.command(forwarder)


def serve(
    stream: StreamFileName,
    /,
    *,
    code: CodePolicy = "version",
    http: HttpWithConsole = _WITH_CONSOLE,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Answer over HTTP on this machine: workers, a forwarder of their answers to Kafka, an importer, and a console.

    Each is a supervised process. The other roles run elsewhere (`millstream run`). Ctrl-C stops them cleanly.

    Example: millstream serve my_stream.py --port 8080 --workers 2
    """
    if http.publish != "spool":
        raise UsageError(f"--publish {http.publish} is for `millstream server`: `serve` runs a forwarder")
    options = http.options(code)
    beside = http.beside(stream, code, monitoring, http.console(code))
    from millstream.observability import role_log
    from millstream.processes.serving import serve as run_all

    role_log.begin(beside.log_format, role="serve")
    settings, loaded = where.settings(), load_file(stream, "serve")
    http.require_console_free()
    return run_all(loaded, settings, options, beside)


def server(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    code: CodePolicy = "own",
    http: Http = _DEFAULTS,
    worker: Annotated[bool, Parameter(show=False, negative="")] = False,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Answer events over HTTP and take labels, until stopped. What it answers goes to the spool on its disk.

    A forwarder on the same machine puts the spool onto Kafka.

    Example: millstream server my_stream.py --port 8080
    """
    options = http.options(code, is_worker=worker)
    if options.workers > 1:
        from millstream.processes.serving import serve_workers

        beside = http.beside(stream, code, monitoring)
        settings, loaded = where.settings(), load_file(stream, SERVER)
        return serve_workers(loaded, settings, options, beside)

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.http_roles import run_server

        return run_server(loaded, settings, name, options, meter)

    return run_role(SERVER, stream, instance, where, monitoring, work)


def forwarder(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Put onto Kafka what servers on this machine wrote to their spool, until stopped.

    Each machine that has servers has one.

    Example: millstream forwarder my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.forwarding import run_forwarder

        return run_forwarder(loaded, settings, name, meter)

    return run_role(FORWARDER, stream, instance, where, monitoring, work)
