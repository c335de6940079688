"""What a broker that was killed leaves behind with its controller, ended before it starts again.

Kafka keeps a broker's registration until its session is over. A broker that was killed finds its own when it starts,
takes itself for the leader of its partitions, and takes up the transactions that were about to be committed, while
nobody can reach it to write their markers. Then that session ends, and for a moment no partition has a leader: of such
a transaction Kafka (4.3.1) says that its partitions "are likely deleted already and hence can be skipped". It is over,
its markers are never written, and those who read behind it stand there for good.

A controller alone, whose sessions are short, ends the old one first. The broker then registers at once, which it would
otherwise be refused until the old session is over: it is back after 5 s instead of 9.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from millstream.embedded_kafka.process import POLL_SECONDS, await_end
from millstream.embedded_kafka.server_properties import controller_properties, free_port

_LONGEST_SECONDS: Final = 30.0
# From the moment it is the controller; a session there is 0.3 s.
_FENCED_SECONDS: Final = 3.0
_SETTINGS: Final = "controller.properties"
_PID: Final = "controller.pid"
_ACTIVE: Final = "Becoming the active controller"
# The second line, written down, is also said of each session that was ever ended, while the log is read.
_ENDED: Final = "because its session has timed out"
_FENCED: Final = re.compile(r"Replayed BrokerRegistrationChangeRecord .*fenced=1")


def was_killed(data: Path) -> bool:
    """Say whether these are the data of a broker that has not ended in order."""
    return (data / "__cluster_metadata-0").is_dir() and not (data / ".kafka_cleanshutdown").exists()


def end_session(command: Sequence[str], home: Path, data: Path, log: Path) -> None:
    """Have a controller end the broker's old session. Where it cannot, the broker's own start says why, or waits.

    Parameters
    ----------
    command
        What starts Kafka, without the file of its settings.
    log
        Where it says what it does.
    """
    settings, pid_file = home / _SETTINGS, home / _PID
    settings.write_text(controller_properties(data=data, port=free_port()), encoding="utf-8")
    with subprocess.Popen(
        [*command, str(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
        start_new_session=True,
    ) as controller:
        try:
            pid_file.write_text(f"{controller.pid}\n", encoding="utf-8")
            _await_fenced(controller, log)
        finally:
            controller.terminate()
            try:
                controller.wait(10)
            except subprocess.TimeoutExpired:
                controller.kill()
            pid_file.unlink(missing_ok=True)
            settings.unlink(missing_ok=True)


def _await_fenced(controller: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    active = False
    while controller.poll() is None and time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if (ended := said.find(_ENDED)) >= 0 and _FENCED.search(said, ended):
            return
        if not active and _ACTIVE in said:
            # Where it was killed before it had a session, there is none to end.
            active, deadline = True, time.monotonic() + _FENCED_SECONDS
        time.sleep(POLL_SECONDS)


def end_leftover(home: Path) -> None:
    """End the controller of a starter that was itself killed: it would keep the data to itself."""
    try:
        process = psutil.Process(int((home / _PID).read_text(encoding="utf-8")))
        if process.cmdline()[-1:] == [str(home / _SETTINGS)]:
            process.kill()
            await_end(process, 10)
    except (OSError, ValueError, psutil.Error):
        pass
    (home / _PID).unlink(missing_ok=True)
