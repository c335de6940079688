"""Main module of the process that trains one version for a trainer. It has no signing key.

It runs as `python -m millstream.training.child`: a `TrainingRequest` as JSON on standard input, `TrainingMessage`s as
lines of JSON on standard output, the last of them a result or a failure. It ends without either only where another
attempt may succeed: Kafka is away, or the process was ended from outside.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from millstream.training.priority import FIXED, NICENESS
from runtime.descendants import adopt_orphans


def main() -> int:
    """Train as the request on standard input says; return the exit code."""
    # Before anything is imported: that alone takes a second of processor time.
    _be_quiet()
    _insist_on_environment()
    adopt_orphans()
    from millstream.training.answer_request import answer

    return answer()


def _be_quiet() -> None:
    """Give the processor to whatever else wants it.

    Where Linux shares the processor between sessions first, niceness counts only within one: the session of a training,
    which it leads, gets a low share too.
    """
    os.nice(max(0, NICENESS - os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def _insist_on_environment() -> None:
    """Start again with a fixed hash seed and one thread of compiled code: both are read when a process starts."""
    if any(os.environ.get(name) != value for name, value in FIXED.items()):
        command = [sys.executable, "-P", "-m", "millstream.training.child"]
        os.execve(command[0], command, {**os.environ, **FIXED})  # noqa: S606 - this program again


if __name__ == "__main__":
    sys.exit(main())
