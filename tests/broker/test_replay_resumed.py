"""A replay that is gone on with does what the first run of it was to do."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from millstream.reading.offset_ranges import Edge
from millstream.replay.plan import CannotReplay, Job, ReplayTarget, plan
from millstream.replay.rate_limit import RateLimit
from millstream.replay.replay import Replay, Replayed
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

START, RECORDS = 1_700_000_000_000, 100


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


@pytest.fixture
def source(cluster: Cluster, names: Names) -> str:
    """Fill a topic with a record each 10 ms of years ago."""
    topic = names.topic("features")
    with raw_admin(cluster) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "configs": {"retention.ms": "-1"}}})
    while topic not in cluster.topic_info(topic):
        time.sleep(0.05)
    with closing(raw_producer(cluster)) as producer:
        for number in range(RECORDS):
            producer.send(topic, f"v{number}".encode(), partition=0, timestamp_ms=START + 10 * number)
        producer.flush()
    return topic


def job(cluster: Cluster, source: str, names: Names, since: int = START) -> Job:
    """Return what is to be done of `--from 6h`, which is another time whenever it is run."""
    into = ReplayTarget(cluster, f"{names.prefix}into")
    return plan(cluster, source, Edge("6h", time_ms=since), Edge(), into)


def some(job: Job, names: Names) -> Replayed:
    """Write a part of it."""
    stop = threading.Event()
    with Replay(job, names) as work:
        return work.run(RateLimit(rate=80), lambda done, total, left: stop.set(), stop)


def values(cluster: Cluster, topic: str) -> list[bytes]:
    place, found = TopicPartition(topic, 0), []
    with closing(raw_consumer(cluster)) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        end = consumer.end_offsets([place])[place]
        while consumer.position(place) < end:
            found += [record.value for record in consumer.poll(timeout_ms=200).get(place, ())]
    return found


def test_the_time_from_which_on_is_that_of_the_first_run(cluster: Cluster, source: str, names: Names) -> None:
    first = some(job(cluster, source, names), names)
    assert 0 < first.written < RECORDS
    with Replay(job(cluster, source, names, START + 500), names) as work:
        assert work.run(RateLimit()).written == RECORDS - first.written
    assert values(cluster, f"{names.prefix}into") == [f"v{number}".encode() for number in range(RECORDS)]


def test_what_retention_took_before_it_was_written_is_named_with_the_ways_on(
    cluster: Cluster, source: str, names: Names
) -> None:
    first = some(job(cluster, source, names), names)
    with raw_admin(cluster) as admin:
        admin.delete_records({TopicPartition(source, 0): 60})
    with pytest.raises(CannotReplay, match=rf"offsets {first.written} to 59 of partition 0 .* --from 0:60 .* --again"):
        Replay(job(cluster, source, names), names)
    with Replay(job(cluster, source, names), names, again=True) as work:
        assert work.run(RateLimit()).written == RECORDS - 60
    numbers = [*range(first.written), *range(60, RECORDS)]
    assert values(cluster, f"{names.prefix}into") == [f"v{number}".encode() for number in numbers]
