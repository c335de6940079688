"""Servers that are measured over HTTP: ours with its forwarder, the bare one, and the peer; and load on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks import material
from benchmarks.http_load import Load
from benchmarks.material import elec_file
from benchmarks.peers import environment
from benchmarks.rig import Process, Rig, until
from millstream.config.settings import Settings
from millstream.embedded_kafka.server_properties import free_port
from millstream.processes.forwarding import spool_path
from millstream.status.http_state import look
from runtime.kafka_client.records import Partition
from schemas.topics import Names

LEARNED: Final = 2000
"""Rows of Elec2 that each server's model has learned."""
CONNECTIONS: Final = 64
_WARM_UP_S: Final = 1.0
_READY_S: Final = 30.0
_LONGEST_S: Final = 120.0


@dataclass(frozen=True)
class Loaded:
    """One round of load on a server, and the processor time of the server for an answer, µs."""

    load: Load
    server_us: float


@dataclass(frozen=True)
class Server:
    """A server that answers; several processes if it has several workers."""

    rig: Rig
    port: int
    processes: tuple[Process, ...]

    def load(self, seconds: float, rate: float = 0.0, *, keep: bool = False, kind: str = "predict") -> Loaded:
        """Put load on it; without a rate, as much as it can take."""
        before = self._worked()
        words = (str(self.port), str(CONNECTIONS), str(seconds), str(rate), str(_WARM_UP_S), kind)
        said = self.rig.python("benchmarks.http_load", *words, *(["keep"] if keep else [])).wait(seconds + _READY_S)
        for each in self.processes:
            each.require()
        load = Load(**json.loads(said))
        return Loaded(load, (self._worked() - before) * 1e6 / load.answered)

    def _worked(self) -> float:
        """Return the processor time of all its processes so far, s."""
        times = [psutil.Process(each.stats.pid).cpu_times() for each in self.processes]
        return sum(each.user + each.system for each in times)


def publish_trained(rig: Rig, names: Names) -> None:
    """Have a learner learn some rows, and publish and announce its version."""
    examples, models = names.topic("examples"), names.topic("models")
    rig.load(examples, ((0, None, value) for value in material.examples(LEARNED)))
    process = rig.role("learner", names)
    try:
        process.until_ready()
        rig.drained(names.group("learner"), [examples], process)
    finally:
        process.end()
    until(lambda: sum(rig.ends(models).values()) > 0, _READY_S, "no version is announced")


class Site:
    """A server of ours and its forwarder, on one stream."""

    def __init__(self, rig: Rig, names: Names) -> None:
        self.rig, self.names = rig, names
        self._home = rig.folder / names.prefix

    @contextmanager
    def server(self, workers: int = 1) -> Iterator[Server]:
        """Run a server and its forwarder, until all that was answered is on Kafka."""
        port = free_port()
        server = Server(self.rig, port, tuple(self._start("server", port) for _ in range(workers)))
        forwarder = self._start("forwarder", port)
        try:
            for each in (*server.processes, forwarder):
                each.until_ready()
            yield server
        finally:
            for each in server.processes:
                each.end()
            forwarder.end()

    def _start(self, role: str, port: int) -> Process:
        where = (str(self._home), self.rig.cluster.bootstrap, self.names.prefix, str(port))
        return self.rig.python("benchmarks.http_process", role, *where)

    def forwarded(self) -> None:
        """Wait until all that was answered is on Kafka."""
        spool = spool_path(Settings(self._home, self.rig.cluster.bootstrap, self.names.prefix), self.names)
        until(lambda: (state := look(spool)) is not None and not state.waiting, _LONGEST_S, "the spool is not empty")

    def logged(self, since: Mapping[Partition, int]) -> int:
        """Return the number of answers on Kafka since then."""
        return sum(1 for _ in self.rig.values(self.names.topic("predictions"), dict(since)))


@contextmanager
def bare_server(rig: Rig) -> Iterator[Server]:
    """Run the bare server."""
    port = free_port()
    with _running(rig, port, rig.python("benchmarks.bare_rsgi", str(port), str(LEARNED))) as server:
        yield server


@contextmanager
def peer_server(rig: Rig) -> Iterator[Server | None]:
    """Run FastAPI and River on uvicorn; `None` if the environment of the peers has no FastAPI."""
    python = environment.python()
    if python is None or "fastapi" not in environment.versions(python):
        print("FastAPI is left out: `make peers` makes its environment", file=sys.stderr)
        yield None
        return
    port = free_port()
    words = (str(port), str(elec_file()), str(LEARNED))
    process = rig.program([python, environment.program("fastapi_server"), *words], "fastapi")
    with _running(rig, port, process) as server:
        yield server


@contextmanager
def _running(rig: Rig, port: int, process: Process) -> Iterator[Server]:
    server = Server(rig, port, (process,))
    try:
        until(lambda: _listens(process, port), _READY_S, "the server does not listen")
        yield server
    finally:
        process.end()


def _listens(process: Process, port: int) -> bool:
    process.require()
    return any(
        each.laddr.port == port and each.status == psutil.CONN_LISTEN for each in process.stats.net_connections()
    )
