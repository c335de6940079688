"""The joiner under crashes between any two effects, reorderings, duplicates and idle topics."""

from __future__ import annotations

import copy
import random
from collections import Counter

import pytest
from simulation.joining import (
    GROUP,
    LABEL_STATES,
    NAMES,
    PARTITIONS,
    WAIT,
    assert_lanes_have_no_gaps,
    counts,
    drain,
    examples,
    label,
    make_joiner,
    make_log,
    make_settings,
    predict,
    rules,
)
from simulation.log import Crash, SimulatedLoop
from simulation.seeds import seeds

import consumers.joiner.join as join_module
from consumers.joiner import join
from consumers.joiner.joiner import Joiner
from consumers.joiner.local_store import MemoryStore
from runtime.kafka_client.records import Output
from schemas import codec
from schemas.dead_letters import read_dead_letter
from schemas.events import Features, Label, Scalar
from schemas.label_spelling import ByClass
from schemas.target import Target
from schemas.topics import partition_of


def test_a_pair_is_joined_whichever_comes_first() -> None:
    log = make_log()
    predict(log, "a")
    label(log, "a")
    label(log, "b", value=False)
    predict(log, "b")
    drain(log, MemoryStore())
    joined = {example.event.event_id: example.label.value for example in examples(log) if example.label}
    assert joined == {"a": True, "b": False}


def test_labels_on_a_wrong_partition_are_forwarded_and_joined() -> None:
    log = make_log()
    for number in range(20):
        predict(log, f"e{number}")
        wrong = 1 - partition_of(f"e{number}", PARTITIONS)
        label(log, f"e{number}", partition=wrong)
    drain(log, MemoryStore())
    assert len(examples(log)) == 20


@pytest.mark.parametrize("seed", seeds(20, 60))
def test_crashes_neither_lose_nor_repeat_an_example(seed: int) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    expected = set()
    waiting: list[str] = []
    crashes = Counter[str]()

    def crash(place: str) -> bool:
        dies = rng.random() < 0.08
        crashes[place] += dies
        return dies

    for number in range(120):
        log.now += rng.randrange(0, 40)
        name = f"e{number}"
        first, second = (predict, label) if rng.random() < 0.8 else (label, predict)
        first(log, name)
        waiting.append(name if first is predict else "")
        if second is predict:
            predict(log, name)
            expected.add(name)
        if rng.random() < 0.3:
            while waiting and rng.random() < 0.9:
                event_id = waiting.pop(rng.randrange(len(waiting)))
                if event_id:
                    label(log, event_id)
                    expected.add(event_id)
                    if rng.random() < 0.1:
                        label(log, event_id)
        if rng.random() < 0.2:
            drain(log, store, crash)
        if rng.random() < 0.03:
            store = MemoryStore()  # the disk was lost
    drain(log, store, crash)
    got = Counter(example.event.event_id for example in examples(log))
    assert set(got) == expected
    assert set(got.values()) <= {1}
    assert_lanes_have_no_gaps(log)
    assert sum(crashes.values()) > 0


@pytest.mark.parametrize("seed", seeds(20, 60))
def test_every_label_is_in_exactly_one_state(seed: int) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    sent = 0
    for number in range(200):
        log.now += rng.randrange(0, 400)
        name = f"e{rng.randrange(number + 1)}"
        if rng.random() < 0.5:
            predict(log, f"e{number}")
        for _ in range(rng.choice([0, 1, 1, 2])):
            label(log, name, rng.random() < 0.5, kind="correction" if rng.random() < 0.1 else "label")
            sent += 1
        if rng.random() < 0.1:
            drain(log, store, lambda place: rng.random() < 0.05)
    drain(log, store)
    told = counts(log)
    assert sum(told[state] for state in LABEL_STATES) == sent


def test_no_label_in_time_is_learned_as_the_timeout_value_once_labels_have_passed() -> None:
    log, store = make_log(), MemoryStore()
    predict(log, "a")
    drain(log, store, on_timeout=False)
    assert examples(log) == []
    log.now += WAIT + 2000
    for _ in range(4):  # labels stand still: the joiner has the broker say how late it is
        joiner = make_joiner(store, on_timeout=False)
        loop = SimulatedLoop(log, GROUP, joiner)
        loop.step({NAMES.topic("predictions"): 3, NAMES.topic("labels"): 3})
        log.now += 1500
    found = examples(log)
    assert [(e.event.event_id, e.label and e.label.value, e.label and e.label.source) for e in found] == [
        ("a", False, "timeout")
    ]


