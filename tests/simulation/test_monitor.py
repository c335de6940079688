"""The monitor: the same windows, each once, whatever ends its process and however the records are read."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from simulation.log import Crash, FencedOff, SimulatedLoop
from simulation.watching import (
    EVERY,
    EXAMPLES,
    GROUP,
    NAMES,
    PREDICTIONS,
    SPAN,
    WINDOWS,
    Counts,
    World,
    example,
    with_rules,
)

from consumers.loop.log_faults import LogRefused
from runtime.exits import Doubt
from runtime.kafka_client.records import Output, Partition
from schemas.profiles import Window

PLACES = ("recovering", "polled", "processed", "before the commit", "between the log's commit and the local one")
ALL = {PREDICTIONS: 99, EXAMPLES: 99, WINDOWS: 99}


def calm(count: int = 120, **more: Any) -> World:
    world = World(**more)
    world.predict(count)
    world.work()
    return world


def whole(windows: list[Window]) -> None:
    """Assert that windows follow each other without a gap, and that none is too long or too full."""
    for one, next_ in itertools.pairwise(windows):
        assert one.next_offset == next_.first_offset
        assert (one.start < next_.start) or (one.start == next_.start and one.events == EVERY)
    for window in windows:
        assert window.start % SPAN == 0
        assert window.start <= window.first_time <= window.last_time < window.start + SPAN
        assert window.events <= EVERY


def test_each_record_is_in_one_window_of_its_partition_and_the_open_one_is_not_written() -> None:
    world = calm()
    for (topic, number), windows in world.by_place().items():
        whole(windows)
        assert windows[0].first_offset == 0
        there = world.log.records[Partition(topic, number)]
        note = world.note(topic, number)
        assert note.open == windows[-1].next_offset
        assert (note.windows, note.events) == (len(windows), windows[-1].next_offset)
        rest = there[note.open :]
        assert 0 < len(rest) <= EVERY
        assert {record.timestamp // SPAN for record in rest} == {rest[0].timestamp // SPAN}
    assert sorted({window.kind for window in world.windows()}) == ["examples", "predictions"]


def test_a_window_holds_what_was_in_the_records() -> None:
    world = World(partitions=1)
    world.predict(3, every_ms=10)
    world.predict(1, every_ms=10, failed=True)
    world.log.append(Output(PREDICTIONS, 0, None, b"no prediction"))
    world.log.append(Output(EXAMPLES, 0, None, example(9, world.log.now, joined=None).encode()))
    world.log.now += SPAN
    world.predict(2)
    world.work()
    predicted, labelled = sorted(world.windows(), key=lambda window: window.kind, reverse=True)
    assert predicted.events == 4
    assert predicted.errors == {"no-version": 1, "unreadable": 1}
    assert predicted.next_offset == 5
    assert [*predicted.profiles["feature:x"].categories] == ["0:0.0", "1:0.5", "2:1.0", "3:1.5"]
    assert [*predicted.profiles["answer:prediction"].categories] == ["0:True", "1:False", "2:True"]
    assert [*predicted.profiles["answer:score"].categories] == ["0:0.75", "1:0.75", "2:0.75"]
    assert [*predicted.profiles["loop:version"].categories] == ["0:'s:3'", "1:'s:3'", "2:'s:3'"]
    assert predicted.profiles["answer:score"].missing == 1
    assert labelled.events == 3
    assert [*labelled.profiles["label:value"].categories] == ["0:False", "1:False"]
    assert [*labelled.profiles["loop:label_delay_ms"].categories] == ["0:40", "1:40"]
    assert labelled.served[0].labels == 3
    assert world.note(PREDICTIONS).unreadable == 1


@pytest.mark.parametrize("take", [1, 2, 5, 50])
def test_windows_do_not_depend_on_the_batches_in_which_records_are_read(take: int) -> None:
    expected = calm().by_place()
    world = World()
    world.predict(120)
    world.work(take=take)
    assert world.by_place() == expected


def test_a_crash_anywhere_changes_no_window_and_each_is_written_and_judged_once() -> None:
    expected = calm()
    for place in PLACES:
        for every in (2, 5, 11):
            world, count = World(), itertools.count(1)
            world.predict(120)
            world.work(lambda at, place=place, every=every, count=count: at == place and next(count) % every == 0)
            assert world.by_place() == expected.by_place(), (place, every)
            assert sorted(message for _, message in world.alerts()) == sorted(m for _, m in expected.alerts()), place
            assert [name for name, _ in world.alerts()] == [name for name, _ in expected.alerts()], place
            judged = world.judges[-1]
            assert isinstance(judged, Counts)
            assert judged.seen == [each.key for each in world.log.read(WINDOWS)], place


@pytest.mark.parametrize("overlap", ["early", "late"])
def test_overlapping_commits_lose_and_repeat_nothing(overlap: Any) -> None:
    expected = calm()
    for place in PLACES:
        world, count = World(overlap=overlap), itertools.count(1)
        world.predict(120)
        world.work(lambda at, place=place, count=count: at == place and next(count) % 7 == 0)
        assert world.by_place() == expected.by_place(), place
        assert sorted(message for _, message in world.alerts()) == sorted(m for _, m in expected.alerts()), place


class Pair:
    """Two monitors that share the partitions, die, and take over from each other."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.loops: list[SimulatedLoop | None] = [None, None]
        self.shares = [frozenset({0, 1}), frozenset[int]()]
        self.fate = ""

    def rebalance(self) -> None:
        self.chance.shuffle(self.shares)
        if self.chance.random() < 0.3:
            self.shares = [frozenset({0}), frozenset({1})]
        self.fate = ""
        for loop, share in zip(self.loops, self.shares, strict=True):
            if loop is not None:
                loop.settle(share)

    def work(self, member: int) -> None:
        self.fate = self.chance.choice(PLACES) if self.chance.random() < 0.15 else ""
        try:
            loop = self.loops[member] or self.world.loop(lambda at: at == self.fate, share=self.shares[member])
            self.loops[member] = loop
            loop.step({topic: self.chance.randrange(9) for topic in ALL})
        except (Crash, FencedOff, Doubt):
            self.loops[member] = None


