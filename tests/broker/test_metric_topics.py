"""Downstream metrics on a real Kafka: from an external topic and from the stream's own, into windows and the status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker.test_monitor_kills import end, monitor, until
from raw_kafka import raw_producer
from window_oracle import written

from runtime.kafka_client.client import NewTopic
from runtime.kafka_client.cluster import Cluster
from schemas.profiles import Window
from schemas.sources.metrics import Metric
from schemas.topics import METRICS, Names

STREAM = """
from river import linear_model
from millstream import Source, Stream, Watch

stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(), partitions=2,
    watch=Watch(window="1h", window_events=3),
    metrics_from=["http", Source(topic="{orders}", format="json", fields={{"orders": "total"}})],
)
"""


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("s", prefix, takes_metrics=True, metrics_from=(f"{prefix}orders",))


def mean(window: Window, key: str) -> float:
    numbers = window.profiles[key].numbers
    assert numbers is not None
    return numbers.mean


def test_their_values_are_in_windows_and_what_is_unread_or_unreadable_in_the_status(
    home: Path, run: Callable[..., Any], cluster: Cluster, names: Names, environment: dict[str, str]
) -> None:
    [orders] = names.metrics_from
    file = home / "s.py"
    file.write_text(STREAM.format(orders=orders))
    with cluster.admin() as admin:
        assert admin.create_topics([NewTopic(orders, 1, {})], timeout_ms=10_000) == {orders: None}
    code, _, errors = run("topics", "create", str(file))
    assert code == 0, errors
    producer = raw_producer(cluster)
    for value in (b'{"total": 10}', b"no JSON", b'{"total": 30}'):
        producer.send(orders, value)
    for number in (1.5, 2.5):
        producer.send(names.topic(METRICS), Metric("calls", number, 1).encode(), partition=0)
    producer.send(names.topic(METRICS), b"no metric", partition=0)
    producer.flush(20)
    producer.close()

    def status() -> dict[str, Any]:
        code, found, errors = run("status", str(file))
        assert code == 0, errors
        return dict(found)

    process = monitor(file, environment)
    try:
        until(lambda: (status()["watched"] or {}).get("windows") == 2, process)
        shown = status()
    finally:
        end(process)
    found = {window.topic: window for windows in written(cluster, names).values() for window in windows}
    assert mean(found[orders], "metric:orders") == 20.0
    assert mean(found[names.topic(METRICS)], "metric:calls") == 2.0
    assert shown["watched"]["unreadable"] == 2
    assert shown["stages"]["monitor"]["lag"] == 0
    assert not any("monitor" in alert and "offset" in alert for alert in shown["alerts"])
