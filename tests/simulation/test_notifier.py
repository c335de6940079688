"""Delivery of alerts: in order, at least once with the same id, each target at its own place."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from receiver import answering, receiving
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.notifier_world import NAMES, TOPIC, World, ids, target, told

from consumers.notifier import courier
from consumers.notifier.courier import Courier
from consumers.notifier.notifier import Notifier, NotifierSettings
from consumers.notifier.target import Target

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a failed target a hundredth of the time."""
    monkeypatch.setattr(courier, "_FIRST_WAIT_S", 0.01)


def test_alerts_go_in_order_to_the_targets_that_their_rules_name() -> None:
    with receiving() as ops, receiving() as every, receiving() as other:
        world = World(target(ops), target(every, "every", everything=True), target(other, "other"))
        world.work()
        world.alert("monitor.a")
        world.alert("learner.memory", notify="")
        world.alert("monitor.b", notify="other ops")
        world.alert("monitor.a", "cleared")
        world.settle()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.a", "raised"), ("monitor.b", "raised"), ("monitor.a", "cleared")]
    assert told(other.requests) == [("monitor.b", "raised")]
    assert told(every.requests) == [
        ("monitor.a", "raised"),
        ("learner.memory", "raised"),
        ("monitor.b", "raised"),
        ("monitor.a", "cleared"),
    ]
    assert len({*ids(ops.requests)}) == 3


def test_a_new_notifier_does_not_tell_of_the_past() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.notifier.close()
        world = World.__new__(World)
        world.log, world.targets, world.said = MemoryLog({TOPIC: 1}), (target(ops),), []
        world.alert("monitor.old")
        world.notifier, world.loop = world._start()
        world.work()
        world.alert("monitor.new")
        world.alert("monitor.old", "cleared")
        world.settle()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.new", "raised"), ("monitor.old", "cleared")]


def test_a_dead_target_holds_up_no_other_and_is_an_alert_that_it_does_not_get() -> None:
    with receiving(answering(500)) as dead, receiving() as fine:
        world = World(target(dead, "dead", everything=True), target(fine, "fine", everything=True))
        world.work()
        for number in range(5):
            world.alert(f"monitor.a{number}")
        world.work(world.raised)
        assert world.raised() == [("notifier.target.dead", "raised")]
        world.work(lambda: len(fine.requests) == 6)
        assert ids(dead.requests[:3]) == [ids(dead.requests)[0]] * 3
        assert world.at() == 0
        dead.behaviour = answering(200)
        world.work(lambda: len(world.raised()) == 2)
        world.settle()
        world.notifier.close()
    assert world.raised() == [("notifier.target.dead", "raised"), ("notifier.target.dead", "cleared")]
    delivered = [name for name, _ in itertools.groupby(told(dead.requests))]
    assert delivered == [(f"monitor.a{number}", "raised") for number in range(5)]
    assert told(fine.requests) == [
        *delivered,
        ("notifier.target.dead", "raised"),
        ("notifier.target.dead", "cleared"),
    ]


def test_a_kill_after_a_delivery_that_was_not_committed_repeats_it_with_the_same_id() -> None:
    with receiving() as ops:
        world = World(target(ops))
        world.work()
        world.alert("monitor.a")
        world.alert("monitor.b")
        dies = iter([False, True])
        world.loop._crash = lambda place: place == "before the commit" and next(dies, False)
        with pytest.raises(Crash):
            world.work(lambda: ops.wait(2) and False)
        world.restart()
        world.settle()
        world.restart()
        world.alert("monitor.c")
        world.settle()
        world.notifier.close()
    assert {*told(ops.requests)} == {(f"monitor.{each}", "raised") for each in "abc"}
    by_id = dict(zip(ids(ops.requests), told(ops.requests), strict=True))
    assert len(by_id) == 3
    assert told(ops.requests)[-1] == ("monitor.c", "raised")
    assert told(ops.requests).count(("monitor.c", "raised")) == 1


def test_a_new_target_begins_with_what_comes_even_beside_a_dead_one() -> None:
    with receiving(answering(500)) as dead, receiving() as new:
        world = World(target(dead))
        world.work()
        world.alert("monitor.a")
        world.work(lambda: dead.requests)
        world.restart(target(dead), target(new, "new", everything=True))
        world.work()
        world.alert("monitor.b", notify="ops new")
        world.work(lambda: ("monitor.b", "raised") in told(new.requests))
        world.restart()
        world.alert("monitor.c", notify="ops new")
        world.work(lambda: ("monitor.c", "raised") in told(new.requests))
        world.notifier.close()
    names = [name for name, _ in told(new.requests) if name.startswith("monitor")]
    assert [name for name, _ in itertools.groupby(names)] == ["monitor.b", "monitor.c"]
    assert world.at() == 0


def test_a_content_that_is_refused_is_given_up_and_the_next_is_delivered() -> None:
    with receiving(answering(400)) as ops:
        world = World(target(ops))
        world.work()
        world.alert("monitor.a")
        world.work(lambda: len(ops.requests) == 5)
        ops.behaviour = answering(204)
        world.alert("monitor.b")
        world.settle()
        [note] = world.metadata().targets.values()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.a", "raised")] * 5 + [("monitor.b", "raised")]
    assert (note.delivered, note.lost, note.failing_since) == (1, 1, 0)


