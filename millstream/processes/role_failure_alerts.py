"""Alerts of roles that keep ending, or that cannot write their files.

They are not in a role's offset metadata like others, because such a role may end before it commits. The raised ones
are read from the alerts topic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.loop.alerts import LONGEST_NAME, Severity
from millstream.processes.log_fault_alerts import LogAlerts
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

if TYPE_CHECKING:
    from millstream.processes.supervisor import Child

WORKS_S: Final = 30.0
"""Seconds that a role must have worked before its alerts clear."""
_ENDS, _DISK = "ends", "disk"


def name_of(role: str, instance: str, what: str) -> str:
    """Return the name of an alert.

    >>> name_of("joiner", "0", "disk")
    'joiner.0.disk'
    """
    return f"{role}.{instance}.{what}"[:LONGEST_NAME]


class EndingAlerts:
    """Alerts raised by the supervisor, which restarts the roles."""

    def __init__(self, cluster: Cluster, names: Names, say: Callable[[str], None]) -> None:
        self._cluster, self._names, self._say = cluster, names, say

    def keeps_ending(self, child: Child, times: int, said: str) -> None:
        """Raise an alert in a separate thread, because Kafka may take long to answer."""
        alerts = LogAlerts(self._cluster, self._names, child.role, self._say)
        name = name_of(child.role, child.instance, _ENDS)
        often = "once" if times == 1 else f"{times} times in a row"
        message = f"{child.name} has ended {often}: {said}. It is started again, and this clears when it works"
        details = {"times": str(times), "reason": said}
        threading.Thread(
            target=alerts.raise_one, args=(name, "critical", message, details), name="ending-alert", daemon=True
        ).start()


class StateAlerts:
    """Alerts about a role's files, raised by the role itself; cleared when it has worked for a while.

    Parameters
    ----------
    say
        Prints one line for the operator.
    """

    def __init__(self, alerts: LogAlerts, role: str, instance: str, say: Callable[[str], None]) -> None:
        self._alerts = alerts
        self._names = [name_of(role, instance, what) for what in (_ENDS, _DISK)]
        self._say = say
        self._failing = False
        self._timer: threading.Timer | None = None

    def unwritable(self, message: str, severity: Severity = "critical") -> None:
        """Raise an alert about a file that cannot be written."""
        self._alerts.raise_one(self._names[1], severity, message, {})

    def written(self, path: Path, error: OSError | None) -> None:
        """Note the result of writing a file that the role can do without; report it when it changes."""
        if (error is not None) == self._failing:
            return
        self._failing = error is not None
        if error is None:
            self._say(f"{path} is written again")
            self.works_soon()
            return
        message = (
            f"{path} cannot be written: {error.strerror or error}. The role continues: the file only holds its last "
            "offsets, in case Kafka loses them. Free space on that disk, or make it writable"
        )
        self._say(message)
        threading.Thread(target=self.unwritable, args=(message, "warning"), name="disk-alert", daemon=True).start()

    def works_soon(self) -> None:
        """Clear the alerts once the role has worked for a while from now on."""
        self.stop()
        self._timer = threading.Timer(WORKS_S, self._works)
        self._timer.daemon = True
        self._timer.start()

    def _works(self) -> None:
        if not self._failing:
            self._alerts.clear(self._names)

    def stop(self) -> None:
        """Cancel the clearing: the role ends, or has failed again."""
        if self._timer is not None:
            self._timer.cancel()
