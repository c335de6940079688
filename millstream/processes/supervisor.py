"""Supervisor of the roles' child processes: starts, restarts and ends them, in order.

The pure function `decide` decides what to do when a child ends; the class below only does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers import roles
from millstream.observability import role_log
from millstream.processes import role_events
from millstream.processes.fork_server import PARENT, ForkServer, Process
from millstream.processes.role_events import RoleEvent
from runtime.exits import FAILED, TRY_AGAIN, USAGE

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
RAN_WELL_S: Final = 15.0
ENDS_IN_A_ROW: Final = 5
"""Number of ends of a role in a row, for the same reason, after which each further one raises an alert."""
STAYED_S: Final = 120.0
"""Seconds of work after which earlier ends no longer count."""
GIVEN_UP_S: Final = 60.0
"""Seconds after which a role that gave up is restarted: an operator may have corrected the cause."""
_PR_SET_PDEATHSIG: Final = 1


class RoleFailed(Exception):  # noqa: N818
    """A role cannot work with its configuration; a restart would not help. The message is the role's own."""


@dataclass(frozen=True)
class Child:
    """One process to keep running; `ends_within` seconds after SIGTERM, or it is killed. `nice` lowers its priority."""

    role: str
    instance: str
    command: tuple[str, ...]
    ends_within: float = 10.0
    nice: int = 0

    @property
    def name(self) -> str:
        return f"{self.role}-{self.instance}"


@dataclass(frozen=True)
class Restart:
    """Restart it after `after` seconds."""

    after: float


@dataclass(frozen=True)
class GiveUp:
    """Do not restart it."""


def decide(code: int, ran: float, last_wait: float) -> Restart | GiveUp:
    """Return what to do with a role that ended by itself.

    Parameters
    ----------
    code
        Its exit code, negative for a signal.
    ran
        Number of seconds that it ran.
    last_wait
        Delay of its last restart in seconds, 0.0 before the first.

    >>> decide(TRY_AGAIN, ran=1.0, last_wait=0.2), decide(1, ran=1.0, last_wait=0.0)
    (Restart(after=0.4), GiveUp())
    """
    if code in (FAILED, USAGE):
        return GiveUp()
    if ran >= RAN_WELL_S or last_wait == 0.0:
        return Restart(FIRST_WAIT_S)
    return Restart(min(2 * last_wait, LONGEST_WAIT_S))


