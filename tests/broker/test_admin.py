"""Topics on a real cluster: made once, judged as they are, mended where that loses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidReplicationFactorError
from proxy import Proxy
from raw_kafka import raw_admin, raw_consumer

from millstream.status.snapshot import Observer
from millstream.topics import admin
from millstream.versions.decisions import NotDecided, decide
from runtime.kafka_client.cluster import Cluster
from schemas.model_updates import Learning, Serving
from schemas.topics import DAY_MS, KINDS, Names

_WAIT: dict[str, int] = {"partitions": 3, "label_wait_ms": DAY_MS}


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("clicks", prefix)


def test_what_is_created_is_as_it_must_be_and_a_second_time_changes_nothing(cluster: Cluster, names: Names) -> None:
    first = admin.create(cluster, names, **_WAIT)
    assert first.created == tuple(names.topic(kind) for kind in KINDS)
    assert first.findings == ()
    second = admin.create(cluster, names, **_WAIT)
    assert second.created == second.altered == second.findings == ()
    assert second.topics == first.topics
    assert [topic.partitions for topic in second.topics] == [3, 3, 3, 1, 1, 1, 1, 1, 1, 1]


def test_brokers_that_are_fenced_for_a_moment_are_waited_for(bootstrap: str, names: Names) -> None:
    """A machine that stood still for seconds: the controller has not heard of its broker, and will at once."""
    with Proxy(bootstrap) as proxy:
        refused = proxy.fail("CreateTopics", InvalidReplicationFactorError.errno, times=2)
        assert admin.create(Cluster(proxy.bootstrap), names, **_WAIT).findings == ()
        assert refused.wait(2)
        proxy.fail("CreateTopics", InvalidReplicationFactorError.errno)
        with pytest.raises(admin.TopicsError, match="are currently fenced"):
            admin.create(Cluster(proxy.bootstrap), replace(names, stream="clocks"), **_WAIT, wait=0)


def test_missing_topics_are_named_with_the_command_that_makes_them(cluster: Cluster, names: Names) -> None:
    found = admin.describe(cluster, names, **_WAIT)
    assert {each.message for each in found.findings} == {f"{names.topic(kind)} is missing" for kind in KINDS}
    with pytest.raises(admin.TopicsError, match="millstream topics create"):
        admin.require(found)


def test_unequal_partition_counts_are_named_with_the_fix(cluster: Cluster, names: Names) -> None:
    _make(cluster, {names.topic("predictions"): 4, names.topic("labels"): 2, names.topic("examples"): 2})
    made = admin.create(cluster, names, **_WAIT).findings
    findings = {each.topic: each for each in made if each.change is None or each.change[0] == "partitions"}
    labels, examples = findings[names.topic("labels")], findings[names.topic("examples")]
    assert "has 4 partitions and" in labels.message
    assert f"--alter --topic {names.topic('labels')} --partitions 4" in labels.by_hand
    assert "has 2 partitions and is meant to have 1" in examples.message
    assert {labels.severity, examples.severity} == {"warning"}
    mended = admin.create(cluster, names, **_WAIT, fix=True)
    assert f"{names.topic('labels')}: partitions=4" in mended.altered
    assert [each.topic for each in mended.findings] == [names.topic("examples")]


def test_short_retention_is_named_and_mended_on_request_only(cluster: Cluster, names: Names) -> None:
    admin.create(cluster, names, **_WAIT)
    longer = {"partitions": 3, "label_wait_ms": 6 * DAY_MS}
    found = admin.create(cluster, names, **longer)
    assert [each.topic for each in found.findings] == [names.topic("predictions"), names.topic("labels")]
    assert all("must have at least 1555200000: 3 times Labels(wait=…)" in each.message for each in found.findings)
    mended = admin.create(cluster, names, **longer, fix=True)
    assert len(mended.altered) == 2
    assert mended.findings == ()


@pytest.mark.parametrize(
    ("kind", "key", "value", "severity"),
    [
        ("labels", "message.timestamp.type", "CreateTime", "error"),
        ("models", "cleanup.policy", "delete", "error"),
        ("predictions", "cleanup.policy", "compact", "error"),
        ("examples", "retention.ms", "1000000", "warning"),
        ("examples", "retention.bytes", "1000000", "warning"),
    ],
)
def test_wrong_settings_are_named_and_mended(
    cluster: Cluster, names: Names, kind: str, key: str, value: str, severity: str
) -> None:
    _make(cluster, {names.topic(kind): 1}, {key: value})
    findings = [each for each in admin.create(cluster, names, partitions=1, label_wait_ms=0).findings if each.change]
    mine = [each for each in findings if each.change is not None and each.change[0] == key]
    assert [(each.topic, each.severity) for each in mine] == [(names.topic(kind), severity)]
    assert f"--entity-name {names.topic(kind)} --add-config {key}=" in mine[0].by_hand
    assert admin.create(cluster, names, partitions=1, label_wait_ms=0, fix=True).findings == ()


def test_a_decision_is_on_both_topics_and_seen_by_an_observer(cluster: Cluster, names: Names) -> None:
    admin.create(cluster, names, **_WAIT)
    decide(cluster, names, Serving("clicks", 0, 1, 20, "ann", "better"))
    paused = decide(cluster, names, Learning(0, paused=True, by="ann", why="labels look wrong"))
    with Observer(cluster, names) as observer:
        assert observer.look().learning == paused
        resumed = decide(cluster, names, Learning(0, paused=False, by="ann", why=""))
        snapshot = observer.look()
    assert snapshot.learning == resumed
    assert snapshot.serving is not None
    ends = _ends(cluster, names.topic("decisions"), names.topic("models"))
    assert ends == [3, 3]


def test_a_decision_about_a_stream_without_topics_says_so(cluster: Cluster, names: Names) -> None:
    with pytest.raises(NotDecided, match="millstream topics create"):
        decide(cluster, names, Learning(0, paused=True, by="ann", why=""))


def _make(cluster: Cluster, topics: dict[str, int], config: dict[str, str] | None = None) -> None:
    with raw_admin(cluster) as client:
        client.create_topics(
            {name: {"num_partitions": count, "configs": config or {}} for name, count in topics.items()},
            wait_for_metadata=True,
        )
        client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])


def _ends(cluster: Cluster, *topics: str) -> list[int]:
    from kafka import TopicPartition

    consumer = raw_consumer(cluster)
    try:
        places = [TopicPartition(topic, 0) for topic in topics]
        ends = consumer.end_offsets(places)
        return [ends[place] for place in places]
    finally:
        consumer.close()
