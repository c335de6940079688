"""One role in a process of its own, forked from a fork server and kept up as the supervisor would keep it."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from millstream.processes.fork_server import ForkServer, Process
from runtime.failpoints import VARIABLE

AGAIN = (75, -signal.SIGKILL)


@dataclass
class Member:
    """One process.

    Attributes
    ----------
    arguments
        Of the command line.
    armed
        The failpoints of its next starts, one each.
    again
        Whether it is started again when it dies, or ends with 75.
    """

    role: str
    instance: str
    arguments: list[str]
    environment: Mapping[str, str]
    fork_server: ForkServer
    log: Path
    armed: deque[str] = field(default_factory=deque)
    process: Process | None = None
    again: bool = True
    starts: int = 0
    ends: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.role}-{self.instance}"

    def start(self) -> None:
        self.starts += 1
        failpoints = {VARIABLE: self.armed.popleft()} if self.armed else {}
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts} {failpoints}\n".encode())
            log.flush()
            environment = {**self.environment, **failpoints, "MILLSTREAM_LOG_FORMAT": "text"}
            self.process = self.fork_server.fork(self.arguments, environment, log.fileno())

    def look(self) -> bool:
        """Start it again where it ended as it may, and say whether it did; another end fails the test."""
        if self.process is None or (code := self.process.poll()) is None:
            return False
        self.process = None
        self.ends.append(code)
        if not self.again:
            return False
        assert code in AGAIN, f"{self.name} ended with {code}: {self.said()}"
        self.start()
        return True

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(number)

    def sleeps(self) -> bool:
        """Say whether it is stopped, by somebody or by a failpoint."""
        try:
            return self.process is not None and psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def kill(self) -> None:
        """End it at once, and return when it is gone; `look` starts it again."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def end(self, seconds: float = 60) -> None:
        """End it in order, if it runs. One that is not at work yet may know no better than to die of the signal."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.process = None
        self.ends.append(code)
        at_work = "ready: " in self.said().rpartition("--- start")[2]
        assert code == 0 or (code == -signal.SIGTERM and not at_work), f"{self.name} ended with {code}: {self.said()}"

    def said(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "millstream", *words]
