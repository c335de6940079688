"""Fork server: a process that has imported all modules of the roles, and forks roles.

A forked role is ready in one second instead of three. The fork server is
`python -m millstream.cli.fork_server_main`, with a socket to the supervisor as its standard input. Requests and
answers are MessagePack; the descriptor of the role's output comes with the request. The fork server has only one
thread, because only such a process can fork safely. It ends with its supervisor, and its children end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final, Protocol

import msgspec
import psutil

from millstream.config.settings import interpreter
from millstream.processes import role_events
from runtime import failpoints

PARENT: Final = "MILLSTREAM_SUPERVISOR"
"""Environment variable with the id of the process that a supervised process ends with."""
_PR_SET_NAME: Final = 15
_MOST_BYTES: Final = 1 << 20
_LOOK_S: Final = 0.02
_END_S: Final = 10.0
_BIRTH_S: Final = 60.0  # an overloaded machine imports for many seconds
ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class Process(Protocol):
    """Interface of a child that a supervisor needs; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class ForkRequest(msgspec.Struct):
    """Request to fork a role."""

    arguments: list[bytes]
    environment: dict[bytes, bytes]


class ChildEvent(msgspec.Struct):
    """A child has started, or has ended with a code, negative for a signal. `pid` 0: the fork failed."""

    pid: int
    code: int | None = None


_read_wish: Final = msgspec.msgpack.Decoder(ForkRequest).decode
_read_told: Final = msgspec.msgpack.Decoder(ChildEvent).decode


def launch(command: Sequence[str], environment: Mapping[str, str], events: int | None = None) -> Process:
    """Start a process in a separate process group, with its output in a pipe; `events` as in `ForkServer.launch`."""
    return subprocess.Popen(
        command,
        env={**environment, **({} if events is None else role_events.variables(events))},
        pass_fds=() if events is None else (events,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C must reach only the supervisor, which ends the children in order.
        process_group=0,
    )


class ForkServer:
    """Forks roles. Not thread-safe. If it cannot fork, and always outside Linux, it starts normal processes instead.

    Examples
    --------
    ::

        fork_server = ForkServer(os.environ)
        role = fork_server.launch([*interpreter(), "joiner", "phishing"], os.environ)
        print(role.wait())
        fork_server.close()
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._children: set[int] = set()  # of the current fork server
        self._codes: dict[int, int] = {}

    def launch(self, command: Sequence[str], environment: Mapping[str, str], events: int | None = None) -> Process:
        """Start a role; if it cannot be forked, in the way of the function `launch`.

        Parameters
        ----------
        events
            The file descriptor to which the role writes its events, see `role_events`. The caller must close it.
        """
        own = interpreter()
        if sys.platform != "linux" or list(command[: len(own)]) != own:
            return launch(command, environment, events)
        reading, writing = os.pipe()
        try:
            forked = self.fork(command[len(own) :], environment, writing, events)
        except OSError:
            os.close(reading)
            return launch(command, environment, events)
        finally:
            os.close(writing)
        forked.stdout = os.fdopen(reading, "rb")
        return forked

    def fork(
        self, arguments: Sequence[str], environment: Mapping[str, str], output: int, events: int | None = None
    ) -> Forked:
        """Fork a role that writes to the file descriptor `output`. Raises OSError if that fails."""
        words = [os.fsencode(each) for each in arguments]
        wish = ForkRequest(words, {os.fsencode(name): os.fsencode(value) for name, value in environment.items()})
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it has ended without any request since
        sock = self._connected()
        try:
            socket.send_fds(sock, [msgspec.msgpack.encode(wish)], [output] if events is None else [output, events])
            while (told := self._next(_BIRTH_S)).code is not None:
                self._codes[told.pid] = told.code
        except OSError:
            self.close()
            raise
        if told.pid == 0:
            raise OSError("the system forks no more processes")
        self._codes.pop(told.pid, None)  # of an earlier process with the same id
        self._children.add(told.pid)
        return Forked(told.pid, self)

    def code(self, pid: int) -> int | None:
        """Return the exit code of a child, `None` while it runs."""
        try:
            while pid not in self._codes and pid in self._children:
                told = self._next(0)
                if told.code is not None:
                    self._codes[told.pid] = told.code
        except BlockingIOError:
            return None
        except OSError:
            self.close()
        if pid not in self._codes and not _lives(pid):
            self._codes[pid] = -signal.SIGTERM  # its fork server has ended, and the system has told its children to end
        self._children -= self._codes.keys()
        return self._codes.get(pid)

    def close(self) -> None:
        """End the fork server, and with it all its children."""
        self._children.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "millstream.cli.fork_server_main"],
                    env={**self._environment, PARENT: str(os.getpid())},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    process_group=0,
                )
            self._socket = ours
        return self._socket

    def _next(self, timeout: float | None) -> ChildEvent:
        """Return the next event. Raises BlockingIOError if none comes in time, OSError if the fork server has ended."""
        assert self._socket is not None  # noqa: S101 - the callers have checked it
        self._socket.settimeout(timeout)
        data = self._socket.recv(_MOST_BYTES)
        if not data:
            raise ConnectionResetError("the fork server has ended")
        return _read_told(data)


class Forked:
    """A forked role, with the interface of `subprocess.Popen`."""

    def __init__(self, pid: int, fork_server: ForkServer) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = None
        self._fork_server = fork_server

    def poll(self) -> int | None:
        return self._fork_server.code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. Raises `subprocess.TimeoutExpired` if that takes longer than `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(_LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and the event has not arrived yet
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- the process of the fork server ----------------------------------------------------------------------


def serve(supervisor: socket.socket) -> list[str] | None:
    """Fork the requested roles until the supervisor ends.

    Returns
    -------
    In a child, the arguments that it must run; in the fork server itself `None`, at the end.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([supervisor.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(supervisor)
        if supervisor.fileno() in ready:
            data, descriptors, _, _ = socket.recv_fds(supervisor, _MOST_BYTES, 2)
            if not data:
                return None
            wish, fork_server = _read_wish(data), os.getpid()
            # A signal sent to a child before it has its handlers must wait for it; here such a signal is ignored.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            try:
                pid = os.fork()
            except OSError:
                pid = -1
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
                os.close(woken)
                os.close(wake)
                supervisor.close()
                _become(wish, descriptors, fork_server)
                return [os.fsdecode(each) for each in wish.arguments]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            for descriptor in descriptors:
                os.close(descriptor)
            supervisor.send(msgspec.msgpack.encode(ChildEvent(max(pid, 0))))


def _tell_ends(supervisor: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        supervisor.send(msgspec.msgpack.encode(ChildEvent(pid, os.waitstatus_to_exitcode(status))))


def _become(wish: ForkRequest, descriptors: Sequence[int], fork_server: int) -> None:
    """In the child: set the output, the environment and the name of the role, and the descriptor of its events."""
    os.setpgid(0, 0)
    output, *events = descriptors
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((0, nothing), (1, output), (2, output)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    os.environ.clear()
    # The hash seed of the fork server stays in force, whatever the request's environment says.
    os.environb.update(wish.environment)
    os.environ.update({PARENT: str(fork_server), "PYTHONHASHSEED": "0"})
    for descriptor in events:
        os.environ.update(role_events.variables(descriptor))
    failpoints.arm()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, wish.arguments[0], 0, 0, 0)
