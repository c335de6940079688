"""The judge: the joiner's tests over shadows and comparisons, and what only a judge meets: shadows that come late."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from simulation import joining, test_joiner, test_snapshots
from simulation.joining import NAMES, PARTITIONS, WAIT, label, make_joiner, predict, rules, shadow_of
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds

import consumers.joiner.joiner as joiner_module
from consumers.joiner.joiner import Joiner
from consumers.joiner.local_store import MemoryStore
from consumers.judge.judge import judge_settings, tick, time_of
from consumers.judge.offset_metadata import JudgeMetadata
from consumers.shadow.shadow_records import tick as shadow_tick
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.codec import CodecError
from schemas.comparisons import read_comparison
from schemas.dead_letters import read_dead_letter
from schemas.events import Event, Outcome, read_example, read_prediction
from schemas.topics import Names, partition_of

COMPARED = Names("sim", models=("forest",))
GROUP = COMPARED.group("judge")

OF_THE_JOINER = [
    test_joiner.test_a_pair_is_joined_whichever_comes_first,
    test_joiner.test_a_label_that_came_too_late_is_not_taken_for_one_that_waits_when_the_store_is_rebuilt,
    test_joiner.test_waits_that_a_rebuild_did_not_see_are_not_ended_again_by_a_disk_that_comes_back,
    test_joiner.test_waits_that_ended_long_ago_are_ended_though_the_store_is_lost_meanwhile,
    test_joiner.test_a_correction_after_the_join_goes_on_the_log_as_one,
    test_joiner.test_a_topic_made_again_under_the_same_name_is_refused,
    test_joiner.test_at_the_cap_the_side_of_which_more_waits_is_held_and_all_is_joined,
    test_joiner.test_thousands_of_waits_that_end_at_once_end_over_several_turns,
    test_joiner.test_a_group_whose_offsets_kafka_forgot_goes_on_by_its_local_store,
    test_snapshots.test_what_waits_in_a_snapshot_needs_no_topic_to_be_read_again,
    test_snapshots.test_a_snapshot_ahead_of_what_is_committed_is_passed_over,
    test_snapshots.test_a_snapshot_of_a_topic_that_was_made_again_is_passed_over,
    test_snapshots.test_data_that_is_missing_is_said_and_the_topics_are_read,
    test_snapshots.test_a_timely_label_is_kept_whatever_many_old_ones_wait_for_their_end,
]
OF_CHANCE: list[Callable[[int], None]] = [
    test_joiner.test_crashes_neither_lose_nor_repeat_an_example,
    test_joiner.test_every_label_is_in_exactly_one_state,
    test_joiner.test_timeouts_are_learned_once_across_crashes_and_lost_disks,
    test_joiner.test_an_id_that_is_used_again_later_is_joined_each_time_however_the_topics_are_read,
    test_snapshots.test_lost_disks_and_crashes_in_and_out_of_snapshots_neither_lose_nor_repeat,
    test_snapshots.test_timeouts_are_learned_once_when_snapshots_stand_in_for_disks,
]


@pytest.fixture
def _as_judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with joining.as_judge():
        yield


@pytest.mark.usefixtures("_as_judge")
@pytest.mark.parametrize("of", OF_THE_JOINER, ids=lambda of: of.__name__)
def test_what_holds_for_a_joiner(of: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    if of.__module__ == test_snapshots.__name__:
        monkeypatch.setattr(joiner_module, "_KEEP_EVERY_MS", 0)
    of(*([monkeypatch] if "monkeypatch" in of.__code__.co_varnames[: of.__code__.co_argcount] else []))


@pytest.mark.usefixtures("_as_judge")
@pytest.mark.parametrize("seed", seeds(4, 40))
@pytest.mark.parametrize("of", OF_CHANCE, ids=lambda of: of.__name__)
def test_what_holds_for_a_joiner_by_chance(
    of: Callable[[int], None], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if of.__module__ == test_snapshots.__name__:
        monkeypatch.setattr(joiner_module, "_KEEP_EVERY_MS", 0)
    of(seed)


@pytest.mark.usefixtures("_as_judge")
@pytest.mark.parametrize("seed", range(2))
def test_the_states_of_labels_are_a_joiners_after_a_rebuild(seed: int, rounds: Callable[[int, int], int]) -> None:
    rng = random.Random(seed)
    log = joining.make_log()
    for number in range(150):
        log.now += rng.randrange(0, 400)
        predict(log, f"e{number}")
        name = f"e{rng.randrange(number + 1)}"
        label(log, name, rng.random() < 0.5, kind="correction" if rng.random() < 0.2 else "label")
    joining.drain(log, MemoryStore())
    before = joining.counts(log)
    assert sum(before[state] for state in joining.LABEL_STATES) == 150
    again = make_joiner(MemoryStore())
    SimulatedLoop(log, joining.GROUP, again)
    assert {number: dict(lane.join.state.counts) for number, lane in again._lanes.items()} == {
        number: dict(_counts(log, number)) for number in range(PARTITIONS)
    }


def _counts(log: MemoryLog, number: int) -> dict[str, int]:
    place = log.places[joining.GROUP, Partition(NAMES.topic("labels"), number)]
    told: dict[str, int] = msgspec.json.decode(place.metadata)["counts"]
    return told


# --- both roles on one log -------------------------------------------------------------------------


class Both:
    """A joiner over predictions, and a judge over shadows of them that are written later, on one log."""

    def __init__(self) -> None:
        kinds = {**dict.fromkeys(("predictions", "labels", "shadows"), PARTITIONS), "examples": 1, "comparisons": 1}
        self.log = MemoryLog({COMPARED.topic(kind): n for kind, n in {**kinds, "dead-letters": 1}.items()})
        self.joiner_store, self.store = MemoryStore(), MemoryStore()
        self._shadowed = dict.fromkeys(range(PARTITIONS), 0)

    def shadow(self, most: int) -> None:
        """Write the shadows of the next predictions now, whenever those were made."""
        for number in range(PARTITIONS):
            at = self._shadowed[number]
            held = self.log.records[Partition(COMPARED.whole, number)][at : at + most]
            self._shadowed[number] += len(held)
            for record in held:
                prediction = read_prediction(record.value or b"")
                value = shadow_of(prediction.event, prediction.outcome, record.timestamp).encode()
                self.log.append(Output(COMPARED.topic("shadows"), number, record.key, value))

    def join(self) -> None:
        joiner = Joiner(joining.JoinerSettings(NAMES, rules(), PARTITIONS, 1000), self.joiner_store)
        self._run(joining.GROUP, joiner, lambda place: False, turns=40)

    def judge(self, crash: Callable[[str], bool] = lambda place: False, turns: int = 40) -> None:
        while True:
            judge = Joiner(judge_settings(COMPARED, rules(), PARTITIONS, 1000), self.store)
            try:
                self._run(GROUP, judge, crash, turns)
                return
            except Crash:
                self.store.rollback()

    def _run(self, group: str, processor: Joiner, crash: Callable[[str], bool], turns: int) -> None:
        loop = SimulatedLoop(self.log, group, processor, crash)
        for _ in range(turns):
            loop.step(dict.fromkeys(processor.topics, 3))
            if loop.idle():
                return

    def examples(self) -> list[tuple[str, str, bool, str]]:
        held = [read_example(record.value or b"") for record in self.log.read(NAMES.topic("examples"))]
        return [_said(each.event.event_id, each) for each in held]

    def comparisons(self) -> list[tuple[str, str, bool, str]]:
        held = [read_comparison(record.value or b"") for record in self.log.read(COMPARED.topic("comparisons"))]
        return [_said(each.shadow.event.event_id, each) for each in held]


def _said(event_id: str, of: Any) -> tuple[str, str, bool, str]:
    return event_id, str(of.joined.prediction_time), of.label.value, of.label.kind


@pytest.mark.parametrize("seed", seeds(12, 80))
def test_however_late_the_shadows_are_the_same_pairs_are_compared_as_are_learned(seed: int) -> None:
    rng = random.Random(seed)
    both = Both()
    log = both.log

    def crash(place: str) -> bool:
        return rng.random() < 0.05

    for number in range(150):
        log.now += rng.randrange(0, 700)
        if rng.random() < 0.7:
            predict(log, f"e{number}")
        name = f"e{max(0, number - rng.choice([0, 1, 3, 10, 40]))}"
        misplaced = 1 - partition_of(name, PARTITIONS) if rng.random() < 0.1 else None
        label(log, name, rng.random() < 0.5, misplaced, kind="correction" if rng.random() < 0.15 else "label")
        if rng.random() < 0.2:
            both.join()
        if rng.random() < 0.1:
            both.shadow(rng.choice([1, 5, 50]))
        if rng.random() < 0.15:
            both.judge(crash, turns=rng.randrange(1, 8))
        if rng.random() < 0.03:
            both.store = MemoryStore()  # the disk was lost
    for _ in range(6):
        log.now += WAIT
        both.join()
    both.shadow(1000)
    both.judge(crash, turns=400)
    assert both.examples()
    # A correction between a prediction and its late shadow is merged into the label, as if it had come before both.
    joined = {each[:2] for each in both.examples() if each[3] == "label"}
    compared = [each for each in both.comparisons() if each[3] == "label"]
    assert {each[:2] for each in compared} == joined
    assert len(compared) == len(joined)
    last = {each[:2]: each[2] for each in both.examples()}
    assert {each[:2]: each[2] for each in both.comparisons()} == last
    lanes = Counter[str]()
    for record in log.read(COMPARED.topic("comparisons")):
        lane = read_comparison(record.value or b"").lane
        assert lane.sequence == lanes[lane.name]
        lanes[lane.name] += 1


def test_a_judge_writes_nothing_to_labels_and_leaves_their_dead_letters_to_the_joiner() -> None:
    both = Both()
    log = both.log
    predict(log, "e1")
    label(log, "e1", partition=1 - partition_of("e1", PARTITIONS))
    log.append(Output(NAMES.topic("labels"), 0, None, b"rubbish"))
    before = len(log.read(NAMES.topic("labels")))
    both.shadow(10)
    log.now += 5 * WAIT
    both.judge()
    assert len(log.read(NAMES.topic("labels"))) == before
    assert both.comparisons() == []
    assert log.read(NAMES.topic("dead-letters")) == []
    place = log.places[GROUP, Partition(NAMES.topic("labels"), partition_of("e1", PARTITIONS))]
    assert JudgeMetadata.decode(place.metadata) is not None


def test_what_is_no_shadow_is_a_dead_letter() -> None:
    both = Both()
    both.log.append(Output(COMPARED.topic("shadows"), 0, b"x", b"rubbish"))
    both.judge()
    [letter] = [read_dead_letter(record.value or b"") for record in both.log.read(NAMES.topic("dead-letters"))]
    assert (letter.stage, letter.code, letter.reason) == ("judge", "codec", "not a shadow answer of Millstream's")


def test_a_tick_of_the_shadow_role_ends_the_wait_of_labels() -> None:
    both = Both()
    label(both.log, "no-shadow")
    number = partition_of("no-shadow", PARTITIONS)
    both.judge(turns=3)
    assert joining_counts(both.log, number)["waiting"] == 1
    both.log.append(Output(COMPARED.topic("shadows"), number, None, shadow_tick(both.log.now + WAIT + 1)))
    both.judge(turns=3)
    found = joining_counts(both.log, number)
    assert (found["waiting"], found["unknown"]) == (0, 1)


def joining_counts(log: MemoryLog, number: int) -> dict[str, int]:
    told = JudgeMetadata.decode(log.places[GROUP, Partition(NAMES.topic("labels"), number)].metadata)
    assert told is not None
    return {"unknown": 0, **told.counts, "waiting": told.waiting[1]}


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "customer"])
@pytest.mark.parametrize("time", [0, 1, 63, 64, 1_700_000_000_000, 2**62])
def test_the_time_of_a_shadow_is_read_from_its_bytes(time: int, key: str | None) -> None:
    outcome = Outcome(None, None, "sim", 1, 0, 5, "sim.features", 0, 0)
    value = shadow_of(Event("e1", 12_345, {}, key), outcome, time).encode()
    assert time_of(value) == time
    with pytest.raises(CodecError):
        time_of(value[:15])


def test_only_a_tick_of_the_shadow_role_is_one() -> None:
    assert tick(shadow_tick(123)) == 123
    assert tick(shadow_tick(123)[:-1]) is None
    assert tick(codec.TICK.encode({"written_by": "joiner"})) is None


@pytest.mark.parametrize("models", [1, 2, 5])
def test_a_waiting_event_takes_at_most_32_bytes_a_model_more_than_in_the_joiner(models: int) -> None:
    """Measured in the entries of both stores, for events with four numbers."""
    sizes = []
    for judges in (False, True):
        store = MemoryStore()
        features = {f"feature_{n}": 1.5 for n in range(4)}
        outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "fraud", 1, 100_000, 1_700_000_000_000, "f", 0, 100_000)
        event = Event("transaction-000001", 1_700_000_000_000, features)
        if judges:
            shadow = shadow_of(event, outcome, 1_700_000_000_000)
            answer = msgspec.structs.replace(shadow.challengers[0], examples=100_000, age_ms=1000)
            value = msgspec.structs.replace(shadow, offset=100_000, slices={}, challengers=[answer] * models).encode()
        else:
            body = event.encode()[10:] + b"\x02" + codec.OUTCOME.encode_body(msgspec.to_builtins(outcome))
            value = codec.PREDICTION.header + body
        names = COMPARED if judges else NAMES
        log = MemoryLog({names.topic(kind): 1 for kind in ("predictions", "labels", "shadows", "examples")})
        topic = names.topic("shadows") if judges else names.whole
        log.append(Output(topic, 0, b"transaction-000001", value))
        settings = judge_settings(names, rules(), 1, 10) if judges else joining.JoinerSettings(names, rules(), 1, 10)
        loop = SimulatedLoop(log, names.group("judge" if judges else "joiner"), Joiner(settings, store))
        loop.step({topic: 1})
        held = [*store.scan(b"e", b"e"), *store.scan(b"p", b"p")]
        sizes.append(sum(len(key) + len(entry) for key, entry in held))
    assert sizes[1] - sizes[0] <= 32 * models, sizes
