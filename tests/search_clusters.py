"""Clusters of Dask and Ray for searches, whose workers wait or attack when a test wishes it.

The processes are this test's own, on the loopback interface, and end with it. Their Python loads a `sitecustomize`
that wraps the function which runs a fit; what it does is said by files in a folder: see `WORKER`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from millstream.embedded_kafka.server_properties import free_port

WORKER: Final = '''
import importlib.abc, importlib.util, os, pathlib, sys, time

FOLDER = pathlib.Path({folder!r})

def attack():
    """Executed by whoever unpickles the answer; it gives an answer that attacks the next one."""
    with (FOLDER / "executed").open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    return Answer()

class Answer:
    def __reduce__(self):
        return attack, ()

def wrap(module):
    honest = module.scored

    def scored(*given):
        if (FOLDER / "hostile").exists():
            return Answer()
        if (FOLDER / "wait").exists():
            with (FOLDER / "asked").open("a") as file:
                file.write(f"{{os.getpid()}}\\n")
            while not (FOLDER / "go").exists():
                time.sleep(0.01)
        return honest(*given)

    module.scored = scored

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "millstream.training.scoring":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        load = found.loader.exec_module
        found.loader.exec_module = lambda module: (load(module), wrap(module))
        return found

sys.meta_path.insert(0, Finder())
'''
_START_SECONDS: Final = 120.0


@dataclass
class SearchCluster:
    """A cluster with two workers.

    Attributes
    ----------
    address
        As `BatchModel` takes it.
    folder
        Where files say what workers do, and workers say what they did.
    """

    folder: Path
    address: str = ""
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, **environment: str) -> None:
        """Start a process of the cluster, in a session of its own."""
        ways = [str(self.folder / "site"), *filter(None, sys.path)]
        env = {**os.environ, "PYTHONPATH": ":".join(ways), **environment}
        with (self.folder / "log").open("ab") as log:
            self._started.append(
                subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )

    def processes(self) -> set[int]:
        """Return the processes of the cluster."""
        sessions = {each.pid for each in self._started}
        found = set()
        for each in psutil.pids():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(each) in sessions:
                    found.add(each)
        return found

    def kill(self) -> None:
        """Kill all processes of the cluster."""
        while found := {each for each in self.processes() if psutil.Process(each).status() != psutil.STATUS_ZOMBIE}:
            for each in found:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            for process in self._started:
                process.poll()
        for process in self._started:
            process.wait(10)

    def say(self, word: str) -> None:
        (self.folder / word).touch()

    def unsay(self) -> None:
        """Remove what was said, and what workers told."""
        for word in ("hostile", "wait", "go", "asked", "executed"):
            (self.folder / word).unlink(missing_ok=True)

    def told(self, word: str) -> set[int]:
        """Return the processes that have written their number to a file."""
        file = self.folder / word
        return set(map(int, file.read_text().split())) if file.exists() else set()

    def until(self, condition: Callable[[], object], seconds: float = _START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)


@contextmanager
def started(kind: str, folder: Path) -> Iterator[SearchCluster]:
    """Start a cluster with two workers, ``dask`` or ``ray``; kill it at the end."""
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "sitecustomize.py").write_text(WORKER.format(folder=str(folder)))
    cluster = SearchCluster(folder)
    try:
        {"dask": _dask, "ray": _ray}[kind](cluster)
        yield cluster
    finally:
        cluster.kill()


def _dask(cluster: SearchCluster) -> None:
    port = free_port()
    dask, local = (sys.executable, "-m", "dask"), ("--host", "127.0.0.1")
    cluster.start(*dask, "scheduler", *local, "--port", str(port), "--no-dashboard", "--no-show")
    worker = ("worker", f"tcp://127.0.0.1:{port}", *local, "--nthreads", "1", "--no-dashboard")
    for number in (1, 2):
        cluster.start(*dask, *worker, "--local-directory", str(cluster.folder / f"worker-{number}"))
    cluster.until(lambda: (cluster.folder / "log").read_text().count("Registered to:") == 2)
    cluster.address = f"dask://127.0.0.1:{port}"


def _ray(cluster: SearchCluster) -> None:
    port = free_port()
    ray = Path(sys.executable).with_name("ray")
    options = {
        "--node-ip-address": "127.0.0.1",
        "--port": free_port(),
        "--ray-client-server-port": port,
        "--dashboard-agent-listen-port": free_port(),
        "--include-dashboard": "false",
        "--num-cpus": 2,
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        "--object-store-memory": 100_000_000,
        "--temp-dir": cluster.folder / "ray",
    }
    given = [str(word) for pair in options.items() for word in pair]
    # Without this, it takes the machine's other address in place of 127.0.0.1, and listens everywhere.
    here = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    cluster.start(sys.executable, str(ray), "start", "--head", "--block", "--disable-usage-stats", *given, **here)
    cluster.until(lambda: "Ray runtime started" in (cluster.folder / "log").read_text() and _listens(port))
    cluster.address = f"ray://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
