"""Entry point of the fork server: imports the modules of roles, and becomes the role in each child."""

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

# Modules that the roles import late; they bring River and its libraries, and the Kafka client.
_IMPORTED: Final = (
    "millstream.cli.app",
    "millstream.config.instance_id",
    "millstream.stream.load",
    "millstream.observability.log_events",
    "millstream.observability.prometheus.serve_metrics",
    "millstream.processes.http_roles",
    "millstream.processes.upload_roles",
    "millstream.processes.roles",
    "millstream.processes.compared_roles",
    "millstream.processes.notifier_role",
    "millstream.processes.referee_role",
    "millstream.processes.trainer_role",
    "millstream.monitoring.monitor_role",
    "millstream.observability.tracing.enable",
    "runtime.kafka_client.kafka_python.library",
)


def main() -> None:
    """Import the modules, and fork roles; a child continues as the command that it was forked for."""
    # A service manager may signal all processes at once. Only the supervisor acts on it: it ends its children in
    # order, and then this process.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREADS, "1"))  # with more threads, it could not fork
    for module in _IMPORTED:
        importlib.import_module(module)
    # Exclude all loaded objects from collection, which would copy their memory pages in each child.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as supervisor:
        try:
            arguments = serve(supervisor)
        except ConnectionError:
            return  # the supervisor has ended
    if arguments is not None:
        sys.argv = ["millstream", *arguments]
        become()


if __name__ == "__main__":
    main()
