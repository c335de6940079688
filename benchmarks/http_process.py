"""Server or forwarder as a process: `python -m benchmarks.http_process ROLE HOME BOOTSTRAP PREFIX PORT [PUBLISH]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from benchmarks.role import loaded
from millstream.config.settings import Settings
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.processes.forwarding import run_forwarder
from millstream.processes.http_roles import ServerOptions, run_server
from runtime.kafka_client.library_names import DEFAULT
from server.spool.spool import SpoolLimits
from server.web.worker import Address

Publish = Literal["spool", "before-answer"]


def main(role: str, home: str, bootstrap: str, prefix: str, port: str, publish: Publish = "spool") -> int:
    """Work until told to end; a server with `before-answer` publishes before it answers, as in a function."""
    settings = Settings(Path(home), bootstrap, prefix, client=os.environ.get("MILLSTREAM_CLIENT", DEFAULT))
    if role == "forwarder":
        return run_forwarder(loaded("lr"), settings, "0", RoleInstrumentation())
    options = ServerOptions(
        address=Address("127.0.0.1", int(port)),
        spool=SpoolLimits(most_bytes=8 << 30, sync="process" if publish == "spool" else "kafka"),
        publish=publish,
        is_worker=True,  # several may listen at the port
    )
    return run_server(loaded("lr"), settings, "0", options, RoleInstrumentation())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
