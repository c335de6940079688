"""A replay writes each record of a range once, as it was and in order, whatever ends it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import command_server
import pytest
from broker.commands import Run
from kafka import TopicPartition
from raw_kafka import raw_admin, raw_consumer, raw_producer

from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

PARTITIONS, RECORDS = 3, 900
START = 1_700_000_000_000
KEPT = {"retention.ms": "-1"}  # the records' times are years ago
Wanted = dict[int, list[tuple[Any, ...]]]


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


def make(cluster: Cluster, topic: str, partitions: int, **config: str) -> None:
    with raw_admin(cluster) as admin:
        admin.create_topics({topic: {"num_partitions": partitions, "configs": config}})
    while topic not in cluster.topic_info(topic):
        time.sleep(0.05)


@pytest.fixture
def source(cluster: Cluster, names: Names) -> str:
    """Fill a topic: keys and none, headers, values and tombstones, old times, and a transaction that was aborted."""
    topic = names.topic("features")
    make(cluster, topic, PARTITIONS, **KEPT)
    rng = random.Random(4)
    with closing(raw_producer(cluster, transactional_id=f"{topic}-filler")) as producer:
        producer.init_transactions()
        for begin in range(0, RECORDS, 100):
            producer.begin_transaction()
            for number in range(begin, begin + 100):
                key = None if number % 5 == 0 else f"k{number % 40}".encode()
                value = None if number % 17 == 0 and key else f"v{number}".encode()
                headers = [("trace", b"\x00\xff"), ("n", str(number).encode())] if number % 3 else []
                producer.send(topic, value, key, headers, rng.randrange(PARTITIONS), START + 10 * number)
            producer.flush()
            if begin == 300:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    return topic


def content(cluster: Cluster, topic: str) -> Wanted:
    found: Wanted = defaultdict(list)
    with closing(raw_consumer(cluster)) as consumer:
        partitions = [TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(each) < ends[each] for each in partitions):
            for each, records in consumer.poll(timeout_ms=200).items():
                found[each.partition] += [(r.key, r.value, r.headers, r.timestamp) for r in records]
    return dict(found)


def test_each_record_is_written_as_it_was_and_a_second_time_only_if_that_is_said(
    run: Run, cluster: Cluster, source: str, names: Names
) -> None:
    into = f"{names.prefix}again"
    code, told, said = run("replay", "phishing", "features", "--into", into)
    assert code == 0, said
    assert f"{source} into {into}: up to " in said
    assert told["written"] == RECORDS - 100
    assert content(cluster, into) == content(cluster, source)
    code, told, said = run("replay", "phishing", "features", "--into", into)
    assert (code, told["written"], told["before"]) == (0, 0, RECORDS - 100)
    assert "was already replayed completely: --again" in said
    assert run("replay", "phishing", "features", "--into", into, "--again")[1]["written"] == RECORDS - 100
    twice = content(cluster, into)
    assert twice == {number: records * 2 for number, records in content(cluster, source).items()}


def test_a_replay_that_dies_before_or_after_a_commit_goes_on_without_a_repeat_or_a_hole(
    run: Run, environment: dict[str, str], cluster: Cluster, source: str, names: Names
) -> None:
    into = f"{names.prefix}died"
    words = ["replay", "phishing", "features", "--into", into, "--rate", "2000"]
    for place, call in (("before", 2), ("after", 1)):
        done = command_server.run(
            *words, env={**environment, "MILLSTREAM_FAILPOINTS": f"transaction.commit.{place}=kill@{call}"}
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    code, told, said = run(*words)
    assert (code, told["before"] > 0, told["written"] > 0) == (0, True, True), said
    assert content(cluster, into) == content(cluster, source)


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_that_is_killed_at_any_time_goes_on_without_a_repeat_or_a_hole(
    environment: dict[str, str], cluster: Cluster, source: str, names: Names, seed: int
) -> None:
    into, rng = f"{names.prefix}killed-{seed}", random.Random(seed)
    words = [sys.executable, "-m", "millstream", "replay", "phishing", "features", "--into", into, "--rate", "250"]
    kills = 0
    while True:
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        at_work = threading.Timer(1.5 + rng.random(), process.send_signal, (signal.SIGKILL,))
        if kills < 3:
            at_work.start()
        _, said = process.communicate(timeout=120)
        at_work.cancel()
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert process.returncode == 0, said
    assert kills >= 1
    assert content(cluster, into) == content(cluster, source)


def spans(cluster: Cluster, source: str) -> Iterator[tuple[tuple[str, ...], Wanted]]:
    """Yield options, and what of the source they name."""
    all_of = content(cluster, source)
    since, until = START + 2000, START + 5000
    yield (
        ("--from", str(since), "--to", str(until)),
        {n: [r for r in records if since <= r[3] < until] for n, records in all_of.items()},
    )
    yield ("--to", "0:0,1:0"), {2: all_of[2]}
    yield ("--from", "100000"), {}


def test_a_range_is_named_by_time_or_by_offset(run: Run, cluster: Cluster, source: str, names: Names) -> None:
    for number, (options, wanted) in enumerate(spans(cluster, source)):
        into = f"{names.prefix}span-{number}"
        code, _, said = run("replay", "phishing", "features", "--into", into, *options)
        assert code == 0, said
        assert content(cluster, into) == wanted


def test_paced_records_of_all_partitions_go_out_in_the_order_of_their_times(
    run: Run, cluster: Cluster, source: str, names: Names
) -> None:
    into = f"{names.prefix}one"
    make(cluster, into, 1, **KEPT)
    assert run("replay", "phishing", "features", "--into", into, "--speed", "1000x")[0] == 0
    times = [record[3] for record in content(cluster, into)[0]]
    assert (times, len(times)) == (sorted(times), RECORDS - 100)


def test_among_another_number_of_partitions_a_key_keeps_its_order(
    run: Run, cluster: Cluster, source: str, names: Names
) -> None:
    into = f"{names.prefix}five"
    make(cluster, into, 5, **KEPT)
    assert run("replay", "phishing", "features", "--into", into)[0] == 0
    by_key = [_by_key(content(cluster, topic)) for topic in (source, into)]
    assert by_key[0].keys() == by_key[1].keys()
    # In the source a key stood on several partitions: only the order within each of them is an order.
    assert {key: sorted(map(repr, each)) for key, each in by_key[0].items()} == {
        key: sorted(map(repr, each)) for key, each in by_key[1].items()
    }


def _by_key(found: Wanted) -> dict[Any, list[Any]]:
    by_key = defaultdict(list)
    for records in found.values():
        for record in records:
            by_key[record[0]].append(record)
    return by_key


def test_what_would_do_harm_is_refused(run: Run, cluster: Cluster, source: str, names: Names) -> None:
    before = content(cluster, source)
    for words, said in (
        (("features", "--into", source), "would be written into itself"),
        (("nothing-there", "--into", f"{names.prefix}x"), "there is no topic nothing-there"),
        (("features", "--into", f"{names.prefix}x", "--from", "7:5"), "has no partition 7"),
    ):
        code, _, error = run("replay", "phishing", *words)
        assert (code, said in error) == (1, True), error
    assert content(cluster, source) == before


def test_a_topic_that_puts_its_own_time_on_records_is_said(
    run: Run, cluster: Cluster, source: str, names: Names
) -> None:
    into = f"{names.prefix}stamped"
    make(cluster, into, PARTITIONS, **{"message.timestamp.type": "LogAppendTime"})
    code, _, said = run("replay", "phishing", "features", "--into", into, "--to", "5")
    assert code == 0
    assert "sets its own time on records" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--speed", "fast"), "write 1x, 10x or max"),
        (("--rate", "0"), "write 500 (records a second)"),
        (("--from", "noon"), "'noon' is no point in time"),
    ],
)
def test_wrong_usage_is_named(run: Run, words: tuple[str, ...], said: str) -> None:
    code, _, error = run("replay", "phishing", "features", "--into", "x", *words)
    assert (code, said in error) == (2, True), error


def test_a_range_that_ends_before_it_begins_is_refused(run: Run) -> None:
    code, _, error = run("replay", "phishing", "features", "--into", "x", "--from", "2h", "--to", "3h")
    assert (code, "--from 2h is not before --to 3h" in error) == (1, True), error
