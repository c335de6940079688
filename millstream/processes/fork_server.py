"""A process that has imported all that roles need, and forks them: one is at work in a second rather than in three.

It is `python -m millstream.cli.fork_server`, with a socket to the supervisor as its standard
input. What is asked and told is MessagePack, with the role's output beside a question. It has one thread, as who
forks must, and ends with its supervisor; its children end with it.
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
"""Who a supervised process ends with, by its process id."""
_PR_SET_NAME: Final = 15
_MOST_BYTES: Final = 1 << 20
_LOOK_S: Final = 0.02
_END_S: Final = 10.0
_BIRTH_S: Final = 60.0  # a crowded machine imports for many seconds
ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class Process(Protocol):
    """What a supervisor needs of a child; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class ForkRequest(msgspec.Struct):
    """A role to be forked."""

    arguments: list[bytes]
    environment: dict[bytes, bytes]


class ChildEvent(msgspec.Struct):
    """A child was born, or has ended with a code, negative for a signal. `pid` 0: none could be forked."""

    pid: int
    code: int | None = None


_read_wish: Final = msgspec.msgpack.Decoder(ForkRequest).decode
_read_told: Final = msgspec.msgpack.Decoder(ChildEvent).decode


def launch(command: Sequence[str], environment: Mapping[str, str], events: int | None = None) -> Process:
    """Start a process, in a process group of its own, with its output in a pipe; `events` as in `Nursery.launch`."""
    return subprocess.Popen(
        command,
        env={**environment, **({} if events is None else role_events.variables(events))},
        pass_fds=() if events is None else (events,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C is to reach the supervisor alone, which ends them in order.
        process_group=0,
    )


class Nursery:
    """Forks roles. Not thread-safe. Where it cannot, on other systems than Linux too, they are started as ever.

    Examples
    --------
    ::

        nursery = Nursery(os.environ)
        role = nursery.launch([*interpreter(), "joiner", "phishing"], os.environ)
        print(role.wait())
        nursery.close()
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._children: set[int] = set()  # of the nursery that there is now
        self._codes: dict[int, int] = {}

    def launch(self, command: Sequence[str], environment: Mapping[str, str], events: int | None = None) -> Process:
        """Start one; as `launch` does where it cannot be forked.

        Parameters
        ----------
        events
            The file descriptor on which it is to tell its events, see `role_events`. It stays the caller's to close.
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
        """Fork a role that writes to the file descriptor `output`. OSError where that cannot be done."""
        words = [os.fsencode(each) for each in arguments]
        wish = ForkRequest(words, {os.fsencode(name): os.fsencode(value) for name, value in environment.items()})
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it has gone, and nobody has asked it for anything since
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
        self._codes.pop(told.pid, None)  # of another that had the number before
        self._children.add(told.pid)
        return Forked(told.pid, self)

    def code(self, pid: int) -> int | None:
        """Return how a child has ended, `None` while it runs."""
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
            self._codes[pid] = -signal.SIGTERM  # its nursery is gone, and what that had was told to end
        self._children -= self._codes.keys()
        return self._codes.get(pid)

    def close(self) -> None:
        """End it, and with it whatever child there is."""
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
                    [sys.executable, "-P", "-m", "millstream.cli.fork_server"],
                    env={**self._environment, PARENT: str(os.getpid())},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    process_group=0,
                )
            self._socket = ours
        return self._socket

    def _next(self, timeout: float | None) -> ChildEvent:
        """Return the next of what it tells. BlockingIOError where there is none in time; OSError where it is gone."""
        assert self._socket is not None  # noqa: S101 - the callers have looked
        self._socket.settimeout(timeout)
        data = self._socket.recv(_MOST_BYTES)
        if not data:
            raise ConnectionResetError("the nursery has ended")
        return _read_told(data)


class Forked:
    """A forked role, as `subprocess.Popen` would show it."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        return self._nursery.code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. `subprocess.TimeoutExpired` where that takes longer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(_LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and that is not told yet
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- the nursery's own process ---------------------------------------------------------------------------


def serve(supervisor: socket.socket) -> list[str] | None:
    """Fork what is asked for until the supervisor is gone.

    Returns
    -------
    In a child, the arguments that it is to go on with; in the nursery itself `None`, at the end.
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
            wish, nursery = _read_wish(data), os.getpid()
            # What is sent to a child before it hears signals waits for it, and is not ignored as it is here.
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
                _become(wish, descriptors, nursery)
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


def _become(wish: ForkRequest, descriptors: Sequence[int], nursery: int) -> None:
    """In the child: have the output, the environment and the name of the role, and a descriptor for its events."""
    os.setpgid(0, 0)
    output, *events = descriptors
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in ((0, nothing), (1, output), (2, output)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    os.environ.clear()
    # Hashes are what they were when the nursery began, whatever is asked for.
    os.environb.update(wish.environment)
    os.environ.update({PARENT: str(nursery), "PYTHONHASHSEED": "0"})
    for descriptor in events:
        os.environ.update(role_events.variables(descriptor))
    failpoints.arm()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, wish.arguments[0], 0, 0, 0)
