"""A stream that is forgotten begins anew, and one that is at work is left alone."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from raw_kafka import raw_consumer, raw_producer

from millstream.config.instance_id import InstanceTaken, claim
from millstream.config.settings import Settings
from millstream.status.snapshot import Observer
from millstream.topics import admin
from millstream.topics.delete_stream import forget
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names


@pytest.fixture
def settings(tmp_path: Path, bootstrap: str, prefix: str) -> Settings:
    return Settings(tmp_path, bootstrap, prefix)


def _fill(settings: Settings, names: Names) -> None:
    """Leave a record, a group with a static member, local state and a version."""
    cluster = settings.cluster()
    admin.create(cluster, names, partitions=2, label_wait_ms=0)
    with closing(raw_producer(cluster)) as producer:
        producer.send(names.topic("features"), b"{}", partition=0).get(10)
    consumer = raw_consumer(
        cluster,
        group_id=names.group("predictor"),
        group_instance_id=names.process("predictor", "0"),
        auto_offset_reset="earliest",
    )
    with closing(consumer):
        consumer.subscribe([names.topic("features")])
        deadline = time.monotonic() + 30
        while not consumer.poll(timeout_ms=200):
            assert time.monotonic() < deadline, "the record is not read"
        consumer.commit()
    models = Path(settings.models)
    versions = [models / model / "versions" for model in (names.stream, f"{names.stream}.no-longer-in-the-file")]
    for folder in (settings.state(names) / "joiner-0", *versions):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")


def test_nothing_is_left_of_a_forgotten_stream(settings: Settings) -> None:
    names, cluster = settings.names("clicks"), settings.cluster()
    _fill(settings, names)
    other = Path(settings.models) / "clicks-of-others"
    other.mkdir()
    forget(cluster, settings, names, [("predictor", "0"), ("joiner", "0")])
    assert all(
        "is missing" in each.message for each in admin.describe(cluster, names, partitions=2, label_wait_ms=0).findings
    )
    assert [*Path(settings.models).iterdir()] == [other]
    assert {path.suffix for path in settings.state(names).iterdir()} == {".lock"}
    admin.create(cluster, names, partitions=2, label_wait_ms=0)
    with Observer(cluster, names) as observer:
        snapshot = observer.look()
    assert snapshot.members["predictor"] == 0
    assert snapshot.committed["predictor"] == {}
    assert sum(snapshot.ends.values()) == 0


def test_a_stream_that_never_was_can_be_forgotten(settings: Settings) -> None:
    cluster, names = settings.cluster(), settings.names("none")
    forget(cluster, settings, names, [("joiner", "0")])
    assert not cluster.topic_info(names.topic("features"))


def test_a_stream_at_work_is_left_alone(settings: Settings) -> None:
    names, cluster = settings.names("clicks"), settings.cluster()
    _fill(settings, names)
    with claim("joiner", "0", settings.state(names)), pytest.raises(InstanceTaken):
        forget(cluster, settings, names, [("predictor", "0"), ("joiner", "0")])
    assert admin.describe(cluster, names, partitions=2, label_wait_ms=0).findings == ()
    assert (settings.state(names) / "joiner-0" / "file").exists()


def test_another_prefix_is_another_stream(settings: Settings, bootstrap: str) -> None:
    mine, cluster = settings.names("clicks"), Cluster(bootstrap)
    _fill(settings, mine)
    theirs = Settings(settings.home, bootstrap, f"{settings.prefix}b-", store=str(settings.home / "theirs"))
    forget(cluster, theirs, theirs.names("clicks"), [("joiner", "0")])
    assert admin.describe(cluster, mine, partitions=2, label_wait_ms=0).findings == ()
    assert (settings.state(mine) / "joiner-0" / "file").exists()
