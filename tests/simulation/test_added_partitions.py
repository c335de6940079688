"""Partitions that are added to predictions and labels: every label finds its prediction, before and after."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from simulation.joining import (
    GROUP,
    LABEL_STATES,
    NAMES,
    PARTITIONS,
    WAIT,
    assert_lanes_have_no_gaps,
    counts,
    examples,
    label,
    make_log,
    predict,
    rules,
)
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds

from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import MemoryStore
from consumers.loop.log_faults import LogRefused
from runtime.kafka_client.records import Output
from schemas.dead_letters import read_dead_letter
from schemas.topics import partition_of

PREDICTIONS, LABELS = NAMES.topic("predictions"), NAMES.topic("labels")


def make_joiner(log: MemoryLog, store: MemoryStore, new_epoch: bool = False) -> Joiner:
    """Return one that is told how many partitions there are now: what its places say must win."""
    now = min(log.count(PREDICTIONS), log.count(LABELS))
    return Joiner(JoinerSettings(NAMES, rules(), now, 1000, new_epoch), store, say=lambda _: None)


def label_as_others_do(log: MemoryLog, name: str) -> None:
    label(log, name, partition=partition_of(name, log.count(LABELS)))


def work(log: MemoryLog, store: MemoryStore, rng: random.Random | None = None) -> None:
    """Run until all is read, starting anew after every crash."""
    while True:
        try:
            loop = SimulatedLoop(log, GROUP, make_joiner(log, store), lambda _: rng is not None and rng.random() < 0.05)
            while not loop.idle():
                loop.step({PREDICTIONS: 3, LABELS: 3})
            return
        except Crash:
            store.rollback()


@pytest.mark.parametrize("grown", [(PREDICTIONS,), (LABELS,), (PREDICTIONS, LABELS)], ids=["one", "other", "both"])
def test_what_waits_for_its_label_finds_it_after_partitions_were_added(grown: tuple[str, ...]) -> None:
    log, store = make_log(), MemoryStore()
    names = [f"e{number}" for number in range(40)]
    for name in names[:20]:
        predict(log, name)
    for name in names[20:]:
        label_as_others_do(log, name)
    work(log, store)
    for topic in grown:
        log.grow(topic, 3)
    for name in names[:20]:
        label_as_others_do(log, name)
    for name in names[20:]:
        predict(log, name)
    work(log, store)
    assert sorted(example.event.event_id for example in examples(log)) == sorted(names)
    assert counts(log)["forwarded"] > 0 or LABELS not in grown
    assert_lanes_have_no_gaps(log)


@pytest.mark.parametrize("seed", seeds(10, 40))
def test_growing_again_and_again_under_crashes_loses_and_repeats_no_example(seed: int) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    work(log, store)
    unlabelled: list[str] = []
    for number in range(150):
        log.now += rng.randrange(0, 40)
        name = f"e{number}"
        predict(log, name)
        unlabelled.append(name)
        while unlabelled and rng.random() < 0.5:
            label_as_others_do(log, unlabelled.pop(rng.randrange(len(unlabelled))))
        if rng.random() < 0.05:
            log.grow(rng.choice([PREDICTIONS, LABELS]), rng.randrange(1, 4))
        if rng.random() < 0.2:
            work(log, store, rng)
        if rng.random() < 0.03:
            store = MemoryStore()
    for name in unlabelled:
        label_as_others_do(log, name)
    work(log, store, rng)
    work(log, store)
    got = Counter(example.event.event_id for example in examples(log))
    assert got == Counter(f"e{number}" for number in range(150))
    assert_lanes_have_no_gaps(log)
    told = counts(log)
    assert sum(told[state] for state in LABEL_STATES) == 150


def test_places_that_kafka_forgot_are_known_from_the_local_store_with_how_ids_are_spread() -> None:
    log, store = make_log(), MemoryStore()
    names = [f"e{number}" for number in range(20)]
    for name in names:
        predict(log, name)
    work(log, store)
    log.places.clear()
    for topic in (PREDICTIONS, LABELS):
        log.grow(topic, 3)
    for name in names:
        label_as_others_do(log, name)
    work(log, store)
    assert sorted(example.event.event_id for example in examples(log)) == sorted(names)


def test_what_no_role_writes_on_an_added_partition_is_a_dead_letter() -> None:
    log, store = make_log(), MemoryStore()
    predict(log, "a")
    work(log, store)
    for topic in (PREDICTIONS, LABELS):
        log.grow(topic)
    log.append(log.read(PREDICTIONS)[0]._replace(partition=PARTITIONS))  # type: ignore[arg-type]
    log.append(Output(LABELS, PARTITIONS, None, b"\xff"))
    work(log, store)
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert [(letter.code, letter.partition) for letter in letters] == [("partition", PARTITIONS), ("codec", PARTITIONS)]
    assert letters[0].reason == "event ids are spread over the first 2 partitions, and this prediction is on 2"
    assert counts(log)["refused"] == 1


def test_a_lost_label_on_an_added_partition_stops_the_joiner_until_somebody_decides() -> None:
    log, store = make_log(), MemoryStore()
    work(log, store)
    log.grow(LABELS)
    label(log, "a", partition=PARTITIONS)
    work(log, store)
    log.recreate(LABELS, with_places=False)
    with pytest.raises(LogRefused, match=r"sim\.labels\[2\] is another topic"):
        SimulatedLoop(log, GROUP, make_joiner(log, store), share={PARTITIONS})
    label(log, "b", partition=PARTITIONS)
    predict(log, "b")
    loop = SimulatedLoop(log, GROUP, make_joiner(log, store, new_epoch=True))
    for _ in range(3):
        loop.step({PREDICTIONS: 9, LABELS: 9})
    assert [example.event.event_id for example in examples(log)] == ["b"]


def test_a_stream_from_before_that_was_noted_goes_by_what_it_is_told() -> None:
    log, store = make_log(), MemoryStore()
    work(log, store)
    for key, place in log.places.items():
        old = {name: value for name, value in msgspec.json.decode(place.metadata).items() if name != "spread"}
        log.places[key] = type(place)(place.offset, msgspec.json.encode(old).decode())
    for name in ("a", "b", "c"):
        predict(log, name)
        label(log, name)
    log.now += WAIT // 2
    work(log, store)
    assert len(examples(log)) == 3
    assert {msgspec.json.decode(place.metadata)["spread"] for place in log.places.values()} == {PARTITIONS}
