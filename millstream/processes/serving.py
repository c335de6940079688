"""Supervised processes that answer over HTTP on one machine: workers, forwarder, importer and console."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from consumers.roles import CONSOLE, FORWARDER, IMPORTER, SERVER
from millstream.config.settings import interpreter
from millstream.observability import role_log
from millstream.observability.role_log import say
from millstream.processes.forwarding import spool_path
from millstream.processes.run_stream import alone, environment, stopping
from millstream.processes.supervisor import Child, Supervisor
from millstream.status.http_state import look
from runtime.exits import FAILED, OK
from schemas.topics import Names
from server.forwarder.forwarder import FLUSH_S
from server.spool.folder import SpoolFolder
from server.web.worker import ENDS_WITHIN_S

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.prometheus.serve_metrics import Address as MetricsAddress
    from millstream.processes.http_roles import ServerOptions
    from millstream.stream.load import LoadedStream

_LOOK_S: Final = 0.1
_COMMIT_S: Final = 10.0  # the last transaction of a forwarder, and its end


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What the processes of `serve` have in common.

    Attributes
    ----------
    given
        The stream as the user named it.
    worker, importer, console
        Further arguments of each worker's, the importer's and the console's command; no console if `None`.
    metrics
        Address for the metrics of all of them, summed.
    """

    given: str
    worker: Sequence[str]
    importer: Sequence[str]
    console: Sequence[str] | None = None
    metrics: MetricsAddress | None = None
    log_format: Literal["text", "json"] = "text"
    trace_ratio: float = 0.0


def serve(loaded: LoadedStream, settings: Settings, options: ServerOptions, beside: Beside) -> int:
    """Run workers, forwarder, importer and console as supervised processes until told to stop; return the exit code."""
    names = settings.names(loaded.stream)
    with alone(settings.state(names), "serve.lock"):
        code = _supervise(serving(beside, settings, names, options), settings, options, beside)
        state = look(spool_path(settings, names))
        if state is not None and state.waiting:
            say(f"{state.waiting} answers and labels are not on Kafka yet: the next start publishes them")
        return code


def serving(beside: Beside, settings: Settings, names: Names, options: ServerOptions) -> list[Child]:
    """Return the processes that `serve` runs, in starting order."""
    # Forwarder and importer are named after the spool, so that those of two machines do not fence each other.
    spool_id = SpoolFolder(spool_path(settings, names)).id
    found = [
        *_workers(beside, options),
        _child(beside, FORWARDER, spool_id, (), FLUSH_S + _COMMIT_S),
        _child(beside, IMPORTER, spool_id, beside.importer),
    ]
    if beside.console is not None:
        found.append(_child(beside, CONSOLE, "0", beside.console, options.drain_s + ENDS_WITHIN_S))
    return found


def serve_workers(loaded: LoadedStream, settings: Settings, options: ServerOptions, beside: Beside) -> int:
    """Run several workers as supervised processes, as `serve` does, without the others."""
    with alone(settings.state(settings.names(loaded.stream)), "workers.lock"):
        return _supervise(_workers(beside, options), settings, options, beside)


def _supervise(children: Sequence[Child], settings: Settings, options: ServerOptions, beside: Beside) -> int:
    options.require(settings)
    with ExitStack() as opened:
        if beside.metrics is not None:
            from millstream.observability.prometheus.summed import summed

            folder = opened.enter_context(summed(beside.metrics, [child.name for child in children], say))
            children = [
                replace(child, command=(*child.command, "--metrics-socket", f"{folder}/{child.name}"))
                for child in children
            ]
        stop = opened.enter_context(stopping())
        relay = role_log.relay if beside.log_format == "json" else None
        told = {**environment(settings, beside.log_format), "MILLSTREAM_TRACE_RATIO": str(beside.trace_ratio)}
        supervisor = Supervisor(children, told, say, relay=relay)
        try:
            supervisor.start()
            while not stop.wait(_LOOK_S):
                supervisor.look()
        finally:
            say(f"ending: {', '.join(dict.fromkeys(child.role for child in children))}")
            supervisor.stop()
    return FAILED if supervisor.given_up() else OK


def _workers(beside: Beside, options: ServerOptions) -> list[Child]:
    words, within = ("--worker", *beside.worker), options.drain_s + ENDS_WITHIN_S
    return [_child(beside, SERVER, str(number), words, within) for number in range(options.workers)]


def _child(beside: Beside, role: str, instance: str, words: Sequence[str], ends_within: float = 10.0) -> Child:
    return Child(role, instance, (*interpreter(), role, beside.given, "--instance", instance, *words), ends_within)
