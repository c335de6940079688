"""What the sender does with acknowledgements that fail, are overdue, or come out of order."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from producers import retrying_producer
from producers.retrying_producer import RetryingProducer, RetryLimits, UndeliverableError
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, KafkaTimeoutError, RefusedError


class Future:
    def __init__(self) -> None:
        self.is_done = False
        self.exception: BaseException | None = None

    def done(self, exception: BaseException | None = None) -> None:
        self.is_done, self.exception = True, exception

    def get(self, timeout: float) -> None:
        if not self.is_done:
            raise KafkaTimeoutError(f"not within {timeout} s")


class Producer:
    """Takes records; says nothing about them until a test does."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.futures: list[Future] = []
        self.closed = threading.Event()

    def send(self, _topic: str, value: bytes, _key: bytes, _headers: None, _partition: int) -> Future:
        self.values.append(value)
        self.futures.append(Future())
        return self.futures[-1]

    def abandon(self, timeout: float) -> None:
        self.close(timeout)

    def close(self, timeout: float) -> None:
        self.closed.set()


class FakeCluster:
    bootstrap = "nowhere:1"

    def __init__(self) -> None:
        self.producers: list[Producer] = []
        self.refusals = 0

    def producer(self, **_settings: Any) -> Producer:
        if self.refusals:
            self.refusals -= 1
            raise NoBroker("down")
        self.producers.append(Producer())
        return self.producers[-1]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retrying_producer, "time", clock)
    return clock


def filled(cluster: FakeCluster, records: int, **limits: Any) -> RetryingProducer:
    box = RetryingProducer(cast(Cluster, cluster), RetryLimits(**limits))
    for n in range(records):
        assert box.send("topic", 0, b"k", b"%d" % n, "features") == n
    return box


def test_overdue_means_a_new_producer_and_everything_open_again_in_order(cluster: FakeCluster, clock: Clock) -> None:
    box = filled(cluster, 4, delivery_ms=1_000)
    first = cluster.producers[0]
    first.futures[0].done()
    first.futures[2].done()
    clock.now = 0.9
    box.settle()
    assert (box.settled, len(cluster.producers)) == (1, 1)
    clock.now = 1.1
    box.settle()
    second = cluster.producers[1]
    assert second.values == [b"1", b"3"]
    assert first.closed.wait(5)
    assert (box.resent, box.counted()["features"]) == (2, 2)
    for future in second.futures:
        future.done()
    assert box.drain(1)
    assert (box.settled, box.acknowledged["features"]) == (4, 4)


def test_a_failed_record_means_the_same(cluster: FakeCluster, clock: Clock) -> None:
    box = filled(cluster, 2)
    cluster.producers[0].futures[0].done(KafkaError("out of order"))
    box.settle()
    assert cluster.producers[1].values == [b"0", b"1"]


def test_a_broker_that_is_down_is_tried_again_until_patience_ends(cluster: FakeCluster, clock: Clock) -> None:
    told: list[float] = []
    box = RetryingProducer(cast(Cluster, cluster), RetryLimits(delivery_ms=1_000, give_up_seconds=10), told.append)
    box.send("topic", 0, b"k", b"0", "features")
    cluster.refusals = 3
    clock.now = 2.0
    box.settle()
    assert cluster.producers[1].values == [b"0"]
    assert len(told) == 3
    cluster.refusals = 1000
    clock.now = 4.0
    with pytest.raises(UndeliverableError, match="nowhere:1 has acknowledged nothing for 10 s: 1 records"):
        box.settle()


def test_what_is_under_way_is_bounded(cluster: FakeCluster) -> None:
    box = filled(cluster, 3, unacknowledged_bytes=5)
    first = cluster.producers[0]
    sender = threading.Thread(target=box.send, args=("topic", 0, b"k", b"3", "features"))
    sender.start()
    sender.join(0.3)
    assert sender.is_alive()
    assert len(first.values) == 3
    for future in list(first.futures):
        future.done()
    sender.join(5)
    assert first.values == [b"0", b"1", b"2", b"3"]


def test_what_kafka_will_never_take_ends_it(cluster: FakeCluster) -> None:
    box = filled(cluster, 1)
    cluster.producers[0].futures[0].done(RefusedError(name="MessageSizeTooLargeError"))
    with pytest.raises(UndeliverableError, match=r"does not take features of event 'k' on topic .*: MessageSizeToo"):
        box.settle()
    assert len(cluster.producers) == 1


def test_told_to_stop_it_waits_for_a_while_and_no_longer(cluster: FakeCluster, clock: Clock) -> None:
    stop = threading.Event()
    box = RetryingProducer(cast(Cluster, cluster), RetryLimits(stop_seconds=5), stop=stop)
    box.send("topic", 0, b"k", b"0", "features")
    stop.set()
    box.wait()
    clock.now = 4.9
    box.wait()
    clock.now = 5.1
    with pytest.raises(UndeliverableError, match=r"stopped: .* did not acknowledge 1 records within 5 s"):
        box.wait()
