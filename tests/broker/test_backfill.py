"""A backfill answers a past range as it was answered then, or by one version, once each; or has it learned."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker.commands import Run
from kafka import TopicPartition
from river import datasets
from whole_loop import WholeLoop, whole_loop

from millstream.load import load_stream
from millstream.observe import Observer
from millstream.roles import definition_of
from millstream.settings import Settings
from millstream.status import served
from model_store import Retention
from schemas.cluster import Cluster
from schemas.events import Prediction, read_prediction
from schemas.topics import Names

WAVES, EVENTS = 4, 40
Place = tuple[int, int]


@contextmanager
def looping(bootstrap: str, prefix: str, home: Path) -> Iterator[WholeLoop]:
    """Run the phishing stream, with versions where the command line finds them."""
    loaded, settings = load_stream("phishing"), Settings(home, bootstrap, prefix)
    definition = definition_of(loaded)
    with whole_loop(loaded.stream, bootstrap, prefix, home, definition=definition, models=settings.models) as loop:
        yield loop


def serve(loop: WholeLoop, waves: int, first: int = 0) -> None:
    """Send events, each wave answered by a later version than the one before; every twentieth gets an error."""
    rows = [*itertools.islice(datasets.Phishing(), 400)]
    learned = max(0, loop.learned())
    for wave in range(first, first + waves):
        numbers = range(wave * EVENTS, (wave + 1) * EVENTS)
        for number in numbers:
            broken = {"empty_server_form_handler": float("inf")} if number % 20 == 7 else {}
            loop.event(f"e{number}", {**rows[number][0], **broken})
        loop.wait_until(lambda wave=wave: len(loop.predictions()) >= (wave + 1) * EVENTS, "all are answered")
        for number in numbers:
            loop.label(f"e{number}", bool(rows[number][1]))
        learned += sum(number % 20 != 7 for number in numbers)
        loop.wait_until(lambda version=f"1/{learned}": serving(loop) == version, "the newest version serves")


def serving(loop: WholeLoop) -> str | None:
    with Observer(loop.cluster, loop.names) as observer:
        return served(observer.look()).served


def answers(cluster: Cluster, topic: str) -> list[tuple[Prediction, Any]]:
    """Return the predictions on a topic with their headers."""
    found: list[tuple[Prediction, Any]] = []
    consumer = cluster.consumer()
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
    with cluster.admin() as admin:
        return admin.list_group_offsets(names.group("predictor"))


def test_as_of_equals_what_was_served_number_for_number_whatever_retention_has_taken(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, names: Names
) -> None:
    with looping(bootstrap, prefix, tmp_path) as loop:
        serve(loop, WAVES)
    cluster, store = loop.cluster, loop.store
    then = said(cluster, names.topic("predictions"))
    versions = {each[3] for each in then.values() if each[4] is None}
    assert len(versions) >= WAVES
    assert {each[4].code for each in then.values() if each[4] is not None} == {"infinite"}
    before = committed(cluster, names)
    code, told, errors = run("backfill", "phishing", "--as-of", "--into", f"{prefix}whole")
    assert (code, told["written"], told["unanswered"]) == (0, WAVES * EVENTS, 0), errors
    assert said(cluster, f"{prefix}whole") == then
    assert all(
        headers == [("millstream-backfill", told["id"].encode())] for _, headers in answers(cluster, told["into"])
    )
    # What answered in between is gone; it is learned again from the log.
    store.prune("phishing", Retention(last=1, hourly=0, daily=0), set())
    assert len(store.versions("phishing")) == 2
    code, told, errors = run("backfill", "phishing", "--as-of", "--into", f"{prefix}again")
    assert (code, "gone from the store and learned again" in errors) == (0, True), errors
    assert said(cluster, f"{prefix}again") == then
    assert committed(cluster, names) == before


def test_one_version_answers_all_and_the_one_that_serves_unless_another_is_named(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, names: Names
) -> None:
    with looping(bootstrap, prefix, tmp_path) as loop:
        serve(loop, 2)
    newest, untrained = str(loop.store.versions("phishing")[-1]), "1/0"
    for words, wanted in (((), newest), (("--model", untrained), untrained)):
        into = f"{prefix}by-{wanted.replace('/', '-')}"
        code, told, errors = run("backfill", "phishing", "--into", into, "--to", "20", *words)
        assert (code, told["version"]) == (0, wanted), errors
        found = said(loop.cluster, into)
        assert found.keys() == {place for place in said(loop.cluster, names.topic("predictions")) if place[1] < 20}
        assert {each[3] for each in found.values() if each[4] is None} == {wanted}
    code, told, errors = run("backfill", "phishing", "--into", into, "--to", "20", "--model", untrained)
    assert (code, told["written"]) == (0, 0)
    for words, error in (
        (("--into", names.topic("predictions")), "is a topic of phishing, whose roles would take"),
        (("--into", "x", "--model", "1/99999"), "there is no version 1/99999"),
    ):
        code, _, errors = run("backfill", "phishing", *words)
        assert (code, error in errors) == (1, True), errors


def test_a_backfill_that_is_killed_goes_on_without_a_repeat_or_a_hole(
    environment: dict[str, str], run: Run, bootstrap: str, prefix: str, tmp_path: Path, names: Names
) -> None:
    with looping(bootstrap, prefix, tmp_path) as loop:
        serve(loop, 2)
    into = f"{prefix}killed"
    words = ["backfill", "phishing", "--into", into, "--as-of"]
    command = [sys.executable, "-m", "millstream", *words, "--rate", "20"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until(lambda: some(loop.cluster, into), process)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    code, told, errors = run(*words)
    assert (code, told["before"] > 0, told["before"] + told["written"]) == (0, True, 2 * EVENTS), errors
    assert said(loop.cluster, into) == said(loop.cluster, names.topic("predictions"))


def some(cluster: Cluster, topic: str) -> bool:
    if topic not in cluster.topic_info(topic):
        return False
    consumer = cluster.consumer()
    try:
        return sum(consumer.end_offsets([TopicPartition(topic, number) for number in range(2)]).values()) > 0
    finally:
        consumer.close()


def until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    given_up = threading.Event()
    timer = threading.Timer(60, given_up.set)
    timer.start()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert not given_up.is_set(), "nothing was written"
    timer.cancel()


@pytest.mark.parametrize("begin", ["", "25"])
def test_a_range_is_learned_and_the_learner_goes_on_at_its_place_without_a_gap_or_a_repeat(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, begin: str
) -> None:
    with looping(bootstrap, prefix, tmp_path) as loop:
        serve(loop, 2)
        code, told, errors = run("backfill", "phishing", "--learn", *(("--from", begin) if begin else ()))
        assert code == 0, errors
        made = told["learned"]
        assert told["version"] == f"2/{made}"
        loop.wait_until(lambda: loop.store.versions("phishing")[-1].epoch == 2, "the learner goes on from it")
        live = 2 * (EVENTS - EVENTS // 20)
        left_out = live - made
        assert (left_out > 0) == bool(begin)
        serve_more(loop, made)
        newest = loop.store.versions("phishing")[-1]
        examples = loop.examples()
    assert (newest.epoch, newest.examples) == (2, len(examples) - left_out)
    code, told, errors = run("models", "verify", "phishing", str(newest))
    assert (code, told["holds"]) == (0, True), errors


def serve_more(loop: WholeLoop, made: int) -> None:
    """Send one more wave, and wait until the new epoch has learned it."""
    rows = [*itertools.islice(datasets.Phishing(), 400)]
    for number in range(200, 230):
        loop.event(f"e{number}", rows[number][0])
        loop.label(f"e{number}", bool(rows[number][1]))
    loop.wait_until(lambda: loop.learned() == made + 30, "the new epoch learns what came since")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "--into is missing"),
        (("--into", "x", "--model", "1/2", "--as-of"), "give one of them"),
        (("--learn", "--into", "x"), "--learn writes no answers"),
        (("--into", "x", "--why", "because"), "--why goes with --learn"),
        (("--into", "x y"), "is no name of a topic"),
    ],
)
def test_wrong_usage_is_named(run: Run, words: tuple[str, ...], error: str) -> None:
    code, _, errors = run("backfill", "phishing", *words)
    assert (code, error in errors) == (2, True), errors
