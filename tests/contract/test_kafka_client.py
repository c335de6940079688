"""The interface of the Kafka client against a real broker, over every implementation: values, and what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from runtime.kafka_client.client import Admin, Consumer, GroupConsumer, GroupMetadata, Library, NewTopic
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.kafka_python.library import KafkaPython
from runtime.kafka_client.records import CommittedOffset, Partition, Record

SECONDS = 20.0
BEGAN_MS = 1_700_000_000_000


@pytest.fixture(params=[KafkaPython], ids=["kafka-python"])
def library(request: pytest.FixtureRequest) -> Library:
    made: Library = request.param()
    return made


@pytest.fixture
def cluster(library: Library, bootstrap: str) -> Cluster:
    return Cluster(bootstrap, library=library)


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Admin]:
    with cluster.admin() as admin:
        yield admin


@pytest.fixture
def topic(admin: Admin, prefix: str) -> str:
    """Make a topic with two partitions."""
    make(admin, NewTopic(f"{prefix}records", 2, {}))
    return f"{prefix}records"


@pytest.fixture
def closed() -> Iterator[ExitStack]:
    """Close at the end what a test opens."""
    with ExitStack() as stack:
        yield stack


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {SECONDS:g} s"


def make(admin: Admin, *topics: NewTopic) -> None:
    assert admin.create_topics(topics, timeout_ms=10_000) == {each.name: None for each in topics}
    names = [each.name for each in topics]
    until(
        lambda: all(each.exists and min(each.leaders.values()) >= 0 for each in admin.describe_topics(names)), "leaders"
    )


def put(cluster: Cluster, topic: str, count: int, partition: int = 0) -> None:
    """Write `count` records a second apart."""
    with closing(cluster.producer()) as producer:
        for number in range(count):
            headers = [("number", b"%d" % number)]
            producer.send(topic, b"v%d" % number, b"k", headers, partition, BEGAN_MS + number * 1000)
        producer.flush(SECONDS)


def polled(consumer: Consumer, count: int) -> list[Record]:
    """Poll until so many records have come."""
    found: list[Record] = []

    def enough() -> bool:
        found.extend(record for records in consumer.poll(100).values() for record in records)
        return len(found) >= count

    until(enough, f"{count} records")
    return found


def reading(cluster: Cluster, closed: ExitStack, *partitions: Partition, **settings: Any) -> Consumer:
    """Return a consumer that is at the beginning of some partitions."""
    consumer = closed.enter_context(closing(cluster.consumer(**settings)))
    consumer.assign(partitions)
    consumer.seek_to_beginning(partitions)
    return consumer


# --- a consumer of ranges --------------------------------------------------------------------------


def test_records_are_read_as_they_were_sent(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    put(cluster, topic, 3)
    consumer = reading(cluster, closed, Partition(topic, 0))
    records = polled(consumer, 3)
    assert [(each.topic, each.partition, each.offset) for each in records] == [(topic, 0, n) for n in range(3)]
    assert [(each.key, each.value) for each in records] == [(b"k", b"v%d" % n) for n in range(3)]
    assert [[tuple(pair) for pair in each.headers] for each in records] == [[("number", b"%d" % n)] for n in range(3)]
    assert [each.timestamp for each in records] == [BEGAN_MS + n * 1000 for n in range(3)]


def test_records_are_found_by_our_partitions(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    partition = Partition(topic, 1)
    put(cluster, topic, 1, partition=1)
    consumer = reading(cluster, closed, partition)
    found: list[Any] = []
    until(lambda: found.extend(consumer.poll(100).get(partition, ())) or found, "record")
    assert found[0].value == b"v0"


def test_reading_goes_on_where_it_is_told_to(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    partition = Partition(topic, 0)
    put(cluster, topic, 5)
    consumer = reading(cluster, closed, partition)
    assert consumer.assignment() == {partition}
    assert consumer.position(partition) == 0
    consumer.seek(partition, 3)
    assert consumer.position(partition) == 3
    assert [each.offset for each in polled(consumer, 2)] == [3, 4]
    assert consumer.position(partition) == 5


def test_a_poll_returns_no_more_than_it_may(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    put(cluster, topic, 10)
    consumer = reading(cluster, closed, Partition(topic, 0))
    sizes: list[int] = []

    def all_read() -> bool:
        sizes.extend(len(records) for records in consumer.poll(100, max_records=4).values())
        return sum(sizes) == 10

    until(all_read, "10 records")
    assert max(sizes) == 4


def test_beginnings_and_ends_are_those_of_the_log(
    cluster: Cluster, admin: Admin, topic: str, closed: ExitStack
) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 5)
    admin.delete_records({one: 2})
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert consumer.beginning_offsets([one, two]) == {one: 2, two: 0}
    assert consumer.end_offsets([one, two], timeout_ms=5_000) == {one: 5, two: 0}
    assert {type(each) for each in consumer.end_offsets([one])} == {Partition}


def test_offsets_are_found_by_time(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 5)
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert consumer.offsets_for_times({one: BEGAN_MS + 1500, two: 0}) == {one: 2, two: None}
    assert consumer.offsets_for_times({one: BEGAN_MS + 60_000}) == {one: None}


def test_a_topic_and_its_partitions_are_known(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    consumer = closed.enter_context(closing(cluster.consumer()))
    assert topic in consumer.topics()
    assert consumer.partitions_for_topic(topic) == {0, 1}
    assert consumer.partitions_for_topic(f"{topic}-not-there") == set()


def test_nothing_that_was_aborted_is_read(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"aborted", partition=0).get(SECONDS)
    producer.abort_transaction()
    put(cluster, topic, 1)
    partition = Partition(topic, 0)
    consumer = reading(cluster, closed, partition)
    assert [each.value for each in polled(consumer, 1)] == [b"v0"]
    all_of_it = reading(cluster, closed, partition, isolation_level="read_uncommitted")
    assert [each.value for each in polled(all_of_it, 2)] == [b"aborted", b"v0"]


def test_an_open_transaction_is_the_end_for_who_reads_what_is_committed(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"open", partition=0).get(SECONDS)
    consumer = closed.enter_context(closing(cluster.consumer()))
    all_of_it = closed.enter_context(closing(cluster.consumer(isolation_level="read_uncommitted")))
    assert consumer.end_offsets([partition]) == {partition: 0}
    assert all_of_it.end_offsets([partition]) == {partition: 1}
    producer.commit_transaction()
    until(lambda: consumer.end_offsets([partition]) == {partition: 2}, "marker behind the record")


def test_what_is_paused_rests_and_is_read_on_without_a_gap(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    """Also what the client has fetched already, and while another partition is read."""
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 20)
    put(cluster, topic, 20, partition=1)
    consumer = reading(cluster, closed, one, two, max_poll_records=5)
    seen: dict[Partition, list[int]] = {one: [], two: []}

    def read_until(partition: Partition, count: int) -> None:
        def read() -> bool:
            for at, records in consumer.poll(100).items():
                seen[Partition(*at)] += [each.offset for each in records]
            return len(seen[partition]) >= count

        until(read, f"{count} records of {partition}")

    read_until(one, 5)
    consumer.pause([one])
    assert consumer.paused() == {one}
    rested = len(seen[one])
    read_until(two, 20)
    assert len(seen[one]) == rested
    consumer.resume([one])
    assert consumer.paused() == set()
    put(cluster, topic, 200, partition=1)  # there is always something else to hand out
    read_until(one, 20)
    assert seen[one] == list(range(20))


# --- a member of a group ---------------------------------------------------------------------------


def turn(member: GroupConsumer, told: threading.Event) -> bool:
    """Poll as the loop does; tell whether the member has its share. Without asking, a rejoin can be forgotten."""
    member.poll(100)
    if told.is_set() and not member.group_metadata().stable:
        member.request_rejoin()
    return member.group_metadata().stable and bool(member.assignment())


def joined(cluster: Cluster, closed: ExitStack, topic: str, group: str, **settings: Any) -> GroupConsumer:
    """Return a member that has the topic to itself, at the beginning, and has been told so."""
    told = threading.Event()
    consumer = closed.enter_context(closing(cluster.consumer(group_id=group, **settings)))
    consumer.subscribe([topic], told.set)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    partitions = {Partition(topic, 0), Partition(topic, 1)}

    def settled() -> bool:
        return turn(consumer, told) and consumer.assignment() == partitions

    until(settled, "assignment")
    assert told.is_set()
    for partition in partitions:
        consumer.seek(partition, 0)
    return consumer


# Until it is told where to read, a new member of a new group would raise: that is asked for in the tests of errors.
BEGINS = {"auto_offset_reset": "earliest"}


def test_a_member_is_told_of_its_assignment_and_reads(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    put(cluster, topic, 5)
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    assert [each.offset for each in polled(consumer, 5)] == list(range(5))
    metadata = consumer.group_metadata()
    assert (metadata.group_id, metadata.stable) == (f"{prefix}group", True)
    assert metadata.generation_id > 0
    assert consumer.made_assignment()


def test_who_is_no_member_says_so(cluster: Cluster, prefix: str, closed: ExitStack) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    metadata = consumer.group_metadata()
    assert (metadata.group_id, metadata.generation_id, metadata.stable) == (f"{prefix}group", -1, False)
    assert not consumer.made_assignment()


def test_a_second_member_takes_its_part_and_both_are_told(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    told = [threading.Event(), threading.Event()]
    members: list[tuple[GroupConsumer, threading.Event]] = []
    for event in told:
        member = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", **BEGINS)))
        member.subscribe([topic], event.set)
        assert member.wait_for_partitions({topic: 2}, SECONDS)
        members.append((member, event))
        until(lambda: {turn(*each) for each in members} == {True}, "share for each")
    first, second = (each.assignment() for each, _ in members)
    assert (len(first), len(second)) == (1, 1)
    assert first | second == {Partition(topic, 0), Partition(topic, 1)}
    assert all(event.is_set() for event in told)


def test_a_rejoin_that_is_asked_for_comes(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    before = consumer.group_metadata().generation_id
    consumer.request_rejoin()
    until(lambda: consumer.poll(100) or consumer.group_metadata().generation_id > before, "new generation")


def test_partitions_that_are_not_there_are_not_waited_for_without_end(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.subscribe([topic], lambda: None)
    assert consumer.wait_for_partitions({topic: 2}, SECONDS)
    assert not consumer.wait_for_partitions({topic: 3}, 0.1)


def test_the_end_of_what_is_read_is_told_by_fetches(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    put(cluster, topic, 7)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.assign([partition])
    assert consumer.highwater(partition) is None
    consumer.seek(partition, 5)
    polled(consumer, 2)
    assert consumer.highwater(partition) == 7


def test_what_waits_behind_another_partition_is_known(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    one, two = Partition(topic, 0), Partition(topic, 1)
    put(cluster, topic, 50)
    put(cluster, topic, 50, partition=1)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", max_poll_records=1)))
    consumer.assign([one, two])
    consumer.seek(one, 0)
    consumer.seek(two, 0)
    waited: set[Partition] = set()
    until(lambda: waited.update(consumer.poll(100) and consumer.waiting()) or waited, "partition that waits")
    assert waited <= {one, two}


def test_a_topic_that_is_made_again_has_another_id(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group", metadata_max_age_ms=100)))
    consumer.assign([Partition(topic, 0)])
    consumer.seek(Partition(topic, 0), 0)
    until(lambda: consumer.poll(100) or consumer.topic_ids([topic])[topic] is not None, "id")
    [before] = admin.describe_topics([topic])
    known = consumer.topic_ids([topic])
    admin.delete_topics([topic])
    until(lambda: not admin.describe_topics([topic])[0].exists, "deletion")
    make(admin, NewTopic(topic, 2, {}))
    [after] = admin.describe_topics([topic])
    assert before.id != after.id
    until(lambda: consumer.poll(100) or consumer.topic_ids([topic])[topic] not in (None, known[topic]), "other id")


def test_a_position_that_is_not_known_is_none_in_time(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    partition = Partition(topic, 0)
    consumer = closed.enter_context(closing(cluster.consumer(group_id=f"{prefix}group")))
    consumer.assign([partition])
    consumer.seek(partition, 4)
    assert consumer.position_within(partition, 1_000) == 4


# --- producers -------------------------------------------------------------------------------------


def test_a_record_without_key_and_value_is_a_record(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    assert producer.send(topic, partition=0).get(SECONDS).offset == 0
    assert producer.send(topic, b"", b"", [("empty", None)], 0).get(SECONDS).offset == 1
    records = polled(reading(cluster, closed, Partition(topic, 0)), 2)
    assert [(each.key, each.value) for each in records] == [(None, None), (b"", b"")]
    assert [tuple(pair) for pair in records[1].headers] == [("empty", b"")]


def test_what_was_delivered_says_so(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    sent = [producer.send(topic, b"%d" % number, partition=1) for number in range(3)]
    producer.flush(SECONDS)
    assert all(each.is_done and each.exception is None for each in sent)
    assert [each.get().offset for each in sent] == [0, 1, 2]


def test_a_partition_that_is_not_there_is_refused_at_once(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = closed.enter_context(closing(cluster.producer()))
    with pytest.raises(ValueError, match="partition"):
        producer.send(topic, b"x", partition=2)


def test_an_abandoned_producer_sends_no_more(cluster: Cluster, topic: str, closed: ExitStack) -> None:
    producer = cluster.producer(linger_ms=60_000)
    sent = producer.send(topic, b"never", partition=0)
    producer.abandon(5)
    until(lambda: sent.is_done or not _abandoning(), "end of the sender")
    put(cluster, topic, 1)
    assert [each.value for each in polled(reading(cluster, closed, Partition(topic, 0)), 1)] == [b"v0"]


def _abandoning() -> bool:
    return any(thread.name == "abandon-producer" for thread in threading.enumerate())


def test_records_and_offsets_are_committed_together(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, one, two = f"{prefix}group", Partition(topic, 0), Partition(topic, 1)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    member = closed.enter_context(closing(cluster.consumer(group_id=group)))
    assert member.committed(one) is None

    for end, place in ((producer.abort_transaction, 1), (producer.commit_transaction, 2)):
        producer.begin_transaction()
        producer.send(topic, b"%d" % place, partition=1)
        producer.send_offsets_to_transaction({one: CommittedOffset(place, f"note {place}")}, GroupMetadata(group))
        end()
    until(lambda: member.committed(one) is not None, "commit")
    assert member.committed(one) == CommittedOffset(2, "note 2")
    assert member.committed(two) is None
    assert admin.list_group_offsets(group) == {one: CommittedOffset(2, "note 2")}
    assert [each.value for each in polled(reading(cluster, closed, two), 1)] == [b"2"]


def test_a_member_commits_with_its_metadata(cluster: Cluster, topic: str, prefix: str, closed: ExitStack) -> None:
    partition = Partition(topic, 0)
    consumer = joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: CommittedOffset(0, "")}, consumer.group_metadata())
    producer.commit_transaction()
    until(lambda: consumer.committed(partition, timeout_ms=5_000) == CommittedOffset(0, ""), "commit")


def test_an_offset_that_a_transaction_holds_back_is_waited_for_in_vain(
    cluster: Cluster, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, partition = f"{prefix}group", Partition(topic, 0)
    producer = closed.enter_context(closing(cluster.producer(transactional_id=f"{prefix}id")))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction({partition: CommittedOffset(3, "")}, GroupMetadata(group))
    consumer = closed.enter_context(closing(cluster.consumer(group_id=group)))
    with pytest.raises(KafkaTimeoutError):
        consumer.committed(partition, timeout_ms=500)
    producer.commit_transaction()
    until(lambda: consumer.committed(partition) == CommittedOffset(3, ""), "commit")


# --- administration --------------------------------------------------------------------------------


def test_topics_are_described_also_those_that_are_not_there(admin: Admin, topic: str) -> None:
    found = {each.name: each for each in admin.describe_topics([topic, f"{topic}-not-there"])}
    there, missing = found[topic], found[f"{topic}-not-there"]
    assert there.exists
    assert sorted(there.leaders) == [0, 1]
    assert there.id.count("-") == 4
    assert (missing.exists, missing.id, missing.leaders) == (False, "", {})
    assert missing.error is not None
    assert missing.error.name == "UnknownTopicOrPartitionError"


def test_a_topic_grows_is_set_otherwise_and_goes(admin: Admin, prefix: str) -> None:
    topic = f"{prefix}settings"
    make(admin, NewTopic(topic, 1, {"retention.ms": "1000"}))
    asked = ("retention.ms", "cleanup.policy")
    assert admin.topic_configs([topic], asked) == {topic: {"retention.ms": "1000", "cleanup.policy": "delete"}}
    admin.alter_topic_config(topic, "cleanup.policy", "compact")
    wanted = {topic: {"retention.ms": "1000", "cleanup.policy": "compact"}}
    until(lambda: admin.topic_configs([topic], asked) == wanted, "change of one setting alone")
    admin.create_partitions(topic, 3)
    until(lambda: len(admin.describe_topics([topic])[0].leaders) == 3, "three partitions")
    admin.delete_topics([topic])
    until(lambda: not admin.describe_topics([topic])[0].exists, "deletion")


def test_a_group_is_described_a_member_taken_out_and_the_group_deleted(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    group, partitions = f"{prefix}group", frozenset({Partition(topic, 0), Partition(topic, 1)})
    joined(cluster, closed, topic, group, group_instance_id="one", **BEGINS)
    found = admin.describe_group(group)
    assert found.stable
    assert [(each.instance_id, each.assigned) for each in found.members] == [("one", partitions)]
    assert not admin.delete_group(group)
    admin.remove_group_members(group, ["one"])
    until(lambda: not admin.describe_group(group).members, "member's end")
    until(lambda: admin.delete_group(group), "group's end")


def test_a_member_that_is_no_static_one_has_no_instance(
    cluster: Cluster, admin: Admin, topic: str, prefix: str, closed: ExitStack
) -> None:
    joined(cluster, closed, topic, f"{prefix}group", **BEGINS)
    [member] = admin.describe_group(f"{prefix}group").members
    assert member.instance_id is None
