"""`millstream topics`: what would be done, and a stream deleted."""

from __future__ import annotations

from broker.commands import Run
from raw_kafka import raw_admin, raw_consumer

from millstream.status.snapshot import Observer
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.topics import KINDS, Names


def there(cluster: Cluster, names: Names) -> set[str]:
    return set(cluster.topic_info(*(names.topic(kind) for kind in KINDS)))


def test_a_dry_run_names_what_would_be_done_and_does_nothing(run: Run, bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    code, told, _ = run("topics", "create", "phishing", "--dry-run")
    assert code == 0
    assert [each["name"] for each in told["would_create"]] == [names.topic(kind) for kind in KINDS]
    assert not there(cluster, names)
    admin.create(cluster, names, partitions=4, label_wait_ms=0)
    with raw_admin(cluster) as client:
        client.delete_topics([names.topic("jobs")])
    while names.topic("jobs") in there(cluster, names):
        pass  # a broker answers before the topic is gone
    code, told, _ = run("topics", "create", "phishing", "--dry-run")
    assert [each["name"] for each in told["would_create"]] == [names.topic("jobs")]
    assert (code, told["findings"]) == (0, [])


def test_a_dry_run_of_a_fix_names_the_setting(run: Run, bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    with raw_admin(cluster) as client:
        client.create_topics({names.topic("models"): {"num_partitions": 1}})
    code, told, _ = run("topics", "create", "phishing", "--dry-run")
    assert (code, {each["topic"] for each in told["findings"]}) == (1, {names.topic("models")})
    code, told, _ = run("topics", "create", "phishing", "--dry-run", "--fix")
    settings = ("cleanup.policy=compact", "message.timestamp.type=LogAppendTime")
    assert (code, sorted(told["would_set"])) == (0, [f"{names.topic('models')}: {each}" for each in settings])


def test_a_stream_is_deleted_when_that_is_said_and_others_stay(run: Run, bootstrap: str, prefix: str) -> None:
    cluster, names, other = Cluster(bootstrap), Names("phishing", prefix), Names("phishing", f"{prefix}x-")
    for each in (names, other):
        admin.create(cluster, each, partitions=1, label_wait_ms=0)
    code, _, said = run("topics", "delete", "phishing")
    assert (code, len(there(cluster, names))) == (2, len(KINDS))
    assert "say --yes" in said
    code, told, said = run("topics", "delete", "phishing", "--yes")
    assert code == 0, said
    assert told["deleted"][names.topic("features")] == 0
    assert not there(cluster, names)
    assert len(there(cluster, other)) == len(KINDS)
    code, _, said = run("topics", "delete", "phishing", "--yes")
    assert code == 1
    assert "nothing to delete" in said


def test_a_stream_at_work_is_not_deleted(run: Run, bootstrap: str, names: Names) -> None:
    cluster = Cluster(bootstrap)
    admin.create(cluster, names, partitions=1, label_wait_ms=0)
    consumer = raw_consumer(cluster, group_id=names.group("joiner"), auto_offset_reset="earliest")
    try:
        consumer.subscribe([names.topic("labels")])
        with Observer(cluster, names) as observer:
            while not observer.look().members["joiner"]:
                consumer.poll(timeout_ms=2000)
        code, _, said = run("topics", "delete", "phishing", "--yes")
    finally:
        consumer.close(autocommit=False)
    assert code == 1
    assert "joiner (1) of phishing is at work: end them first" in said
    assert len(there(cluster, names)) == len(KINDS)
