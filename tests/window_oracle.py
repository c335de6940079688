"""The windows of a stream as they must be: made at once from all records of its topics."""

from __future__ import annotations

from contextlib import closing

from consumers.loop.decisions_log import DecisionsLog
from consumers.monitor.monitor import MonitorSettings
from consumers.monitor.served import DecidedBy
from consumers.monitor.version_ages import VersionAges
from consumers.monitor.windows import PartitionWindows
from millstream.reading import topic_readers
from millstream.stream.monitor_rules import window_rules
from millstream.stream.stream import Stream
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Record
from schemas.alerts import Alert, read_alert
from schemas.profiles import Window, read_window
from schemas.topics import PROFILES, Names

Places = dict[Partition, list[Window]]


def all_of(cluster: Cluster, topic: str) -> dict[Partition, list[Record]]:
    """Return every committed record of a topic."""
    with closing(cluster.consumer()) as consumer:
        partitions = topic_readers.partitions_of(consumer, topic)
        begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        return {at: [*topic_readers.between(consumer, at, begins[at], ends[at])] for at in partitions}


def expected(cluster: Cluster, names: Names, stream: Stream, key: bytes = b"") -> Places:
    """Return the windows of each partition that have closed."""
    with closing(DecisionsLog(cluster, names)) as log:
        rules = window_rules(stream, DecidedBy(log, stream.labels.wait_ms), key)
        settings = MonitorSettings(names, rules, ages=VersionAges(log))
        return {
            at: windows
            for topic, (kind, reader) in settings.kinds().items()
            for at, records in all_of(cluster, topic).items()
            if (windows := PartitionWindows(kind, settings.rules, reader).take(records))
        }


def written(cluster: Cluster, names: Names) -> Places:
    """Return the windows on the profiles topic, without merged ones, in the order in which they were written."""
    found: Places = {}
    for records in all_of(cluster, names.topic(PROFILES)).values():
        for record in records:
            if record.value is None:
                continue
            window = read_window(record.value)
            if window.partition >= 0:
                found.setdefault(Partition(window.topic, window.partition), []).append(window)
    return found


def alerts(cluster: Cluster, names: Names, beginning: str) -> list[Alert]:
    """Return the alerts whose name begins so."""
    records = [record for each in all_of(cluster, names.topic("alerts")).values() for record in each]
    found = [read_alert(record.value or b"") for record in records]
    return [alert for alert in found if alert.name.startswith(beginning)]