@pytest.mark.parametrize("seed", range(6))
def test_any_schedule_of_traffic_crashes_and_takeovers_gives_the_windows_of_a_calm_run(seed: int) -> None:
    chance, world = random.Random(seed), World()
    pair = Pair(world, chance)
    for _ in range(150):
        for _ in range(chance.randrange(4)):
            world.predict(1, every_ms=chance.choice([0, 20, 90, 400, 3 * SPAN]))
        if chance.random() < 0.1:
            pair.rebalance()
        pair.work(0)
        pair.work(1)
    world.work()
    again = World()
    for topic in (PREDICTIONS, EXAMPLES):
        for record in world.log.read(topic):
            again.log.records[Partition(topic, record.partition)].append(record)
    again.work(take=1000)
    assert world.by_place() == again.by_place()
    assert len(world.windows()) > 40
    assert sorted(message for _, message in world.alerts()) == sorted(message for _, message in again.alerts())


def test_a_second_monitor_takes_over_and_the_first_one_is_fenced() -> None:
    world = World()
    world.predict(120)
    first = world.loop()
    for _ in range(9):
        first.step({PREDICTIONS: 5, EXAMPLES: 5, WINDOWS: 2})
    world.work()
    with pytest.raises(FencedOff):
        first.step({PREDICTIONS: 5, EXAMPLES: 5, WINDOWS: 5})
    assert world.by_place() == calm().by_place()


def test_a_monitor_without_the_profiles_writes_windows_and_judges_nothing() -> None:
    world = World()
    world.predict(60)
    other = world.loop(share=[1])
    for _ in range(30):
        other.step({PREDICTIONS: 5})
    assert {(window.topic, window.partition) for window in world.windows()} == {(PREDICTIONS, 1)}
    assert world.judges == []
    owner = world.loop(share=[0])
    for _ in range(30):
        owner.step({PREDICTIONS: 5, EXAMPLES: 5, WINDOWS: 5})
    [judged] = world.judges
    assert isinstance(judged, Counts)
    assert len(judged.seen) == len(world.windows())
    assert world.by_place() == calm(60).by_place()


def test_the_state_of_the_last_window_goes_on_in_the_next_one_after_a_start() -> None:
    world = World(partitions=1)
    for _ in range(6):
        world.predict(20)
        world.work()
    labelled = [window for window in world.windows() if window.kind == "examples"]
    assert len(labelled) > 4
    assert labelled[-1].state.decode().split() == [f"e{number}" for number in range(1, 2 * labelled[-1].next_offset, 2)]


def test_while_the_last_window_is_not_to_be_seen_it_starts_again_and_without_it_for_good_it_says_so() -> None:
    world = calm(60)
    held = world.log.records[Partition(WINDOWS, 0)]
    last = max(at for at, record in enumerate(held) if b"/examples/" in (record.key or b""))
    gone = held[last]
    held[last] = gone._replace(value=None)
    with pytest.raises(Doubt, match="does not show the window from"):
        world.loop()
    for at, record in enumerate(held):
        held[at] = record._replace(value=None)
    world.loop()
    assert any("baselines begin anew" in line for line in world.said)


