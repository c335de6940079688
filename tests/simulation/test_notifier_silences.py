"""What a silence or an acknowledgement holds back, and what is delivered when it ends."""

from __future__ import annotations

import itertools

import pytest
from receiver import receiving
from simulation.log import Crash
from simulation.notifier_world import MINUTE, World, ids, target, told

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