def ended(code: int) -> str:
    """Return a phrase for the end of a process."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@dataclass
class _Running:
    child: Child
    process: Process | None = None
    began: float = 0.0
    last_wait: float = 0.0
    due: float | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    explained: set[str] = field(default_factory=set)  # lines to leave out during a broker outage
    ready: bool = False
    reader: threading.Thread | None = None
    ready_at: float | None = None  # since its last start
    worked: bool = False  # ever
    gave_up: str = ""  # the reason, until it works again
    ends: int = 0  # in a row, for the same reason
    reason: str = ""


class Supervisor:
    """Keeps `children` running. Not thread-safe; on Linux, children die with the thread or fork server that made them.

    Parameters
    ----------
    environment
        Environment of the children.
    say
        Prints one line: a child's, prefixed with its name, or the supervisor's. Called from several threads.
    away
        Returns True while Kafka is down and that has been reported: then the end of each child is not reported.
    relay
        Prints a child's line instead of `say`; takes the child's name and the line.
    keeps_ending
        Called for a child that gave up, or has ended more than `ENDS_IN_A_ROW` times, with the child, the number of
        ends and its last line.
    needs_all
        If one child gives up, the others must not continue.
    """

    def __init__(
        self,
        children: Sequence[Child],
        environment: Mapping[str, str],
        say: Callable[[str], None] = print,
        away: Callable[[], bool] = lambda: False,
        relay: Callable[[str, str], None] | None = None,
        keeps_ending: Callable[[Child, int, str], None] = lambda child, times, said: None,
        needs_all: bool = False,
    ) -> None:
        self._needs_all = needs_all
        self._keeps_ending = keeps_ending
        self._running = [_Running(child) for child in children]
        self._environment = {**environment, PARENT: str(os.getpid()), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
        self._fork_server = ForkServer(self._environment)
        self._say = say
        self._away = away
        self._relay = relay or (lambda name, line: say(f"{name:<{self._width}} | {line}"))
        self._width = max((len(child.name) for child in children), default=0)
        self.restarts = 0

    def start(self) -> None:
        """Start all children."""
        for each in self._running:
            self._start(each)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the running children, by name."""
        return {each.child.name: each.process.pid for each in self._running if each.process is not None}

    def ready(self) -> bool:
        """Return whether every child has reported since its last start that it is ready."""
        return all(each.ready for each in self._running)

    def given_up(self) -> str:
        """Return the reason why a child that worked before cannot continue, empty if there is no such child."""
        return next((each.gave_up for each in self._running if each.gave_up), "")

    def look(self) -> None:
        """Notice children that have ended, and restart those that are due. Call this a few times a second.

        Raises
        ------
        RoleFailed
            If a child cannot work with its configuration. If it has worked before, the others continue without it,
            unless all are needed.
        """
        now = time.monotonic()
        for each in self._running:
            if each.process is None:
                if each.due is not None and now >= each.due:
                    self._start(each)
                continue
            code = each.process.poll()
            if code is not None:
                self._ended(each, code, now)

    def stop(self) -> None:
        """End all in order, predictors and intake first, so that their output reaches the learner's last checkpoint."""
        for role in roles.stopping_order():
            those = [each for each in self._running if roles.kind_of_role(each.child.role) == role]
            group = [each for each in those if each.process is not None]
            for each in group:
                _signal(each.process, signal.SIGTERM)
            began = time.monotonic()
            for each in group:
                self._await_end(each, began + each.child.ends_within)
        self._fork_server.close()

    def _await_end(self, each: _Running, deadline: float) -> None:
        assert each.process is not None  # noqa: S101 - filtered by the caller
        try:
            each.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{each.child.name} did not end within {each.child.ends_within:g} s; it is killed")
            each.process.kill()
            each.process.wait()
        self._drain(each)
        each.process, each.due = None, None

    def _start(self, each: _Running) -> None:
        each.tail.clear()
        each.explained.clear()
        each.began, each.due, each.ready, each.ready_at = time.monotonic(), None, False, None
        events, told_on = os.pipe()
        try:
            each.process = self._fork_server.launch(each.child.command, self._environment, told_on)
            if each.child.nice:
                with contextlib.suppress(OSError):
                    lowest = max(each.child.nice, os.getpriority(os.PRIO_PROCESS, each.process.pid))
                    os.setpriority(os.PRIO_PROCESS, each.process.pid, lowest)
        except OSError:
            os.close(events)
            raise
        finally:
            os.close(told_on)
        each.reader = threading.Thread(target=self._read, args=(each, each.process, events), daemon=True)
        each.reader.start()

    def _read(self, each: _Running, process: Process, events: int) -> None:
        assert process.stdout is not None  # noqa: S101 - requested above
        try:
            with process.stdout as output:
                for told in role_events.follow(output.fileno(), events):
                    if isinstance(told, RoleEvent):
                        self._hear(each, process, told)
                    else:
                        self._pass_on(each, told)
        finally:
            os.close(events)

    def _hear(self, each: _Running, process: Process, event: RoleEvent) -> None:
        if event.kind == "ready":
            each.ready = each.ready or each.process is process
            each.ready_at, each.worked, each.gave_up = time.monotonic(), True, ""
            self._away()  # reports first that Kafka is back, if it was down
        else:
            each.explained.add(_first_line(event.line))

    def _pass_on(self, each: _Running, line: str) -> None:
        said = role_log.read(line)
        if said.event != "ended":
            each.tail.append(said.message)  # the line before contains the reason of its end
        first = _first_line(said.message)
        if first in each.explained:
            each.explained.discard(first)
            if self._away():
                return
        self._relay(each.child.name, line)

    def _drain(self, each: _Running) -> None:
        """Wait until its output has been read, but not for a grandchild that holds the pipe open."""
        if each.reader is not None:
            each.reader.join(1.0)

    def _ended(self, each: _Running, code: int, now: float) -> None:
        self._drain(each)
        each.process, each.ready = None, False
        step = decide(code, now - each.began, each.last_wait)
        said = next((line for line in reversed(each.tail) if line.strip()), "it said nothing")
        said = said.removeprefix("millstream: error: ").removeprefix(f"{each.child.role}: ")
        if isinstance(step, GiveUp):
            self._gave_up(each, f"{each.child.name} {ended(code)}: {said}", now)
            self._keeps_ending(each.child, self._count(each, code, said, now), said)
            return
        each.last_wait = step.after
        each.due = now + step.after
        self.restarts += 1
        if code == TRY_AGAIN and self._away():
            return
        self._say(f"{each.child.name} {ended(code)}; starting it again in {step.after:g} s")
        if (times := self._count(each, code, said, now)) > ENDS_IN_A_ROW:
            self._keeps_ending(each.child, times, said if code >= 0 else f"it {ended(code)}")

    def _gave_up(self, each: _Running, why: str, now: float) -> None:
        if self._needs_all or not each.worked:
            raise RoleFailed(why)
        each.gave_up, each.due = why, now + GIVEN_UP_S
        self._say(f"{why}. The others go on without it; starting it again in {GIVEN_UP_S:g} s")

    def _count(self, each: _Running, code: int, said: str, now: float) -> int:
        """Return how many times in a row it has ended for this reason; numbers in the reason may differ."""
        reason = f"{code} {re.sub(r'[0-9]+', '#', said)}"
        stayed = each.ready_at is not None and now - each.ready_at > STAYED_S
        each.ends = 1 if stayed or reason != each.reason else each.ends + 1
        each.reason = reason
        return each.ends


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip()


def _signal(process: Process | None, number: signal.Signals) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(number)


def die_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """In a supervised child: request SIGTERM for the case that the supervisor dies in any way. Linux only."""
    parent = environ.get(PARENT)
    if parent is None or not parent.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):
        # The parent died before the request.
        os.kill(os.getpid(), signal.SIGTERM)
