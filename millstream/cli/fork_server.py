"""Entry point of the fork server: imports the modules that roles need, and becomes the role in each child."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from typing import Final

from millstream.cli.main import THREADS
from millstream.cli.main import main as become
from millstream.processes.fork_server import ENDING, serve

# What a role imports once it knows what it is; River and its libraries come with them.
_IMPORTED: Final = (
    "millstream.cli.app",
    "millstream.config.instance_id",
    "millstream.stream.load",
    "millstream.observability.log_events",
    "millstream.observability.prometheus.serve_metrics",
    "millstream.processes.roles",
    "millstream.observability.tracing.enable",
)


def main() -> None:
    """Import, and serve; a child goes on as the command line that it was forked for."""
    # Who ends all processes of a service at once means the supervisor, which ends its children in order, and then this.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREADS, "1"))  # more threads, and it could not fork
    for module in _IMPORTED:
        importlib.import_module(module)
    # What is there now stays: looking through it would copy its pages in each child.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as supervisor:
        try:
            arguments = serve(supervisor)
        except ConnectionError:
            return  # the supervisor is gone
    if arguments is not None:
        sys.argv = ["millstream", *arguments]
        become()


if __name__ == "__main__":
    main()
