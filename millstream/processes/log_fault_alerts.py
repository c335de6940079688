"""Alerts of a role that cannot continue at its offset in the log.

Such a role ends before it commits, so its raised alerts cannot be in its offset metadata like others: they are read
from the alerts topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from consumers.learner.alerts import model_of_alert
from consumers.loop.alerts import Alerts, Severity, raised
from consumers.loop.log_faults import LogFault, alert_name, way
from consumers.roles import LEARNER
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from runtime.kafka_client.records import Output, Partition
from schemas.alerts import Alert, read_alert
from schemas.codec import CodecError
from schemas.topics import Names

_SECONDS: Final = 10.0


class LogAlerts:
    """Raises the alerts when a role refuses, and clears them when it works again.

    Parameters
    ----------
    say
        Prints one line for the operator.
    """

    def __init__(self, cluster: Cluster, names: Names, role: str, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._names = names
        self._role = role
        self._say = say

    def refused(self, faults: Sequence[LogFault]) -> None:
        """Raise an alert for each of `faults` without one."""

        def outputs(alerts: Alerts, now_ms: int) -> Iterable[Output]:
            for fault in faults:
                message = f"{fault}; {way(self._role, self._names.stream)}"
                details = {"state": fault.state, "place": str(fault.place), "gone": str(fault.gone)}
                details |= {"beginning": str(fault.beginning), "end": str(fault.end)}
                yield from alerts.raise_(fault.name, "critical", message, now_ms, details)

        self._send(outputs)

    def settled(self, partitions: Sequence[Partition]) -> None:
        """Clear the alerts of these partitions, in which the role works again.

        The learner of the stream's own model also clears those of learners whose model is gone: nobody else would.
        """
        self.clear({alert_name(self._role, each.topic, each.partition) for each in partitions})
        if self._role == LEARNER:
            self._clear_former_models()

    def _clear_former_models(self) -> None:
        def outputs(alerts: Alerts, now_ms: int) -> Iterable[Output]:
            for name in alerts:
                if model_of_alert(name) not in (None, *self._names.models):
                    yield from alerts.clear(name, now_ms)

        self._send(outputs)

    def raise_one(self, name: str, severity: Severity, message: str, details: Mapping[str, str]) -> None:
        """Raise an alert, unless it is already raised."""
        self._send(lambda alerts, now_ms: alerts.raise_(name, severity, message, now_ms, details))

    def clear(self, names: Collection[str]) -> None:
        """Clear those of the alerts that are raised."""

        def outputs(alerts: Alerts, now_ms: int) -> Iterable[Output]:
            for name in sorted(names):
                yield from alerts.clear(name, now_ms)

        self._send(outputs)

    def _send(self, outputs: Callable[[Alerts, int], Iterable[Output]]) -> None:
        alerts = Alerts(self._names, self._say)
        try:
            alerts.restore([alert.name for alert in self._standing()])
            sending = list(outputs(alerts, time.time_ns() // 1_000_000))
            if not sending:
                return
            producer = self._cluster.producer()
            for each in sending:
                producer.send(each.topic, each.value, each.key, partition=each.partition)
            producer.flush(timeout=_SECONDS)
            producer.close(timeout=1)
        except (KafkaError, NoBroker) as error:
            self._say(f"{self._names.topic('alerts')} cannot be reached: {described(error)}")

    def _standing(self) -> Iterable[Alert]:
        place = Partition(self._names.topic("alerts"), 0)
        consumer = self._cluster.consumer()
        found: list[Alert] = []
        try:
            consumer.assign([place])
            consumer.seek_to_beginning([place])
            end, deadline = consumer.end_offsets([place])[place], time.monotonic() + _SECONDS
            while consumer.position(place) < end and time.monotonic() < deadline:
                for record in consumer.poll(timeout_ms=200).get(place, ()):
                    try:
                        found.append(read_alert(record.value or b""))
                    except CodecError:
                        continue  # an external record
        finally:
            consumer.close()
        return raised(found)
