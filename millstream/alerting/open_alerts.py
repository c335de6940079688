"""Alerts that are raised now, with who has acknowledged or silenced them."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from consumers.loop.alert_states import AlertStates
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import MissingTopic
from runtime.kafka_client.records import Partition
from schemas.alerts import AlertNote, read_alert_record
from schemas.codec import CodecError

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names


def read_states(cluster: Cluster, names: Names) -> AlertStates:
    """Return the state of a stream's alerts. Raises MissingTopic if it has no alerts topic."""
    topic, states = names.topic("alerts"), AlertStates()
    with closing(cluster.consumer()) as consumer:
        if topic not in consumer.topics():
            raise MissingTopic(f"there is no topic {topic}: `millstream topics create STREAM` makes it")
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            try:
                states.take(record.offset, read_alert_record(record.value or b""))
            except CodecError:
                continue  # any client can write there
    return states


def open_rows(states: AlertStates, now_ms: int | None = None) -> list[dict[str, Any]]:
    """Return a row for each raised alert, oldest first, and for each silence of an alert that is not raised."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    rows: list[dict[str, Any]] = []
    for name, raised in states.raised.items():
        alert = raised.alert
        rows.append(
            {
                "name": name,
                "severity": alert.severity,
                "state": "raised",
                "since": raised.since,
                "at": alert.at,
                "message": alert.message,
                "details": alert.details,
                "ack": _note(states.acks.get(name)),
                "silence": _note(states.silenced(name, now)),
            }
        )
    for name in states.silences.keys() - states.raised.keys():
        if (silence := states.silenced(name, now)) is not None:
            rows.append({"name": name, "state": "not raised", "ack": None, "silence": _note(silence)})
    return rows


def _note(note: AlertNote | None) -> dict[str, Any] | None:
    return None if note is None else {"by": note.by, "why": note.why, "at": note.at, "until": note.until}
