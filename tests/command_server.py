"""Commands of the product, each in a process that is forked from one that has imported all of it.

Python and the imports of a command take more than a second of processor time; a fork takes hundredths. The command
has its own process, environment, output and exit code, as if a user had typed it. How it starts from nothing is tested
where a test starts it by `sys.executable`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

_SECONDS: Final = 120
_END_SECONDS: Final = 30
_MOST_BYTES: Final = 1 << 20


@dataclass
class _Server:
    """The process that forks, and the socket to it; both end with this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None
    requests: socket.socket | None = None

    def send(self, request: bytes, descriptors: list[int]) -> None:
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self.start()
            assert self.requests is not None
            socket.send_fds(self.requests, [request], descriptors)

    def start(self) -> None:
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", __file__]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        with theirs:
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment, process_group=0)
        atexit.register(self.process.wait)
        atexit.register(self.requests.close)  # this first, which ends it


_SERVER = _Server()


class Started:
    """A command that runs, with the interface of `subprocess.Popen`."""

    def __init__(self, *words: str, env: Mapping[str, str], cwd: Path | None = None, out: int, err: int) -> None:
        self._words = words
        self.returncode: int | None = None
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = json.dumps([words, dict(env), str(cwd or Path.cwd())]).encode()
            _SERVER.send(request, [out, err, theirs.fileno()])
        self.pid = int(self._told.recv(_MOST_BYTES))

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. Raises `subprocess.TimeoutExpired` if that takes longer than `timeout` seconds."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(_MOST_BYTES))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self._told.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Running(Started):
    """One whose output can be read while it runs."""

    said: Callable[[], str]


def run(
    *words: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = _SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, like `subprocess.run` with ``capture_output=True, text=True``.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer; it is killed.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        started = Started(*words, env=env, cwd=cwd, out=out.fileno(), err=err.fileno())
        try:
            started.wait(timeout)
        finally:
            started.kill()
            code = started.wait()
        return subprocess.CompletedProcess(words, code, _read(out), _read(err))


@contextmanager
def running(*words: str, env: Mapping[str, str], end: signal.Signals) -> Iterator[Running]:
    """Run a command for a while, and end it by a signal; what it printed is shown if the test fails."""
    with TemporaryFile() as out:
        started = Running(*words, env=env, out=out.fileno(), err=out.fileno())
        started.said = lambda: _read(out)
        try:
            yield started
        finally:
            started.send_signal(end)
            with suppress(subprocess.TimeoutExpired):
                started.wait(_END_SECONDS)
            started.kill()
            started.wait()
            print(_read(out))


def _read(file: IO[bytes]) -> str:
    # Not `file.read`: the command writes where this file's position is.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


# --- the process that forks ------------------------------------------------------------------------------


def main() -> None:
    """Import the product, and fork until the tests end; each child watches over one command."""
    import importlib

    from millstream.cli import fork_server_main

    for module in fork_server_main._IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as tests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(tests, _MOST_BYTES, 3)
            if not request:
                return
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended since
                    pass
            if os.fork() == 0:
                tests.close()
                break
            for descriptor in descriptors:
                os.close(descriptor)
    out, err, told = descriptors
    if pid := os.fork():
        os.write(told, b"%d" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(OSError):  # nobody waits any more
            os.write(told, b"%d" % code)
        os._exit(0)
    os.close(told)
    _become(request, out, err)


def _become(request: bytes, out: int, err: int) -> None:
    """Be the command: with its environment, in its folder, and with its output."""
    from millstream.cli.main import main as command
    from runtime import failpoints

    words, environment, folder = json.loads(request)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, out, err)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update({**environment, "PYTHONHASHSEED": "0"})
    os.chdir(folder)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    failpoints.arm()
    sys.argv = ["millstream", *words]
    command()


if __name__ == "__main__":
    main()