@pytest.mark.parametrize("seed", range(20))
def test_timeouts_are_learned_once_across_crashes_and_lost_disks(seed: int) -> None:
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    for number in range(80):
        log.now += rng.randrange(0, 600)
        predict(log, f"e{number}")
        if rng.random() < 0.3:
            label(log, f"e{rng.randrange(number + 1)}")
        if rng.random() < 0.2:
            drain(log, store, lambda place: rng.random() < 0.05, on_timeout=False)
        if rng.random() < 0.1:
            store = MemoryStore()
    log.now += 5 * WAIT
    for partition in range(PARTITIONS):
        log.append(Output(NAMES.topic("labels"), partition, None, codec.TICK.encode({"written_by": "test"})))
    drain(log, store, on_timeout=False)
    got = Counter(example.event.event_id for example in examples(log))
    assert got == Counter({f"e{number}": 1 for number in range(80)})


@pytest.mark.parametrize("seed", seeds(15, 40))
def test_an_id_that_is_used_again_later_is_joined_each_time_however_the_topics_are_read(seed: int) -> None:
    """Each use has its label; the joiner reads the topics at any pace, dies, and loses its disk."""
    rng = random.Random(seed)
    log, store = make_log(), MemoryStore()
    sent: Counter[tuple[str, bool]] = Counter()

    def read_some() -> None:
        nonlocal store
        paces = [{NAMES.topic("predictions"): a, NAMES.topic("labels"): b} for a, b in ((3, 3), (9, 0), (0, 9), (9, 1))]
        try:
            loop = SimulatedLoop(log, GROUP, make_joiner(store), lambda place: rng.random() < 0.03)
            for _ in range(rng.randrange(1, 12)):
                loop.step(rng.choice(paces))
        except Crash:
            store.rollback()
        if rng.random() < 0.1:
            store = MemoryStore()

    for use in range(6):
        names = [f"e{number}" for number in range(12)]
        rng.shuffle(names)
        late = []
        for name in names:
            log.now += rng.randrange(0, 300)
            predict(log, name)
            value = rng.random() < 0.5
            sent[name, value] += 1
            if rng.random() < 0.6:
                label(log, name, value)
            else:
                late.append((name, value))
            if rng.random() < 0.2:
                read_some()
        for name, value in late:
            log.now += rng.randrange(0, 300)
            label(log, name, value)
        log.now += 3 * WAIT
        if use % 2:
            read_some()
    drain(log, store)
    got = Counter((e.event.event_id, bool(e.label.value)) for e in examples(log) if e.label)
    assert got == sent
    assert_lanes_have_no_gaps(log)


def test_a_label_that_came_too_late_is_not_taken_for_one_that_waits_when_the_store_is_rebuilt() -> None:
    log = make_log()
    at = partition_of("a", PARTITIONS)
    others = (name for name in map("b{}".format, range(99)) if partition_of(name, PARTITIONS) == at)

    def time_passes(milliseconds: int) -> None:
        log.now += milliseconds
        predict(log, next(others))
        log.append(Output(NAMES.topic("labels"), at, None, codec.TICK.encode({"written_by": "test"})))

    predict(log, "a")
    label(log, "a")
    log.now += WAIT + 2000
    label(log, "a")
    time_passes(WAIT - 1000)
    drain(log, MemoryStore())
    store = MemoryStore()
    drain(log, store)
    time_passes(3 * WAIT)
    drain(log, store)
    told = counts(log)
    assert {state: told[state] for state in LABEL_STATES if told[state]} == {"joined": 1, "late": 1}


