"""Broker outage, reported once although each role notices it, ends and is restarted."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.kafka_client.cluster import Cluster


class Outage:
    """Checks whether a cluster is down, and reports when it goes down and comes back. Called from several threads."""

    def __init__(self, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._say = say
        self._away = False
        self._lock = threading.Lock()

    def lasts(self) -> bool:
        """Return whether the cluster is down; in that case this method has reported it."""
        with self._lock:
            away = not self._cluster.answers()
            if away != self._away:
                self._away = away
                where = self._cluster.bootstrap
                self._say(
                    f"no Kafka answers at {where}: all roles start again, and go on when it does"
                    if away
                    else f"Kafka answers again at {where}"
                )
            return away
