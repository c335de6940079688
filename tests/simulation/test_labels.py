"""Labels as they come in the field (F14), and machines whose clocks are wrong (F13)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from faults_table import Tally
from simulation.joining import (
    GROUP,
    LABEL_STATES,
    NAMES,
    PARTITIONS,
    WAIT,
    counts,
    drain,
    examples,
    label,
    make_joiner,
    make_log,
    predict,
    rules,
)
from simulation.log import MemoryLog, SimulatedLoop
from simulation.reference import Joins, joins

from consumers.joiner.local_store import MemoryStore

HOUR, DAY = 3_600_000, 86_400_000
SKEWS = (HOUR, -HOUR, DAY, -DAY)


def expected(log: MemoryLog, **changes: object) -> Joins:
    return joins(log.read(NAMES.topic("predictions")), log.read(NAMES.topic("labels")), rules(**changes), PARTITIONS)


def told(log: MemoryLog) -> dict[str, int]:
    found = counts(log)
    return {state: found[state] for state in LABEL_STATES}


# --- F14 -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Due:
    """A label that is to be sent."""

    at: int
    name: str
    value: bool


def of_the_field(rng: random.Random, events: int) -> tuple[list[tuple[int, str]], list[Due]]:
    """Return predictions (when, id) and labels, 34 % of which are of some bad kind, each in the order it is sent."""
    predictions: list[tuple[int, str]] = []
    labels: list[Due] = []
    now = 2_000_000
    for number in range(events):
        now += 100
        name, value, kind = f"e{number}", rng.random() < 0.5, rng.random()
        predictions.append((now, name))
        delay = rng.randrange(100, 2000)
        if kind < 0.10:  # out of order: others overtake it
            delay += 4000
        elif kind < 0.15:  # too late
            delay = WAIT + rng.randrange(1, WAIT)
        elif kind < 0.20:  # before its features
            delay = -rng.randrange(1, WAIT)
        labels.append(Due(now + delay, name, value))
        if 0.20 <= kind < 0.30:
            labels.append(Due(now + delay + 50, name, value))
        elif 0.30 <= kind < 0.32:
            labels.append(Due(now + delay + 50, name, not value))
        elif 0.32 <= kind < 0.34:
            labels.append(Due(now + delay, f"nobody-{number}", value))
    return predictions, sorted(labels, key=lambda due: due.at)


def sent(log: MemoryLog, rng: random.Random, events: int, between: Callable[[], None] = lambda: None) -> int:
    """Send all of that at its time, `between` now and then; return how many labels there were."""
    predictions, labels = of_the_field(rng, events)
    merged = sorted([(at, 1, name, None) for at, name in predictions] + [(d.at, 0, d.name, d.value) for d in labels])
    for at, _, name, value in merged:
        log.now = max(at, log.now)
        if value is None:
            predict(log, name)
        else:
            label(log, name, value)
        if rng.random() < 0.02:
            between()
    return len(labels)


@pytest.mark.fault("F14")
@pytest.mark.parametrize("seed", range(3))
def test_f14_labels_of_the_field_are_each_in_exactly_one_state(
    seed: int, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    count = sent(log, rng, rounds(600, 6000), lambda: drain(log, store, lambda place: rng.random() < 0.02) and None)
    drain(log, store)
    found = told(log)
    assert sum(found.values()) == count
    assert found == {state: expected(log).counts[state] for state in LABEL_STATES}
    assert min(found[state] for state in ("joined", "duplicate", "contradicting", "late", "unknown")) > 0
    pairs = [(e.joined.partition, e.joined.prediction_offset, e.joined.label_offset) for e in examples(log) if e.joined]
    assert sorted(pairs) == sorted(expected(log).pairs)
    tally.row(count, lost=0, repeated=0)


@pytest.mark.parametrize("seed", range(3))
def test_f14_the_states_are_the_same_after_a_rebuild_from_the_topics(
    seed: int, rounds: Callable[[int, int], int]
) -> None:
    """With the disk lost at the end, and by another group that reads the topics for the first time."""
    log, store = make_log(), MemoryStore()
    sent(log, random.Random(seed), rounds(600, 6000))
    drain(log, store)
    before = told(log)
    drain(log, MemoryStore())
    assert told(log) == before
    log.places.clear()
    written = len(examples(log))
    drain(log, MemoryStore())
    assert told(log) == before
    assert len(examples(log)) == 2 * written


# --- F13 -------------------------------------------------------------------------------------------


def turns(log: MemoryLog, store: MemoryStore, skews: list[int], **changes: object) -> None:
    """Let one joiner work a second for each of the skews of its machine's clock."""
    skew = [0]
    loop = SimulatedLoop(log, GROUP, make_joiner(store, **changes), clock=lambda: log.now + skew[0])
    for skew[0] in skews:
        log.now += 1000
        loop.step({NAMES.topic("predictions"): 9, NAMES.topic("labels"): 9})


@pytest.mark.fault("F13")
@pytest.mark.parametrize("skew", SKEWS)
def test_f13_nothing_times_out_by_a_clock_that_is_wrong(skew: int) -> None:
    log, store = make_log(), MemoryStore()
    predict(log, "a")
    turns(log, store, [0, skew, skew, 0, skew, -skew, skew, 0], on_timeout=False)
    assert examples(log) == []
    label(log, "a")
    turns(log, store, [skew], on_timeout=False)
    assert [e.label.source for e in examples(log) if e.label] == ["system"]


@pytest.mark.fault("F13")
@pytest.mark.parametrize("skew", [HOUR, DAY, 0])
def test_f13_waits_end_though_the_clock_jumped_back_meanwhile(skew: int) -> None:
    """A joiner that saw a far time would else think for a day that it has just put a tick."""
    log, store = make_log(), MemoryStore()
    predict(log, "a")
    turns(log, store, [skew] * 2 + [0] * (WAIT // 1000 + 2), on_timeout=False)
    assert [e.label.source for e in examples(log) if e.label] == ["timeout"]


@pytest.mark.fault("F13")
@pytest.mark.parametrize("seed", range(10))
def test_f13_what_is_joined_does_not_depend_on_the_clock(seed: int, rounds: Callable[[int, int], int]) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    skews = [0, *SKEWS]
    sent(log, rng, rounds(200, 1000), lambda: turns(log, store, [rng.choice(skews) for _ in range(5)]))
    drain(log, store)
    found = told(log)
    assert found == {state: expected(log).counts[state] for state in LABEL_STATES}
    assert found["joined"] > 0