def test_waits_that_a_rebuild_did_not_see_are_not_ended_again_by_a_disk_that_comes_back() -> None:
    """As when a standby takes over, with an empty disk, and gives back."""
    log, store = make_log(), MemoryStore()
    at = partition_of("a", PARTITIONS)
    predict(log, "a")
    drain(log, store, on_timeout=False)
    old = copy.deepcopy(store)
    for name in [name for name in map("b{}".format, range(20)) if partition_of(name, PARTITIONS) == at][:2]:
        log.now += 4 * WAIT
        predict(log, name)
        log.append(Output(NAMES.topic("labels"), at, None, codec.TICK.encode({"written_by": "test"})))
        drain(log, store, on_timeout=False)
        store = MemoryStore()
    drain(log, store, on_timeout=False)
    drain(log, MemoryStore(), on_timeout=False)
    SimulatedLoop(log, GROUP, make_joiner(MemoryStore(), on_timeout=False)).step({})
    SimulatedLoop(log, GROUP, make_joiner(old, on_timeout=False)).step({})
    got = Counter(example.event.event_id for example in examples(log))
    assert set(got.values()) == {1}
    assert_lanes_have_no_gaps(log)


def test_waits_that_ended_long_ago_are_ended_though_the_store_is_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an outage they are ended a few at a time; a store lost in between knows of none that is older."""
    monkeypatch.setattr(join_module, "_MOST_AT_ONCE", 3)
    log, store = make_log(), MemoryStore()
    for number in range(20):
        predict(log, f"e{number}")
    drain(log, store, on_timeout=False)
    log.now += 10 * WAIT
    for partition in range(PARTITIONS):
        log.append(Output(NAMES.topic("labels"), partition, None, codec.TICK.encode({"written_by": "test"})))
    drain(log, store, on_timeout=False)
    assert 0 < len(examples(log)) < 20
    store = MemoryStore()
    for _ in range(10):
        loop = SimulatedLoop(log, GROUP, make_joiner(store, on_timeout=False))
        loop.step({})
        loop.step({})
    got = Counter(example.event.event_id for example in examples(log))
    assert got == Counter({f"e{number}": 1 for number in range(20)})


def test_a_correction_after_the_join_goes_on_the_log_as_one() -> None:
    log = make_log()
    predict(log, "a")
    label(log, "a", value=True)
    label(log, "a", value=False, kind="correction")
    label(log, "a", value=True)
    drain(log, MemoryStore())
    kinds = [(e.label.kind, e.label.value) for e in examples(log) if e.label]
    assert kinds == [("label", True), ("correction", False)]
    assert counts(log)["contradicting"] == 1


def test_weights_by_class_are_written_into_the_example() -> None:
    log = make_log()
    for name, value in (("a", True), ("b", False)):
        predict(log, name)
        label(log, name, value)
    drain(log, MemoryStore(), weights=ByClass({True: 20.0}))
    assert {e.event.event_id: e.label.weight for e in examples(log) if e.label} == {"a": 20.0, "b": 1.0}


def test_a_topic_made_again_under_the_same_name_is_refused() -> None:
    from runtime.exits import RoleRefused

    log, store = make_log(), MemoryStore()
    predict(log, "a")
    label(log, "a")
    drain(log, store)
    log.ids[NAMES.topic("labels")] = "another"
    with pytest.raises(RoleRefused, match="another topic"):
        drain(log, store)


def test_at_the_cap_the_side_of_which_more_waits_is_held_and_all_is_joined() -> None:
    log, store = make_log(), MemoryStore()
    for number in range(60):
        predict(log, f"e{number}")
    log.now += 5
    for number in range(60):
        label(log, f"e{number}")
    joiner = Joiner(make_settings(rules(), max_pending=10), store)
    loop = SimulatedLoop(log, GROUP, joiner)
    held = 0
    for _ in range(200):
        loop.step({NAMES.topic("predictions"): 20, NAMES.topic("labels"): 2})
        held += bool(joiner.paused())
        if loop.idle():
            break
    assert loop.idle()
    assert held
    assert len(examples(log)) == 60


def test_a_weight_function_that_fails_costs_its_label_and_nothing_else() -> None:
    def weigh(features: Features, value: Scalar) -> float:
        return {"a": float("nan"), "b": 2.0}[str(features["name"])]

    log = make_log()
    for number, name in enumerate(["a", "b", "c"]):
        predict(log, f"e{number}", {"x": 1.0, "name": name})
        label(log, f"e{number}")
    drain(log, MemoryStore(), weight_of=weigh)
    assert [(e.event.event_id, e.label.weight) for e in examples(log) if e.label] == [("e1", 2.0)]
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert sorted(letter.code for letter in letters) == ["weight", "weight"]
    told = counts(log)
    assert (told["joined"], told["refused"]) == (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        b'{"event_id": "a", "value": true, "label_time": 99999999999999999999}',
        b'{"event_id": "a", "value": 99999999999999999999}',
        b'{"event_id": "a", "value": true, "weight": -1}',
        Label("a", True, 5, weight=float("nan")).encode(),
        b"\xff" * 40,
        b"",
        b'{"event_id": "a", "value": "' + b"x" * (20 << 20) + b'"}',
    ],
)
def test_a_label_that_cannot_be_taken_goes_to_dead_letters_and_the_joiner_goes_on(value: bytes) -> None:
    log = make_log()
    for partition in range(PARTITIONS):
        log.append(Output(NAMES.topic("labels"), partition, None, value))
    predict(log, "b")
    label(log, "b")
    drain(log, MemoryStore())
    assert [example.event.event_id for example in examples(log)] == ["b"]
    letters = log.read(NAMES.topic("dead-letters"))
    assert len(letters) == PARTITIONS
    assert all(len(letter.value or b"") < 8 << 20 for letter in letters)


def test_a_label_of_neither_class_is_a_dead_letter_and_its_event_waits_for_a_right_one() -> None:
    target = Target(task="binary", positive=">50K", classes=(">50K", "<=50K"))
    log = make_log()
    for name, value in (("a", ">50K."), ("b", " <=50K"), ("c", 1), ("d", ">50K"), ("a", ">50K")):
        predict(log, name)
        label(log, name, value)  # type: ignore[arg-type]
    drain(log, MemoryStore(), target=target)
    joined = {example.event.event_id: example.label.value for example in examples(log) if example.label}
    assert joined == {"a": True, "b": False, "d": True}
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert sorted((letter.key, letter.code) for letter in letters) == [(b"a", "label"), (b"c", "label")]
    assert counts(log)["refused"] == 2


def test_thousands_of_waits_that_end_at_once_end_over_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_MOST_AT_ONCE", 7)
    log, store = make_log(), MemoryStore()
    for number in range(100):
        predict(log, f"e{number}")
    drain(log, store, on_timeout=False)
    log.now += 5 * WAIT
    for partition in range(PARTITIONS):
        log.append(Output(NAMES.topic("labels"), partition, None, codec.TICK.encode({"written_by": "test"})))
    rng = random.Random(5)
    most = 0
    for _ in range(400):
        before = len(examples(log))
        try:
            joiner = make_joiner(store if rng.random() < 0.8 else MemoryStore(), on_timeout=False)
            SimulatedLoop(log, GROUP, joiner, lambda place: rng.random() < 0.1).step(
                {NAMES.topic("predictions"): 3, NAMES.topic("labels"): 3}
            )
        except Crash:
            store.rollback()
        most = max(most, len(examples(log)) - before)
        if len(examples(log)) == 100:
            break
    assert Counter(e.event.event_id for e in examples(log)) == Counter({f"e{n}": 1 for n in range(100)})
    assert most <= 4 * 7
    assert_lanes_have_no_gaps(log)


def test_a_group_whose_offsets_kafka_forgot_goes_on_by_its_local_store() -> None:
    log, store = make_log(), MemoryStore()
    for number in range(10):
        predict(log, f"e{number}")
        label(log, f"e{number}")
    drain(log, store).close()
    log.places.clear()
    for number in range(10, 20):
        predict(log, f"e{number}")
        label(log, f"e{number}")
    drain(log, store)
    assert Counter(e.event.event_id for e in examples(log)) == Counter({f"e{n}": 1 for n in range(20)})
    assert_lanes_have_no_gaps(log)


def test_a_prediction_that_nobody_can_read_costs_its_label_alone() -> None:
    log = make_log()
    forged = codec.PREDICTION.header + b"\x08evil" + b"\xff" * 12 + b"\0\0"
    log.append(Output(NAMES.topic("predictions"), partition_of("evil", PARTITIONS), b"evil", forged))
    label(log, "evil")
    predict(log, "good")
    label(log, "good")
    drain(log, MemoryStore())
    assert [example.event.event_id for example in examples(log)] == ["good"]
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert [letter.code for letter in letters] == ["codec"]
    assert_lanes_have_no_gaps(log)
