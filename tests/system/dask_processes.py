"""A Dask scheduler and its workers as processes, as a person starts them, to be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client


@dataclass
class Dask:
    """A scheduler and its workers.

    Attributes
    ----------
    address
        As `BatchModel(cluster=)` takes it.
    """

    folder: Path
    port: int
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker, which the scheduler need not know yet."""
        words = ("worker", f"tcp://127.0.0.1:{self.port}", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        self.workers.append(_started(self.folder, *words))
        return self.workers[-1]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process with -9."""
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[Dask]:
    """Run a scheduler with so many workers."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    words = ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
    running = Dask(folder, port, _started(folder, *words))
    try:
        for _ in range(workers):
            running.add_worker()
        with Client(f"tcp://127.0.0.1:{port}", set_as_default=False, timeout=60) as client:
            client.wait_for_workers(workers, timeout=120)
        yield running
    finally:
        for process in (*running.workers, running.scheduler):
            process.kill()
            process.wait()


def _started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / f"dask-{words[0]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
