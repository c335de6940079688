"""Descendants of this process: those that are left behind by their parents are found, and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

_SET_CHILD_SUBREAPER: Final = 36  # of prctl(2)
_adopts = False


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended; elsewhere than on Linux, do nothing."""
    global _adopts  # noqa: PLW0603 - a property of the process, as the system keeps it
    if sys.platform == "linux":
        _adopts = ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def children_of(process: int) -> list[int]:
    """Return the ids of a process's children; an empty list where the system does not tell."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, children.read_text(encoding="ascii").split())
    return found


def family_of(process: int) -> list[int]:
    """Return the ids of a process and of all its descendants."""
    found, waiting = [], [process]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += children_of(each)
    return found


def end_family() -> None:
    """Kill all descendants of this process, those of its group, and itself."""
    for each in family_of(os.getpid())[1:]:
        _kill(each)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    _kill(os.getpid())


def end_adopted(kept: Collection[int]) -> None:
    """Kill the children of this process that are in other sessions, with their descendants, but not those in `kept`.

    These are orphans that it has adopted: what this process starts itself begins in its own session. One that adopts no
    orphans has none.
    """
    if not _adopts:
        return
    session = os.getsid(0)
    while adopted := [each for each in children_of(os.getpid()) if each not in kept and _session(each) != session]:
        for child in adopted:
            for each in family_of(child):
                _kill(each)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
