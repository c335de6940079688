"""Features and labels on a real broker: order, rate, outages, and exact numbers when stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.structs import TopicPartition
from proxy import Proxy
from raw_kafka import raw_admin, raw_consumer

from producers.file_formats import RowSource, SourceSpec, open_source
from producers.label import LabelOptions, send_label
from producers.publisher import Progress, PublishError, PublishOptions, PublishReport, publish
from producers.retrying_producer import RetryLimits, UndeliverableError
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.library_names import KAFKA_PYTHON
from schemas.events import read_event, read_label
from schemas.target import Target, TargetError
from schemas.topics import Names, partition_of, specs

# Far below the defaults, so that what takes minutes in the field takes a second here.
HASTY = RetryLimits(request_ms=400, delivery_ms=1_000, give_up_seconds=30, stop_seconds=10)
BINARY = Target(task="binary")


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


@pytest.fixture
def names(cluster: Cluster, prefix: str) -> Names:
    names = Names("clicks", prefix=prefix)
    with raw_admin(cluster) as admin:
        admin.create_topics(
            {
                spec.name: {"num_partitions": spec.partitions, "replication_factor": 1, "configs": spec.config}
                for spec in specs(names, partitions=3, label_wait_ms=60_000)
            },
            wait_for_metadata=True,
        )
    return names


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy
        for thread in threading.enumerate():
            if thread.name == "abandon-producer":
                thread.join(10)


def clicks(folder: Path, rows: int, name: str = "clicks.csv") -> RowSource:
    path = folder / name
    path.write_text("x,y,label\n" + "".join(f"{n},{n / 7},{n % 2}\n" for n in range(rows)))
    return open_source(path, SourceSpec(target=BINARY))


def read_all(cluster: Cluster, topic: str) -> list[Any]:
    """Return all records of a topic, oldest first within each partition."""
    consumer = raw_consumer(cluster)
    partitions = [TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    records: list[Any] = []
    deadline = time.monotonic() + 20
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        assert time.monotonic() < deadline, f"{topic} could not be read to its end"
        for batch in consumer.poll(200).values():
            records += batch
    consumer.close()
    return records


def ids(cluster: Cluster, topic: str) -> list[str]:
    return [record.key.decode() for record in read_all(cluster, topic)]


def when(cluster: Cluster, topic: str) -> dict[str, int]:
    """Return by event id when the broker took its record."""
    return {record.key.decode(): record.timestamp for record in read_all(cluster, topic)}


def test_features_and_labels_arrive_whole_on_the_partition_of_their_id(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    source = clicks(tmp_path, 500)
    seen: list[Progress] = []
    report = publish(cluster, names, source, progress=seen.append)
    assert (report.sent, report.acknowledged, report.labels_acknowledged, report.labels_unsent) == (500, 500, 500, 0)
    rows = {row.event_id: row for row in source.rows()}
    for record in read_all(cluster, names.topic("features")):
        event = read_event(record.value)
        assert event.features == rows[event.event_id].features
        assert (record.key.decode(), record.partition) == (event.event_id, partition_of(event.event_id, 3))
    for record in read_all(cluster, names.topic("labels")):
        label = read_label(record.value)
        assert (label.value, label.source) == (rows[label.event_id].label, "system")
        assert record.partition == partition_of(label.event_id, 3)
    assert (seen[-1].sent, seen[-1].acknowledged, seen[-1].labels_acknowledged, seen[-1].total) == (500, 500, 500, 500)


def test_publishing_twice_gives_the_same_ids(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    for _ in range(2):
        publish(cluster, names, clicks(tmp_path, 100))
    for kind in ("features", "labels"):
        assert set(Counter(ids(cluster, names.topic(kind))).values()) == {2}


def test_a_label_waits_for_the_features_of_n_events_later(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = clicks(tmp_path, 1000)
    publish(cluster, names, source, PublishOptions(rate=1000, label_delay_events=100))
    order = [row.event_id for row in source.rows()]
    features, labels = when(cluster, names.topic("features")), when(cluster, names.topic("labels"))
    for position, event_id in enumerate(order):
        assert labels[event_id] >= features[order[min(position + 100, 999)]]
    # A hundred events are a tenth of a second, so the wait is there to be seen. librdkafka holds the first ones back.
    assert labels[order[800]] - features[order[800]] >= 80


# librdkafka holds the first records for up to half a second, until it has a producer id; labels come by the clock.
@pytest.mark.client(KAFKA_PYTHON)
def test_a_label_waits_for_a_span_of_time(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    publish(cluster, names, clicks(tmp_path, 100), PublishOptions(rate=1000, label_delay_seconds=0.5))
    features, labels = when(cluster, names.topic("features")), when(cluster, names.topic("labels"))
    waits = [labels[event_id] - features[event_id] for event_id in features]
    # The features' record may have stood in the client for the length of a batch.
    assert min(waits) >= 400
    assert max(waits) < 2_000


def test_rate_and_limit_are_kept(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    report = publish(cluster, names, clicks(tmp_path, 1000), PublishOptions(rate=400, limit=200))
    assert report.sent == len(ids(cluster, names.topic("features"))) == 200
    assert report.seconds >= 199 / 400


def test_an_outage_in_between_loses_nothing(cluster: Cluster, names: Names, proxy: Proxy, tmp_path: Path) -> None:
    stalled: list[float] = []
    begun = threading.Event()

    def watch(progress: Progress) -> None:
        stalled.append(progress.stalled_seconds)
        if progress.acknowledged > 100:
            begun.set()

    def outage() -> None:
        assert begun.wait(20)
        proxy.refuse()
        proxy.cut()
        time.sleep(2.5)  # the length of the outage is what is tested
        proxy.refuse(False)

    thread = threading.Thread(target=outage)
    thread.start()
    options = PublishOptions(rate=400, label_delay_events=20)
    report = publish(Cluster(proxy.bootstrap), names, clicks(tmp_path, 800), options, progress=watch, limits=HASTY)
    thread.join()
    assert (report.acknowledged, report.labels_acknowledged) == (800, 800)
    assert max(stalled) > 1
    for kind in ("features", "labels"):
        assert len(set(ids(cluster, names.topic(kind)))) == 800


def test_what_is_never_acknowledged_goes_out_again_through_a_new_producer(
    cluster: Cluster, names: Names, proxy: Proxy, tmp_path: Path
) -> None:
    """Once a batch of it has expired, an idempotent producer of kafka-python never sends again."""
    lost = proxy.drop_responses("Produce", times=4)
    report = publish(Cluster(proxy.bootstrap), names, clicks(tmp_path, 300), limits=HASTY)
    assert lost.applied == 4
    assert report.resent > 0
    assert (report.acknowledged, report.labels_acknowledged) == (300, 300)
    for kind in ("features", "labels"):
        assert len(set(ids(cluster, names.topic(kind)))) == 300


def test_a_broker_silent_for_good_ends_publishing_with_the_numbers(names: Names, proxy: Proxy, tmp_path: Path) -> None:
    def watch(progress: Progress) -> None:
        if progress.acknowledged > 50:
            proxy.refuse()
            proxy.cut()

    limits = RetryLimits(request_ms=400, delivery_ms=1_000, give_up_seconds=2)
    with pytest.raises(PublishError, match="has acknowledged nothing for 2 s") as caught:
        publish(
            Cluster(proxy.bootstrap),
            names,
            clicks(tmp_path, 2000),
            PublishOptions(rate=500),
            progress=watch,
            limits=limits,
        )
    report = caught.value.report
    assert report is not None
    assert 50 < report.acknowledged < report.sent < 2000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_publishing_with_exact_numbers(
    cluster: Cluster, names: Names, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def watch(progress: Progress) -> None:
        if progress.acknowledged > 100 and progress.sent < 1900:
            os.kill(os.getpid(), number)
            watched.clear()

    watched = [watch]

    def once(progress: Progress) -> None:
        for each in list(watched):
            each(progress)

    options = PublishOptions(rate=1000, label_delay_events=50)
    report = publish(cluster, names, clicks(tmp_path, 2000), options, progress=once)
    assert report.interrupted
    assert 100 < report.sent < 2000
    assert report.acknowledged == report.sent == len(ids(cluster, names.topic("features")))
    assert report.labels_acknowledged == report.labels_sent == len(ids(cluster, names.topic("labels")))
    assert report.labels_unsent == report.sent - report.labels_sent > 0
    assert signal.getsignal(number) is before


def stopped_during_an_outage(names: Names, proxy: Proxy, source: RowSource) -> PublishReport:
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.acknowledged > 50:
            proxy.refuse()
            proxy.cut()
        if progress.stalled_seconds > 0.5:
            stop.set()

    limits = RetryLimits(request_ms=400, delivery_ms=1_000, stop_seconds=1)
    options = PublishOptions(rate=500)
    return publish(Cluster(proxy.bootstrap), names, source, options, progress=watch, stop=stop, limits=limits)


def test_stopping_during_an_outage_does_not_wait_for_its_end(
    cluster: Cluster, names: Names, proxy: Proxy, tmp_path: Path
) -> None:
    report = stopped_during_an_outage(names, proxy, clicks(tmp_path, 5000))
    assert report.interrupted
    assert report.seconds < 60  # the outage has no end
    assert 50 < report.acknowledged < report.sent < 5000
    # What is reported as acknowledged is there; of the rest some may be.
    assert len(set(ids(cluster, names.topic("features")))) >= report.acknowledged


def test_a_bad_row_ends_publishing_and_says_what_arrived(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("x,label\n" + "1,0\n" * 50 + "1\n" + "2,1\n" * 10)
    source = open_source(path, SourceSpec(target=BINARY))
    with pytest.raises(PublishError, match=r"bad\.csv, line 52: 1 columns.*; 50 events and \d+ labels are ack"):
        publish(cluster, names, source)
    report = publish(cluster, names, source, PublishOptions(skip_bad_rows=True))
    assert (report.acknowledged, report.bad_rows) == (60, 1)
    assert "line 52" in report.first_bad_rows[0]


def test_ids_that_come_twice_are_counted(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,x,label\n" + "".join(f"e{n % 7},{n},{n % 2}\n" for n in range(10)))
    report = publish(cluster, names, open_source(path, SourceSpec(id="id")))
    assert (report.acknowledged, report.repeated_ids) == (10, 3)


@pytest.mark.fault("F16")
def test_a_record_too_large_for_kafka_is_named(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text('{"text": "' + "x" * (2 << 20) + '", "label": 1}\n')
    with pytest.raises(PublishError, match=r"does not take features of event 'large-1-.*MessageSizeTooLarge"):
        publish(cluster, names, open_source(path, SourceSpec(target=BINARY)))


def test_without_topics_nothing_is_sent(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(MissingTopic, match="does not exist: `millstream topics create`"):
        publish(cluster, Names("nothing", prefix=prefix), clicks(tmp_path, 1))


def test_a_label_by_hand_is_there_when_the_call_returns(cluster: Cluster, names: Names) -> None:
    partition = send_label(cluster, names, "a", True, target=BINARY)
    send_label(cluster, names, "a", False, target=BINARY, options=LabelOptions(correction=True, weight=2.0))
    first, second = read_all(cluster, names.topic("labels"))
    assert first.partition == second.partition == partition == partition_of("a", 3)
    one, two = read_label(first.value), read_label(second.value)
    assert (one.event_id, one.value, one.source, one.kind, one.weight) == ("a", True, "human", "label", 1.0)
    assert (two.value, two.kind, two.weight) == (False, "correction", 2.0)
    with pytest.raises(TargetError):
        send_label(cluster, names, "a", "maybe", target=BINARY)


def test_a_label_by_hand_gives_up_in_time(names: Names, proxy: Proxy) -> None:
    proxy.drop_requests("Produce", times=None)
    with pytest.raises(UndeliverableError, match="has acknowledged nothing"):
        send_label(Cluster(proxy.bootstrap), names, "a", True, target=BINARY, options=LabelOptions(timeout_seconds=1.0))