def test_what_fails_for_three_days_is_given_up_also_over_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(answering(500)) as ops:
        world = World(target(ops))
        world.work()
        world.alert("monitor.a")
        world.work(lambda: world.metadata().targets["ops"].failing_since)
        monkeypatch.setattr(courier, "GIVEN_UP_AFTER_MS", 0)
        world.restart()
        world.work(lambda: world.metadata().targets["ops"].lost == 1)
        world.notifier.close()
    assert world.at() >= 1


@pytest.mark.parametrize(("age_ms", "lost"), [(0, 0), (-DAY_MS * 400, 0), (2 * DAY_MS, 0), (4 * DAY_MS, 1)])
def test_an_alert_of_a_target_that_has_failed_for_long_has_its_own_three_days(age_ms: int, lost: int) -> None:
    with receiving(answering(500)) as ops:
        world = World(target(ops))
        world.notifier._make = lambda each, stream, _: Courier(each, stream, now_ms() - 5 * DAY_MS)
        world.loop.settle()
        world.log.now = now_ms() - age_ms
        world.alert("monitor.a")
        world.work(lambda: len(ops.requests) >= 3 or world.metadata().targets["ops"].lost)
        assert world.metadata().targets["ops"].lost == lost
        world.notifier.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_function_that_fails_loses_its_alert_only() -> None:
    def broken(alert: Any) -> Any:
        if alert["name"] == "monitor.a":
            raise ValueError("with a value of an event in it")
        return {"text": alert["name"]}

    with receiving() as ops:
        world = World(target(ops, body=broken))
        world.work()
        world.alert("monitor.a")
        world.alert("monitor.b")
        world.work(lambda: ops.requests)
        world.settle()
        world.notifier.close()
    assert [each.json for each in ops.requests] == [{"text": "monitor.b"}]
    assert not any("value of an event" in line for line in world.said)


def test_a_target_without_its_secret_is_an_alert_for_the_others() -> None:
    with receiving() as fine:
        problem = "the environment variable KEY is not set"
        world = World(Target("ops", "webhook", "", problem=problem), target(fine, "fine", everything=True))
        world.work()
        world.alert("monitor.a")
        world.work(lambda: len(fine.requests) == 2)
        world.notifier.close()
    message = fine.requests[1].json["data"]["message"]
    assert message.startswith(f"alerts do not reach ops: {problem}; it is tried again")


# --- Alertmanager -------------------------------------------------------------------------------------------


def test_an_alertmanager_is_told_again_before_it_takes_an_alert_for_resolved() -> None:
    with receiving() as manager:
        world = World(target(manager, kind="alertmanager"))
        world.work()
        world.alert("monitor.a")
        world.note("monitor.b", "silence", minutes=1000)
        world.alert("monitor.b")
        world.settle()
        before = len(manager.requests)
        world.log.now += 30_000
        world.settle()
        assert len(manager.requests) == before
        for _ in range(3):
            world.log.now += 61_000
            world.settle()
        world.alert("monitor.a", "cleared")
        world.log.now += 61_000
        world.settle()
        world.notifier.close()
    names = [[each["labels"]["alertname"] for each in request.json] for request in manager.requests]
    assert names == [["monitor.a"]] * (before + 4)
    counted = world.metadata().targets["ops"]
    assert (counted.delivered, counted.accepted) == (2, before + 4), "a reminder is no alert"
    ends = [json.loads(each.body)[0]["endsAt"] for each in manager.requests]
    starts = {json.loads(each.body)[0]["startsAt"] for each in manager.requests}
    assert len(starts) == 1
    assert ends[-1] < ends[0]  # it has ended: the others say "in five minutes" of the real clock


def test_another_topic_of_the_same_name_is_refused_and_then_begun_at_its_end() -> None:
    from consumers.loop.log_faults import LogRefused

    with receiving() as ops:
        world = World(target(ops))
        world.alert("monitor.a")
        world.settle()
        world.notifier.close()
        world.log.recreate(TOPIC, with_places=False)
        world.alert("monitor.b")
        with pytest.raises(LogRefused):
            world._start()
        settings = NotifierSettings(NAMES, world.targets, new_epoch=True)
        world.notifier = Notifier(settings, lambda: world.log.now, world.said.append)
        world.loop = SimulatedLoop(world.log, NAMES.group("notifier"), world.notifier)
        world.work()
        world.alert("monitor.c")
        world.settle()
        world.notifier.close()
    assert told(ops.requests) == [("monitor.a", "raised"), ("monitor.c", "raised")]


def test_alerts_and_attempts_are_counted_by_target_over_restarts() -> None:
    with receiving() as ops, receiving(answering(400)) as bad:
        world = World(target(ops), target(bad, "bad"))
        for name in ("monitor.a", "monitor.b"):
            world.work()
            world.alert(name, notify="ops bad")
            world.settle()
            world.restart()
        world.work()
        counts = {
            name: (each.delivered, each.lost, each.accepted, each.failed)
            for name, each in world.metadata().targets.items()
        }
        world.notifier.close()
    assert counts == {"ops": (2, 0, 2, 0), "bad": (0, 2, 0, 10)}


def test_the_metadata_of_the_most_targets_and_silences_fits() -> None:
    names = [f"target-{number:02}-with-a-long-name-xyz" for number in range(16)]
    with receiving(answering(500)) as ops:
        world = World(*(target(ops, name) for name in names))
        for number in range(30):
            name = f"monitor.{number:055}"
            world.note(name, "silence", minutes=60)
            world.alert(name, notify=" ".join(names))
        world.alert("monitor.a", notify=" ".join(names))
        world.work(lambda: len(world.raised()) == 16)
        assert len(world.metadata().withheld) == 16
        world.notifier.close()
