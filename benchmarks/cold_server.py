"""A server that publishes before it answers, as in a function: `python -m benchmarks.cold_server`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.role import loaded
from millstream.config.settings import Settings
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.processes.http_roles import ServerOptions, run_server
from server.spool.spool import SpoolLimits
from server.web.worker import Address


def main(home: str, bootstrap: str, prefix: str, port: str) -> int:
    """Work until told to end."""
    options = ServerOptions(
        address=Address("127.0.0.1", int(port)), spool=SpoolLimits(sync="kafka"), publish="before-answer"
    )
    return run_server(loaded("lr"), Settings(Path(home), bootstrap, prefix), "0", options, RoleInstrumentation())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
