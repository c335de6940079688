"""Processor time and memory of the roles' processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from millstream.status.processes import is_released


@dataclass(frozen=True)
class Usage:
    """One process: its id, processor time since its start (s), and resident memory (bytes)."""

    pid: int
    cpu_seconds: float
    memory_bytes: int


def usage_here(state: Path) -> dict[str, Usage]:
    """Return the processes of the stream with this state folder that run, by name; those in a container have others."""
    return dict(sorted(_running(state)))


def _running(state: Path) -> Iterator[tuple[str, Usage]]:
    import psutil  # only here, because what imports a report need not measure

    for lock in state.glob("*-*.lock"):
        with suppress(OSError, ValueError, psutil.Error):
            pid = int(lock.read_text())
            if is_released(lock):
                continue
            process = psutil.Process(pid)
            times = process.cpu_times()
            yield lock.stem, Usage(pid, round(times.user + times.system, 2), process.memory_info().rss)
