"""Stale session of a killed broker: a controller ends it before the broker starts again.

Kafka keeps a broker's registration until its session is over. A killed broker finds its old registration when it
starts, considers itself the leader of its partitions, and resumes transactions that were about to be committed,
although it cannot be reached to write their markers. Then the old session ends, and for a moment no partition has a
leader. Kafka (4.3.1) then says of such a transaction that its partitions "are likely deleted already and hence can be
skipped". The transaction is dropped, its markers are never written, and its readers hang for ever.

So a lone controller with short sessions ends the old session first. The broker can then register at once; otherwise it
would be refused until the old session is over. It is back after 5 s instead of 9.
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
# Counted from the moment it is the active controller; a session lasts 0.3 s there.
_FENCED_SECONDS: Final = 3.0
_SETTINGS: Final = "controller.properties"
_PID: Final = "controller.pid"
_ACTIVE: Final = "Becoming the active controller"
# While the controller reads its log, the second line also appears for every session that ended in the past.
_ENDED: Final = "because its session has timed out"
_FENCED: Final = re.compile(r"Replayed BrokerRegistrationChangeRecord .*fenced=1")


def was_killed(data: Path) -> bool:
    """Return whether the broker of these data was not shut down properly."""
    return (data / "__cluster_metadata-0").is_dir() and not (data / ".kafka_cleanshutdown").exists()


def end_session(command: Sequence[str], home: Path, data: Path, log: Path) -> None:
    """Run a controller to end the broker's old session. If that fails, the broker's own start reports why, or waits.

    Parameters
    ----------
    command
        Starts Kafka; the settings file is added as the last argument.
    log
        The controller's log file.
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
            # A broker killed before it had a session has none to end.
            active, deadline = True, time.monotonic() + _FENCED_SECONDS
        time.sleep(POLL_SECONDS)


def end_leftover(home: Path) -> None:
    """End a controller whose starter was killed: it would keep the data locked."""
    try:
        process = psutil.Process(int((home / _PID).read_text(encoding="utf-8")))
        if process.cmdline()[-1:] == [str(home / _SETTINGS)]:
            process.kill()
            await_end(process, 10)
    except (OSError, ValueError, psutil.Error):
        pass
    (home / _PID).unlink(missing_ok=True)
