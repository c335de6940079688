"""Models that a stream has had and its file no longer has, on a real Kafka: their alerts, their groups, their names."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from broker.commands import Run
from kafka import OffsetAndMetadata, TopicPartition
from loop_helpers import places
from raw_kafka import raw_consumer, raw_producer

from consumers.shadow.offset_metadata import ShadowMetadata
from millstream.processes.log_fault_alerts import LogAlerts
from millstream.status.group_metadata import recalled
from millstream.status.snapshot import Observer
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.model_updates import ModelUpdate, Published
from schemas.topics import Names

FILE = """
from river import linear_model
from millstream import Model, Stream

make = linear_model.LogisticRegression
stream = Stream(name="s", task="binary", model=make, models={"b": Model(make)})
"""


@pytest.fixture
def names(prefix: str, cluster: Cluster) -> Names:
    """Return the names of the stream with both models, and make its topics."""
    names = Names("s", prefix, models=("old", "b"))
    admin.create(cluster, names, partitions=1, label_wait_ms=0)
    return names


def announce(cluster: Cluster, names: Names, *models: str) -> None:
    with closing(raw_producer(cluster)) as producer:
        for model in models:
            state = Published(f"s.{model}", 0, 1, 5, "t", 5, "0" * 64, -1, -1, {})
            producer.send(names.topic("models"), ModelUpdate(1, state).encode(), state.key.encode(), partition=0)
        producer.flush(20)


def commit(cluster: Cluster, names: Names, role: str, kind: str, metadata: str = "") -> None:
    at = TopicPartition(names.topic(kind), 0)
    with closing(raw_consumer(cluster, group_id=names.group(role))) as consumer:
        consumer.assign([at])
        consumer.commit({at: OffsetAndMetadata(0, metadata, -1)})


def test_the_learner_of_the_own_model_clears_alerts_of_models_that_are_gone(cluster: Cluster, names: Names) -> None:
    stay = ["learner.poison", "learner.0.ends", "learner.examples-0.log", "learner.b.poison", "joiner.0.disk"]
    gone = ["learner.old.poison", "learner.old.memory-ahead", "learner.old.0.ends", "learner.old.examples-0.log"]
    raising = LogAlerts(cluster, names, "learner.old", print)
    for name in (*gone, *stay):
        raising.raise_one(name, "warning", "something", {})
    now = Names("s", names.prefix, models=("b",))
    for role in ("learner.b", "joiner"):
        LogAlerts(cluster, now, role, print).settled([])
    assert [*standing(cluster, now)] == [*gone, *stay]
    LogAlerts(cluster, now, "learner", print).settled([])
    assert [*standing(cluster, now)] == stay


def standing(cluster: Cluster, names: Names) -> list[str]:
    with Observer(cluster, names) as observer:
        return [alert.name for alert in observer.look().alerts]


def test_a_name_alone_means_the_models_that_the_shadow_role_has(cluster: Cluster, names: Names) -> None:
    mere = Names("s", names.prefix)
    announce(cluster, names, "old", "b")
    assert recalled(cluster, mere).models == ("old", "b")
    told = ShadowMetadata(models={"s": (3, 0), "s.b": (5, 0), "s.new": (0, 0)})
    commit(cluster, names, "shadow", "predictions", told.encode())
    assert recalled(cluster, mere).models == ("b", "new")


def test_a_stream_is_deleted_with_the_groups_of_the_models_that_it_had(
    cluster: Cluster, names: Names, run: Run, home: Path
) -> None:
    file = home / "s.py"
    file.write_text(FILE)
    announce(cluster, names, "old", "b")
    for role in ("learner", "learner.old", "learner.b"):
        commit(cluster, names, role, "examples")
        assert places(cluster, names.group(role))
    code, _, said = run("topics", "delete", str(file), "--yes")
    assert code == 0, said
    for role in ("learner", "learner.old", "learner.b"):
        assert not places(cluster, names.group(role))
