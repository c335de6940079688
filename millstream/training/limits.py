"""Memory limit of a process that trains."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from millstream.estimators.fitting import CannotTrain
from runtime.descendants import family_of

_WATCH_SECONDS: Final = 0.1
_ROOM: Final = 0.95  # of the limit: what a training may hold before it is ended
_STACKS: Final = 256 << 20  # of threads that begin later, and what allocators keep in reserve
_WAYS: Final = "give it more (memory=), fewer rows (most=, window=), or a sparse or smaller form of its rows"


def held() -> int:
    """Return the bytes of memory that this process and its children hold."""
    return sum(map(_resident, family_of(os.getpid())))


def _asked_for() -> int:
    """Return the bytes that count for the system's limit, most of which are never used."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def _resident(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()


class Memory:
    """Memory limit of a training.

    A thread watches what is held, so that a training ends with a message before the system would end a process, which
    might be another one. A single request for more than the limit raises MemoryError at once.
    """

    def __init__(self, limit: int, end: Callable[[str], None]) -> None:
        self.limit = limit
        self._end = end
        self._done = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="memory", daemon=True).start()
        try:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            most = _asked_for() + self.limit + _STACKS
            resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
        except (OSError, ValueError):
            pass  # the thread watches all the same

    def stop(self) -> None:
        """End the watch."""
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(_WATCH_SECONDS):
            now = held()
            if now > _ROOM * self.limit:
                self._end(f"it holds {text(now)} of memory, and may hold {text(self.limit)}: {_WAYS}")
                return

    def check(self, what: str, more: float) -> None:
        """Raise CannotTrain if `more` bytes do not fit beside what is held."""
        needed = held() + int(more)
        if needed > self.limit:
            raise CannotTrain(f"{what} needs about {text(needed)} of memory, and may hold {text(self.limit)}: {_WAYS}")


def text(size: float) -> str:
    """Return a size as people write it.

    >>> text(1536 * 1024 * 1024)
    '1.5 GiB'
    """
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