def test_other_rules_of_windows_after_a_restart_take_the_open_window_apart_and_nothing_twice() -> None:
    world = World(partitions=1)
    world.predict(5, every_ms=30)
    world.work()
    assert world.windows() == []
    world.rules = with_rules(events=2)
    world.predict(4, every_ms=30)
    world.work()
    predicted = world.by_place()[PREDICTIONS, 0]
    assert [(window.first_offset, window.next_offset) for window in predicted] == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_a_clock_of_the_broker_that_goes_back_closes_nothing() -> None:
    world = World(partitions=1)
    world.log.now = 10 * SPAN + 900
    world.predict(2, every_ms=20)
    world.log.now -= 5 * SPAN
    world.predict(2, every_ms=20)
    world.log.now += 7 * SPAN
    world.predict(1)
    world.work()
    [window] = [window for window in world.windows() if window.kind == "predictions"]
    assert (window.events, window.start) == (4, 10 * SPAN)


def test_a_new_monitor_begins_where_its_reference_begins() -> None:
    world = World(partitions=1)
    world.predict(60)
    monitor = world.monitor(first=lambda partitions: {Partition(PREDICTIONS, 0): 24, Partition(EXAMPLES, 0): 12})
    loop = SimulatedLoop(world.log, GROUP, monitor)
    while not loop.idle():
        loop.step(ALL)
    first = {topic: windows[0].first_offset for (topic, _), windows in world.by_place().items()}
    assert first == {PREDICTIONS: 24, EXAMPLES: 12}


def test_of_a_restored_log_the_examples_that_are_in_windows_already_are_skipped() -> None:
    world = calm()
    before = world.by_place()
    world.log.places.clear()
    world.log.records[Partition(PREDICTIONS, 0)].clear()
    world.log.records[Partition(PREDICTIONS, 1)].clear()
    seen = len(world.alerts())
    world.predict(40)
    count = itertools.count(1)
    world.work(lambda at: at == "committed" and next(count) == 2)
    whole(world.by_place()[EXAMPLES, 0])
    assert world.by_place()[EXAMPLES, 0][: len(before[EXAMPLES, 0])] == before[EXAMPLES, 0]
    later = [window for window in world.windows() if window not in [each for some in before.values() for each in some]]
    assert len(world.alerts()) - seen == sum(window.start // SPAN % 3 == 0 for window in later), "history is not judged"


# --- topics --------------------------------------------------------------------------------------------


def test_partitions_that_are_added_are_read_from_their_beginning() -> None:
    world = World(partitions=1)
    world.predict(30)
    world.work()
    world.log.grow(PREDICTIONS)
    world.partitions = 2
    world.predict(60)
    world.work()
    assert world.by_place()[PREDICTIONS, 1][0].first_offset == 0
    for windows in world.by_place().values():
        whole(windows)


def test_a_topic_that_was_made_again_is_refused_until_somebody_says_to_go_on() -> None:
    world = calm(60)
    world.log.recreate(PREDICTIONS, with_places=False)
    world.predict(60)
    with pytest.raises(LogRefused, match="another topic than the one that the monitor read"):
        world.loop()
    world.new_epoch = True
    world.work()
    later = world.by_place()[PREDICTIONS, 0]
    assert later[-1].next_offset > 20
    assert [window.first_offset for window in later].count(0) == 2


def test_profiles_that_were_made_again_are_no_history() -> None:
    world = calm(60)
    world.log.recreate(WINDOWS, with_places=False)
    world.new_epoch = True
    world.predict(60)
    world.work()
    for windows in world.by_place().values():
        whole(windows)
    judged = world.judges[-1]
    assert isinstance(judged, Counts)
    assert judged.seen == [window.key for window in world.windows()]


def test_what_is_no_window_on_the_profiles_topic_is_passed_over_and_counted() -> None:
    world = World()
    world.log.append(Output(WINDOWS, 0, b"x", b"nonsense"))
    world.log.append(Output(WINDOWS, 0, b"x", None))
    world.predict(60)
    world.work()
    assert world.note(WINDOWS).unreadable == 1
    assert world.said == [f"{WINDOWS} offset 0 is not judged: {world.said[0].partition(': ')[2]}"]
    judged = world.judges[-1]
    assert isinstance(judged, Counts)
    assert len(judged.seen) == len(world.log.read(WINDOWS)) - 2


def test_what_the_judging_remembers_and_finds_is_beside_the_offset() -> None:
    world = calm()
    note = world.note(WINDOWS)
    assert int(note.judged) == note.finding == len(world.alerts()) > 0
    assert note.findings[0] == "alert 0"
    assert NAMES.topic("alerts") not in world.monitor().topics
