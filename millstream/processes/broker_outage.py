"""A Kafka that is away, told once: each role notices in words of its own, ends and is started again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.kafka_client.cluster import Cluster


class Outage:
    """Knows whether a cluster is away, and says when it goes and when it is back. Called from several threads."""

    def __init__(self, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._say = say
        self._away = False
        self._lock = threading.Lock()

    def lasts(self) -> bool:
        """Look, and tell whether the cluster is away: then nothing more need be said of it."""
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
