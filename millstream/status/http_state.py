"""State of a stream's HTTP server and forwarder on this machine, by their spool."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from millstream.status.processes import is_released
from server.spool.errors import SpoolDamaged
from server.spool.folder import SpoolFolder


@dataclass(frozen=True)
class HttpState:
    """State of the spool.

    Attributes
    ----------
    workers, forwarders
        Numbers of processes at work.
    waiting
        Entries that are not on Kafka yet.
    forwarded
        Entries that are on Kafka.
    bytes
        Size of the spool.
    since_ms
        Milliseconds since the forwarder last forwarded anything, `None` if it never has.
    damage
        What is wrong with the spool; empty if nothing is.
    """

    spool: str
    workers: int
    forwarders: int
    waiting: int
    forwarded: int
    bytes: int
    since_ms: int | None
    damage: str = ""

    def line(self) -> str:
        """Return the state in one line."""
        if self.damage:
            return self.damage
        return (
            f"workers: {self.workers}, forwarders: {self.forwarders}; of answers and labels {self.waiting} wait in the "
            f"spool, {self.forwarded} are on Kafka"
        )

    def needs(self) -> str | None:
        """Return what a person should look at, `None` if nothing."""
        if self.damage:
            return self.damage
        if self.waiting and not self.forwarders:
            return f"{self.waiting} answers over HTTP wait in the spool, and no forwarder runs on this machine"
        return None


def look(path: Path) -> HttpState | None:
    """Return the state of the spool in this folder, `None` if there is none."""
    if not (path / "spool.json").exists():
        return None
    try:
        folder = SpoolFolder(path)
        noted = folder.forwarded()
        done = {} if noted is None else noted.done
        waiting = folder.waiting(done)
    except SpoolDamaged as error:
        return HttpState("", 0, 0, 0, 0, 0, None, str(error))
    now = time.time_ns() // 1_000_000
    return HttpState(
        folder.id,
        sum(_is_held(lane.path / "lock") for lane in folder.lanes()),
        int(_is_held(path / "forwarder.lock")),
        waiting,
        sum(done.values()),
        folder.size(),
        None if noted is None else max(0, now - noted.at_ms),
    )


def _is_held(lock: Path) -> bool:
    return lock.exists() and not is_released(lock)
