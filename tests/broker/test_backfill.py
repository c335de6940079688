"""A backfill answers a past range as it was answered then, or by one version, each event once."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import command_server
import pytest
from broker.commands import Run
from broker.phishing_loop import EVENTS, looping, serve
from kafka import TopicPartition
from kafka_fixture import new_prefix
from raw_kafka import raw_admin, raw_consumer, raw_producer
from whole_loop import WholeLoop

from model_store import Retention
from runtime.kafka_client.cluster import Cluster
from schemas.events import Prediction, read_prediction
from schemas.topics import Names

WAVES = 4
Place = tuple[int, int]


@pytest.fixture(scope="module")
def prefix(client: str) -> str:
    return new_prefix()


@pytest.fixture(scope="module")
def home(client: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def served(bootstrap: str, prefix: str, home: Path) -> WholeLoop:
    """Return a stream that has answered, a version a wave; its roles have ended."""
    with looping(bootstrap, prefix, home) as loop:
        serve(loop, WAVES)
    return loop


def answers(cluster: Cluster, topic: str) -> list[tuple[Prediction, Any]]:
    """Return the predictions on a topic with their headers."""
    found: list[tuple[Prediction, Any]] = []
    consumer = raw_consumer(cluster)
    try:
        partitions = [TopicPartition(topic, n) for n in range(cluster.topic_info(topic)[topic].partitions)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(each) < ends[each] for each in partitions):
            for records in consumer.poll(timeout_ms=200).values():
                found += [(read_prediction(record.value), record.headers) for record in records]
    finally:
        consumer.close()
    return found


def said(cluster: Cluster, topic: str) -> dict[Place, tuple[Any, ...]]:
    """Return all that an answer says but when it was given, by the place of its event. Each event has one."""
    told: dict[Place, tuple[Any, ...]] = {}
    for prediction, _ in answers(cluster, topic):
        outcome = prediction.outcome
        place = outcome.source_partition, outcome.source_offset
        assert place not in told
        told[place] = (
            prediction.event,
            outcome.prediction,
            outcome.probabilities,
            outcome.version,
            outcome.error,
            outcome.status,
        )
    return told


def committed(cluster: Cluster, names: Names) -> Any:
    with raw_admin(cluster) as admin:
        return admin.list_group_offsets(names.group("predictor"))


def test_one_version_answers_all_and_the_one_that_serves_unless_another_is_named(
    run: Run, served: WholeLoop, prefix: str, names: Names
) -> None:
    newest, untrained = str(served.store.versions("phishing")[-1]), "1/0"
    for words, wanted in (((), newest), (("--model", untrained), untrained)):
        into = f"{prefix}by-{wanted.replace('/', '-')}"
        code, told, errors = run("backfill", "phishing", "--into", into, "--to", "20", *words)
        assert (code, told["version"]) == (0, wanted), errors
        found = said(served.cluster, into)
        assert found.keys() == {place for place in said(served.cluster, names.topic("predictions")) if place[1] < 20}
        assert {each[3] for each in found.values() if each[4] is None} == {wanted}
    code, told, errors = run("backfill", "phishing", "--into", into, "--to", "20", "--model", untrained)
    assert (code, told["written"]) == (0, 0)
    for words, error in (
        (("--into", names.topic("predictions")), "is a topic of phishing, whose roles would read the answers"),
        (("--into", "x", "--model", "1/99999"), "there is no version 1/99999"),
    ):
        code, _, errors = run("backfill", "phishing", *words)
        assert (code, error in errors) == (1, True), errors


def test_as_of_equals_what_was_served_number_for_number_whatever_retention_has_taken(
    run: Run, served: WholeLoop, prefix: str, names: Names
) -> None:
    cluster, store = served.cluster, served.store
    then = said(cluster, names.topic("predictions"))
    assert len({each[3] for each in then.values() if each[4] is None}) >= WAVES
    assert {each[4].code for each in then.values() if each[4] is not None} == {"infinite", "model"}
    before = committed(cluster, names)
    code, told, errors = run("backfill", "phishing", "--as-of", "--into", f"{prefix}whole")
    assert (code, told["written"], told["unanswered"]) == (0, WAVES * EVENTS, 0), errors
    assert said(cluster, f"{prefix}whole") == then
    marks = {str(headers) for _, headers in answers(cluster, told["into"])}
    assert marks == {str([("millstream-backfill", told["id"].encode())])}
    # What answered in between is gone; it is learned again from the log.
    store.prune("phishing", Retention(last=1, hourly=0, daily=0), set())
    assert len(store.versions("phishing")) == 2
    code, told, errors = run("backfill", "phishing", "--as-of", "--into", f"{prefix}again")
    assert (code, "gone from the store and learned again" in errors) == (0, True), errors
    assert said(cluster, f"{prefix}again") == then
    assert committed(cluster, names) == before


def test_a_backfill_that_dies_before_or_after_a_commit_goes_on_without_a_repeat_or_a_hole(
    run: Run, environment: dict[str, str], served: WholeLoop, names: Names
) -> None:
    into = f"{names.prefix}died"
    words = ["backfill", "phishing", "--into", into, "--as-of", "--rate", "320"]
    for place, call in (("before", 2), ("after", 1)):
        done = command_server.run(
            *words, env={**environment, "MILLSTREAM_FAILPOINTS": f"transaction.commit.{place}=kill@{call}"}
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    code, told, errors = run(*words)
    assert (code, told["before"], told["before"] + told["written"]) == (0, 80, WAVES * EVENTS), errors
    assert said(served.cluster, into) == said(served.cluster, names.topic("predictions"))


def test_a_backfill_of_which_only_markers_are_left_comes_to_its_end(
    run: Run, environment: dict[str, str], served: WholeLoop, names: Names
) -> None:
    with closing(raw_producer(served.cluster, transactional_id=f"{names.prefix}aborted")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(names.topic("features"), b"x", partition=0).get(10)
        producer.abort_transaction()
    words = ["backfill", "phishing", "--into", f"{names.prefix}markers", "--as-of", "--rate", "320"]
    done = command_server.run(*words, env={**environment, "MILLSTREAM_FAILPOINTS": "transaction.commit.before=kill@5"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, told, errors = run(*words)
    assert (code, told["before"] + told["written"]) == (0, WAVES * EVENTS), errors


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "--into is missing"),
        (("--into", "x", "--model", "1/2", "--as-of"), "give one of them"),
        (("--learn", "--into", "x"), "--learn writes no answers"),
        (("--into", "x", "--why", "because"), "--why goes with --learn"),
        (("--into", "x y"), "is not a valid topic name"),
    ],
)
def test_wrong_usage_is_named(run: Run, words: tuple[str, ...], error: str) -> None:
    code, _, errors = run("backfill", "phishing", *words)
    assert (code, error in errors) == (2, True), errors
