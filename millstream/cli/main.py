"""Entry point of the `millstream` command: hash seed, threads, exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from consumers import roles
from runtime.exits import INTERRUPTED

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Run the command line of this process and end it with one of `runtime.exits`."""
    _reexecute(sys.argv[1:])
    if {*roles.names_of_all()}.intersection(sys.argv[1:2]):
        for name in THREADS:
            # A single event gives no work for several threads; idle BLAS threads cost memory and wake-ups.
            os.environ.setdefault(name, "1")
    try:
        from millstream.cli.app import run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(run(sys.argv[1:]))


def _reexecute(arguments: Sequence[str]) -> None:
    """Restart with a fixed hash seed if string hashes are random: otherwise some models differ in the last bit."""
    if os.environ.get("PYTHONHASHSEED") == "0":
        return
    from millstream.config.settings import interpreter

    command = [*interpreter(), *arguments]
    os.execve(command[0], command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606 - this program again
