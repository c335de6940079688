"""What a silence or an acknowledgement holds back, and what is delivered when it ends."""

from __future__ import annotations

import itertools

import pytest
from receiver import Receiver, answering, receiving
from simulation.log import Crash
from simulation.notifier_world import MINUTE, TOPIC, World, ids, target, told

from consumers.notifier import courier


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a failed target a hundredth of the time."""
    monkeypatch.setattr(courier, "_FIRST_WAIT_S", 0.01)


def test_a_silenced_alert_is_delivered_when_the_silence_ends_if_it_is_still_raised() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        for name in ("monitor.a", "monitor.b"):
            world.note(name, "silence", minutes=120)
            world.alert(name)
        world.alert("monitor.a", "cleared")
        world.alert("monitor.c")
        world.settle()
        assert told(ops.requests) == [("monitor.c", "raised")]
        world.restart()
        world.log.now += 119 * MINUTE
        world.settle()
        assert len(ops.requests) == 1
        world.log.now += 2 * MINUTE
        world.settle()
        world.work(lambda: len(ops.requests) == 2 and not world.metadata().withheld)
        world.restart()
        world.alert("monitor.b", "cleared")
        world.settle()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.c", "raised"), ("monitor.b", "raised"), ("monitor.b", "cleared")]


def test_a_kill_while_a_withheld_alert_is_on_its_way_loses_neither_it_nor_its_end() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.note("monitor.a", "silence", minutes=1)
        world.alert("monitor.a")
        world.settle()
        world.log.now += 2 * MINUTE
        world.loop._crash = lambda place: place == "before the commit" and bool(ops.wait(1))
        with pytest.raises(Crash):
            world.work()
        world.restart()
        world.alert("monitor.a", "cleared")
        world.settle()
        world.notifier.close()
    assert [name for name, _ in itertools.groupby(told(ops.requests))] == [
        ("monitor.a", "raised"),
        ("monitor.a", "cleared"),
    ]
    assert len({*ids(ops.requests)}) == 2


def test_the_end_of_a_silence_by_hand_delivers_at_once_and_a_clear_is_told_to_who_knew() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.alert("monitor.a")
        world.note("monitor.a", "silence", minutes=60)
        world.note("monitor.b", "silence", minutes=60)
        world.alert("monitor.b")
        world.alert("monitor.a", text="more findings")
        world.note("monitor.b", "unsilence")
        world.alert("monitor.a", "cleared")
        world.settle()
        ops.wait(3)
        world.notifier.close()
    assert sorted(told(ops.requests)) == [("monitor.a", "cleared"), ("monitor.a", "raised"), ("monitor.b", "raised")]


def test_of_an_acknowledged_alert_only_its_end_is_told() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.note("monitor.a", "ack")  # of nothing: it has no effect
        world.alert("monitor.a")
        world.alert("monitor.a", text="more")
        world.note("monitor.a", "ack")
        world.alert("monitor.a", text="still more")
        world.alert("monitor.a", "cleared")
        world.alert("monitor.a", text="again")
        world.settle()
        world.notifier.close()
    texts = [each.json["data"]["message"] for each in ops.requests]
    assert texts == ["monitor.a", "more", "monitor.a", "again"]


def hold_back_beyond(world: World, dead: Receiver) -> None:
    """Raise an alert for the dead target, and another one during its silence: it is beyond the committed place."""
    world.work()
    world.alert("monitor.x", notify="dead")
    world.note("monitor.a", "silence", minutes=60)
    world.alert("monitor.a")
    world.work(lambda: world.metadata().withheld == {"monitor.a": 2} and dead.requests)


def test_what_is_held_back_beyond_the_place_of_a_dead_target_outlives_a_silence_that_ends_in_a_stop() -> None:
    with receiving(answering(500)) as dead, receiving() as ops:
        world = World(target(ops), target(dead, "dead"))
        hold_back_beyond(world, dead)
        world.restart()  # it reads them again, and stops before that is all
        assert world.metadata().withheld == {"monitor.a": 2}
        assert world.at() == 0
        world.log.now += 61 * MINUTE
        world.restart()
        world.work(lambda: ops.requests)
        world.work(lambda: not world.metadata().withheld)
        world.restart()
        world.work()
        world.alert("monitor.b")
        world.work(lambda: len(ops.requests) == 2)
        world.notifier.close()
    assert told(ops.requests) == [("monitor.a", "raised"), ("monitor.b", "raised")]


def test_the_newest_finding_of_it_is_delivered_also_after_two_stops() -> None:
    with receiving(answering(500)) as dead, receiving() as ops:
        world = World(target(ops), target(dead, "dead"))
        world.work()
        world.alert("monitor.x", notify="dead")
        world.note("monitor.a", "silence", minutes=60)
        world.alert("monitor.a")
        world.alert("monitor.a", text="more")
        world.work(lambda: world.metadata().withheld == {"monitor.a": 3} and dead.requests)
        world.restart()
        world.loop.step({TOPIC: 3})
        assert world.metadata().withheld == {"monitor.a": 3}, "its record is not read again yet"
        world.log.now += 61 * MINUTE
        world.restart()
        world.work(lambda: ops.requests)
        world.notifier.close()
    assert [each.json["data"]["message"] for each in ops.requests] == ["more"]


def test_what_is_held_back_and_has_cleared_is_not_told_after_a_stop() -> None:
    with receiving(answering(500)) as dead, receiving() as ops:
        world = World(target(ops), target(dead, "dead"))
        hold_back_beyond(world, dead)
        world.notifier.close()
        world.alert("monitor.a", "cleared")
        world.alert("monitor.b")
        world.log.now += 61 * MINUTE
        world.restart()
        # Read three at a time, it is released before its end is read; all at once, it is not.
        world.loop.step({TOPIC: 5})
        world.work(lambda: ops.requests)
        world.notifier.close()
    assert told(ops.requests) == [("monitor.b", "raised")]


@pytest.mark.parametrize("stops", [False, True])
def test_what_is_acknowledged_in_its_silence_is_told_of_again_only_when_it_clears(stops: bool) -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.note("monitor.a", "silence", minutes=60)
        world.alert("monitor.a")
        world.settle()
        world.note("monitor.a", "ack")
        world.settle()
        if stops:
            world.restart()
        world.log.now += 61 * MINUTE
        world.settle()
        world.alert("monitor.b")
        world.alert("monitor.a", "cleared")
        world.settle()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.b", "raised"), ("monitor.a", "cleared")]


def test_changes_of_what_was_delivered_before_its_silence_are_not_delivered() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.alert("monitor.a")
        world.note("monitor.a", "silence", minutes=60)
        world.alert("monitor.a", text="more")
        world.settle()
        world.log.now += 61 * MINUTE
        world.settle()
        world.notifier.close()
    assert [each.json["data"]["message"] for each in ops.requests] == ["monitor.a"]
