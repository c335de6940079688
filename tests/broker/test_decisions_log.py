"""Announcements read from a real Kafka, with each client: in their order, complete, and without waiting for writers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from consumers.loop.decisions_log import DecisionsLog
from consumers.shadow.announcements import Announcements
from millstream.reading import decision_history
from millstream.reading.decision_history import Decided, in_force_at, read_history, read_newest
from millstream.topics import admin
from millstream.versions.rollback import changing, model_before, tells_model_before
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Output, Partition
from schemas.model_updates import ModelUpdate, Published, Serving
from schemas.topics import Names

MODELS = ("fraud", "fraud.forest")


@pytest.fixture
def compared(cluster: Cluster, prefix: str) -> Names:
    names = Names("fraud", prefix, models=("forest",))
    outcome = admin.create(cluster, names, partitions=2, label_wait_ms=1000, wait=60)
    assert not outcome.findings, outcome.findings
    return names


def announcement(names: Names, kind: str, model: str, examples: int) -> Output:
    state = Published(model, 0, 1, examples, "t", 0, f"{examples:064x}", 0, 0, {})
    return Output(names.topic(kind), 0, state.key.encode(), ModelUpdate(1, state).encode())


def announce(cluster: Cluster, names: Names, model: str, examples: int) -> int:
    """Announce a version on both topics, and return the broker's time of it on the decisions topic."""
    with closing(cluster.producer(acks="all")) as producer:
        for kind in ("decisions", "models"):
            [offset] = producer.send_for_offsets([announcement(names, kind, model, examples)], 20)
            if kind == "decisions":
                at = offset
    partition = Partition(names.topic("decisions"), 0)
    with closing(cluster.consumer()) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, at)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for record in consumer.poll(timeout_ms=500).get(partition, ()):
                return record.timestamp
    raise AssertionError("the announcement cannot be read")


def test_what_was_known_at_a_time_is_found_by_one_that_starts_late(cluster: Cluster, compared: Names) -> None:
    times = [announce(cluster, compared, "fraud.forest", examples) for examples in (1, 2, 3)]
    announce(cluster, compared, "fraud", 9)
    log = DecisionsLog(cluster, compared)
    try:
        announcements = Announcements(log, MODELS)
        assert announcements.first(["fraud.forest"]) == times[0]
        # A prediction between the second and the third: the last on the models topic is too late.
        announcements.cover(times[2], times[2])
        count = announcements.known("fraud.forest", times[2])
        assert announcements.newest("fraud.forest", count)[0].version.examples == 2
        later = announce(cluster, compared, "fraud.forest", 4)
        announcements.cover(later + 1, later + 1)
        count = announcements.known("fraud.forest", later + 1)
        assert announcements.newest("fraud.forest", count)[0].version.examples == 4
    finally:
        log.close()


def test_an_open_transaction_does_not_hold_announcements_back(cluster: Cluster, compared: Names) -> None:
    log = DecisionsLog(cluster, compared)
    producer = cluster.producer(transactional_id=compared.process("learner", "open"))
    try:
        announcements = Announcements(log, MODELS)
        announcements.cover(0, 1)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send_all([announcement(compared, "decisions", "fraud.forest", 5)], 20)
        producer.flush(20)
        announcements.cover(0, 2**60)
        assert announcements.known("fraud.forest", 2**60) == 1
    finally:
        producer.abandon(5)
        log.close()


def test_the_models_topic_is_read_on_from_where_it_was_left(cluster: Cluster, compared: Names) -> None:
    log = DecisionsLog(cluster, compared)
    try:
        assert [*log.announced()] == []
        announce(cluster, compared, "fraud", 1)
        announce(cluster, compared, "fraud", 2)
        read = [record.key for record in log.announced()]
        assert read == [b"published/fraud/0"] * 2
        assert [*log.current()]
        announce(cluster, compared, "fraud.forest", 3)
        assert [record.key for record in log.announced()] == [b"published/fraud.forest/0"]
    finally:
        log.close()


def test_whether_a_partition_goes_on_after_a_time(cluster: Cluster, compared: Names) -> None:
    at = announce(cluster, compared, "fraud", 1)
    log = DecisionsLog(cluster, compared)
    decisions, empty = Partition(compared.topic("decisions"), 0), Partition(compared.topic("predictions"), 1)
    try:
        assert log.later({decisions: at, empty: 0}) == {decisions}
        assert log.later({decisions: at + 1}) == set()
        assert log.first_after({decisions: at, empty: 0}) == {decisions: 0, empty: None}
    finally:
        log.close()


def decide(cluster: Cluster, names: Names, model: str) -> None:
    state = Serving(model, 0, None, None, "ann", "why")
    value = ModelUpdate(1, state).encode()
    with closing(cluster.producer(acks="all")) as producer:
        producer.send_for_offsets(
            [Output(names.topic(kind), 0, state.key.encode(), value) for kind in ("decisions", "models")], 20
        )


@pytest.mark.full
def test_the_newest_decisions_are_found_among_announcements_from_the_end_backwards(
    cluster: Cluster, compared: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def never(found: Sequence[Decided]) -> bool:
        looked.append(len(found))
        return False

    assert read_newest(cluster, compared, never) == []
    announce(cluster, compared, "fraud", 1)
    assert (read_newest(cluster, compared, never), looked) == ([], []), "nobody has decided, so nothing was read"
    served = ["fraud.forest", "fraud", "fraud.forest", "fraud"]
    for number, model in enumerate(served):
        decide(cluster, compared, model)
        for examples in range(5 * number, 5 * number + 5):
            announce(cluster, compared, "fraud.forest", examples + 2)
    monkeypatch.setattr(decision_history, "_FIRST_BLOCK", 2)
    monkeypatch.setattr(decision_history, "_GROWTH", 2)
    history = read_history(cluster, compared)
    assert [each.serves for each in history] == served
    assert read_newest(cluster, compared, never) == history
    assert looked == [0, 1, 2], "the last 2, 6 and 14 records, then all"
    newest = read_newest(cluster, compared, tells_model_before)
    assert newest == history[2:]
    assert model_before(changing(newest, "fraud"), "fraud") == "fraud.forest"
    for each in history:
        for at in (each.time - 1, each.time):
            found = read_newest(cluster, compared, lambda found, at=at: in_force_at(found, at) is not None, at)  # type: ignore[misc]
            assert in_force_at(found, at) == in_force_at(history, at)


@pytest.mark.both_clients
def test_a_look_for_news_does_not_wait_for_a_fetch(cluster: Cluster, compared: Names) -> None:
    """It is done for each batch of examples: with half a second each, a monitor would fall behind."""
    announce(cluster, compared, "fraud", 1)
    with closing(DecisionsLog(cluster, compared)) as log:
        log.seek(0)
        assert (len([*log.current()]), len([*log.further()])) == (1, 1)
        began = time.monotonic()
        for _ in range(20):
            assert [*log.further()] == []
        assert time.monotonic() - began < 5  # 20 fetches would take 10 s
        announce(cluster, compared, "fraud", 2)
        assert len([*log.further()]) == 1
