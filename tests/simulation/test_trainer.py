"""The trainer: each job ends once, whatever ends its process, and its versions are announced with that end."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from simulation.log import FencedOff
from simulation.training import ALERTS, DAY, GROUP, HOUR, JOBS, MINUTE, NAMES, World

from consumers.loop.log_faults import LogRefused
from consumers.trainer.rules import BatchRules
from consumers.trainer.training_messages import TrainingFailed
from consumers.trainer.trainings import InForce, Lost
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.jobs import ENDED, Claim, Job, JobState
from schemas.model_updates import Promoted, Published

PLACES = ("polled", "processed", "before the commit", "between the log's commit and the local one", "committed")


def epochs(world: World, kind: str = "decisions") -> list[tuple[str, int]]:
    return [(each.model, each.epoch) for each in world.decisions(kind) if isinstance(each, Published)]


def dies(call: int, every: int) -> bool:
    return call % every == 0 and call < 100


def test_a_job_is_claimed_trained_and_announced_with_its_end() -> None:
    world = World()
    world.ask("a")
    world.work()
    assert world.told("a") == [("running", 1), ("done", 1)]
    assert world.detail("a") == {
        "table": [],
        "version": "gbdt:1/100",
        "why": "its loss is lower",
        "deployed": "a challenger",
    }
    assert epochs(world) == epochs(world, "models") == [("s.gbdt", 1)]
    assert [each.state for each in world.states("a")].count("progress") == 2
    told = world.metadata()
    assert (told.trained, told.failed, told.attempts, told.working, told.waiting) == (1, 0, 1, None, 0)
    assert told.models == ["gbdt", "text"]


def test_jobs_are_done_one_after_the_other_and_asked_twice_is_one_job() -> None:
    world = World()
    for job, model in (("a", "gbdt"), ("b", "text"), ("a", "text"), ("c", "gbdt"), ("b", "text")):
        world.ask(job, model)
    world.work()
    assert [job for job, _, _ in world.trainings.begun] == ["a", "b", "c"]
    assert epochs(world) == [("s.gbdt", 1), ("s.text", 1), ("s.gbdt", 2)]


@pytest.mark.parametrize("place", [*PLACES, "recovering"])
def test_killed_anywhere_each_job_ends_once_and_attempts_are_counted(place: str) -> None:
    for every in (2, 3, 5, 7, 11):
        world, count = World(), itertools.count(1)
        world.ask("a")
        world.ask("b", "text")
        world.ask("c")
        world.alert("monitor.drift")
        world.work(lambda at, every=every, count=count: at == place and dies(next(count), every))  # type: ignore[misc]
        for job in "abc":
            told = world.told(job)
            assert [state for state, _ in told if state in ENDED] == [told[-1][0]], (every, told)
            assert list(told[:-1]) == [("running", number) for number in range(1, len(told))]
            assert len(told) <= 4
            failed = told[-1][0] == "failed"
            assert not failed or len(told) == 4
            claims = {each.detail for each in world.states(job) if each.state == "running"}
            assert len(claims) == 1, "all attempts train on the same"
        done = [each for each in world.states() if each.state == "done"]
        assert len(epochs(world)) == len({*epochs(world)}) == len(done)
        assert epochs(world) == epochs(world, "models")
        told = world.metadata()
        assert (told.trained, told.trained + told.failed) == (len(done), 3)


def test_after_three_attempts_that_were_killed_it_has_failed_with_an_alert() -> None:
    world = World()
    world.ask("a")
    for attempt in (1, 2, 3):
        world.turn(world.loop(), 3)
        assert world.told("a")[-1] == ("running", attempt)
    world.ask("b")
    world.work()
    assert world.told("a")[-1] == ("failed", 3)
    assert world.detail("a") == {"why": "3 attempts have ended without a result, the last one of trainer-3"}
    assert world.told("b") == [("running", 1), ("done", 1)]
    assert world.alerts() == [("trainer.failed.gbdt", "raised"), ("trainer.failed.gbdt", "cleared")]
    assert epochs(world) == [("s.gbdt", 2)]


def test_a_child_that_dies_is_another_attempt_and_a_training_that_says_no_is_not() -> None:
    world = World()
    world.trainings.endings = [Lost("killed by signal 9"), Lost("again"), Lost("and again"), TrainingFailed("no data")]
    world.ask("a")
    world.ask("b", "text")
    world.work()
    assert world.told("a") == [("running", 1), ("running", 2), ("running", 3), ("failed", 3)]
    assert world.detail("a") == {"why": "3 attempts have ended without a result, the last one: and again"}
    assert world.told("b") == [("running", 1), ("failed", 1)]
    assert world.detail("b") == {"why": "no data"}
    assert world.alerts() == [("trainer.failed.gbdt", "raised"), ("trainer.failed.text", "raised")]


def test_an_orderly_end_costs_no_attempt_and_the_next_one_goes_on_with_the_same() -> None:
    world = World()
    world.trainings.turns = 50
    world.ask("a")
    for _ in range(5):
        loop = world.loop()
        world.turn(loop, 3)
        loop.end()
    world.trainings.turns = 2
    world.work()
    assert world.told("a") == [*(("running", number) for number in range(1, 7)), ("done", 6)]
    assert all(run.ended for run in world.trainings.runs[:5])
    assert len({claim for _, _, claim in world.trainings.begun}) == 1


def test_of_two_trainers_one_works_and_a_zombie_changes_nothing() -> None:
    world = World()
    world.ask("a")
    first = world.loop()
    world.turn(first, 3)
    waiting = world.loop(share=[])
    world.turn(waiting, 2)
    assert "waiting: another trainer works" in world.said
    world.work()
    with pytest.raises(FencedOff):
        world.turn(first, 4)
    assert world.told("a") == [("running", 1), ("running", 2), ("done", 2)]
    assert epochs(world) == [("s.gbdt", 1)]


def test_a_training_goes_on_over_a_rebalance_that_leaves_the_topic_here_and_ends_where_it_does_not() -> None:
    world = World()
    world.trainings.turns = 5
    world.ask("a")
    loop = world.loop()
    world.turn(loop, 3)
    loop.settle()
    world.turn(loop, 8)
    assert world.told("a") == [("running", 1), ("done", 1)]
    world.ask("b")
    world.turn(loop, 3)
    loop.settle([])
    assert world.trainings.runs[-1].ended


def test_a_result_whose_commit_a_rebalance_has_prevented_is_written_after_it() -> None:
    world = World()
    world.ask("a")
    loop = world.loop()
    trainer: Any = loop._processor
    world.turn(loop, 3)
    while not trainer._current.ending:
        world.log.now += 1_000
        trainer.tick(world.log.now)  # what the turn would have sent is dropped
    loop.settle()
    world.turn(loop, 3)
    assert world.told("a") == [("running", 1), ("done", 1)]
    assert epochs(world) == [("s.gbdt", 1)]


def test_nothing_is_decided_before_the_last_own_record_is_visible() -> None:
    world = World()
    world.ask("a")
    world.work()
    held = world.log.records[Partition(JOBS, 0)]
    hidden = [held.pop() for _ in range(2)]  # an open transaction of another writer is before them
    at = GROUP, Partition(JOBS, 0)
    world.log.places[at] = CommittedOffset(len(held), world.log.places[at].metadata)
    loop = world.loop()
    world.turn(loop, 5)
    assert len(world.trainings.begun) == 1
    held.extend(reversed(hidden))
    world.turn(loop, 5)
    assert world.told("a") == [("running", 1), ("done", 1)]


# --- cancelled, too long, not to be trained -----------------------------------------------------------


def test_a_job_is_cancelled_while_it_waits_and_while_it_is_trained_but_not_after_its_end() -> None:
    world = World()
    world.trainings.turns = 20
    world.ask("a")
    world.ask("b")
    loop = world.loop()
    world.turn(loop, 3)
    world.cancel("b")
    world.turn(loop, 2)
    assert world.told("b") == [("cancel", 0), ("cancelled", 0)]
    world.cancel("a")
    world.turn(loop, 2)
    assert world.told("a") == [("running", 1), ("cancel", 0), ("cancelled", 1)]
    assert world.trainings.runs[0].ended
    assert world.detail("a") == {"why": "not now", "by": "ann"}
    world.cancel("a")
    world.cancel("nobody asked for this")
    world.turn(loop, 3)
    assert world.told("a")[-1] == ("cancel", 0)
    assert world.metadata().cancelled == 2
    assert world.decisions() == []
    assert world.alerts() == []


@pytest.mark.parametrize("place", PLACES)
def test_a_wish_to_cancel_is_not_forgotten_by_a_kill(place: str) -> None:
    world, count = World(), itertools.count(1)
    world.trainings.turns = 50
    world.ask("a")
    world.turn(world.loop(), 3)
    world.cancel("a")
    world.work(lambda at: at == place and next(count) <= 2)
    assert world.told("a")[-1][0] == "cancelled"
    assert [state for state, _ in world.told("a")].count("cancelled") == 1


def test_a_training_that_takes_too_long_is_ended_and_has_failed() -> None:
    world = World(rules={"gbdt": BatchRules("gbdt", longest_ms=MINUTE)})
    world.trainings.turns = 1000
    world.ask("a")
    loop = world.loop()
    world.turn(loop, 70)
    assert world.told("a") == [("running", 1), ("failed", 1)]
    assert world.detail("a")["why"] == "it has taken longer than longest=1 min, and was ended"
    assert world.trainings.runs[0].ended
    progress = [each for each in world.states("a") if each.state == "progress"]
    assert 40 < len(progress) <= 60


def test_progress_is_told_more_seldom_the_longer_it_takes() -> None:
    world = World()
    world.trainings.turns = 1800
    world.ask("a")
    world.turn(world.loop(), 1800)
    assert 60 < len(world.states("a")) < 300
    assert world.metadata().working is not None


def test_what_cannot_be_trained_fails_and_others_go_on() -> None:
    world = World()
    world.ask("a", "forest")
    world.ask("b", "x" * 300)
    world.ask("c" * 200)
    world.log.append(Output(JOBS, 0, b"a", b"no record"))
    world.add(JobState("d", "gbdt", "running", 1, "a stranger", 0, "no json"))
    world.trainings.examples = 0
    world.ask("d")
    world.add(JobState("d", "gbdt", "running", 1, "a stranger", 0, "no json"))
    world.work()
    assert world.told("a") == [("failed", 0)]
    assert world.detail("a") == {"why": "the stream has no batch model of this name"}
    assert world.told("d")[-1] == ("failed", 0)
    assert world.detail("d") == {"why": "the log has no examples in this range"}
    assert world.alerts() == [("trainer.failed.gbdt", "raised")]


# --- schedule and alerts ------------------------------------------------------------------------------


def daily(**more: Any) -> World:
    world = World(rules={"gbdt": BatchRules("gbdt", every_ms=DAY, at_ms=2 * HOUR, **more)})
    world.log.now = 20_000 * DAY + 3 * HOUR
    return world


def test_a_new_trainer_waits_for_its_first_slot_and_each_slot_is_one_job() -> None:
    world = daily()
    loop = world.loop()
    world.turn(loop, 3)
    assert world.jobs() == []
    for day in (1, 2):
        world.log.now = (20_000 + day) * DAY + 2 * HOUR - 500
        world.turn(loop, 8)
        loop = world.loop()
        world.turn(loop, 8)
    assert [(each.id, each.by) for each in world.jobs()] == [
        ("gbdt.2024-10-05T02:00:00Z", "schedule"),
        ("gbdt.2024-10-06T02:00:00Z", "schedule"),
    ]
    assert [each.state for each in world.known()] == ["done", "done"]


def test_of_missed_slots_only_the_last_runs_also_while_one_is_trained() -> None:
    world = daily()
    world.turn(world.loop(), 2)
    world.log.now += 9 * DAY
    world.trainings.turns = 5
    loop = world.loop()
    world.turn(loop, 3)
    world.log.now += 3 * HOUR
    world.rules["gbdt"] = BatchRules("gbdt", every_ms=HOUR, longest_ms=DAY)
    world.turn(loop, 20)
    assert [each.id for each in world.jobs()] == ["gbdt.2024-10-13T02:00:00Z", "gbdt.2024-10-13T06:00:00Z"]


@pytest.mark.parametrize("place", PLACES)
def test_a_slot_is_asked_for_once_wherever_it_is_killed(place: str) -> None:
    world, count = daily(), itertools.count(1)
    world.turn(world.loop(), 2)
    world.log.now += DAY
    world.work(lambda at: at == place and next(count) <= 2)
    world.work()
    assert [each.id for each in world.jobs()] == ["gbdt.2024-10-05T02:00:00Z"]


def test_an_alert_asks_for_a_job_when_it_is_raised_but_not_more_often_than_it_may() -> None:
    world = World(rules={"gbdt": BatchRules("gbdt", retrain_on=("monitor.drift", "monitor.f1"))})
    world.alert("monitor.drift")
    world.alert("monitor.drift", "cleared")
    loop = world.loop()
    world.turn(loop, 2)
    assert world.jobs() == []  # what was raised before the first trainer asks for nothing
    world.alert("monitor.drift")
    world.alert("monitor.drift")  # it says more
    world.alert("monitor.f1")
    world.alert("monitor.other")
    world.turn(loop, 10)
    assert [(each.id.rpartition("-")[2], each.by, each.why) for each in world.jobs()] == [
        ("2", "monitor.drift", "monitor.drift is raised")
    ]
    assert any("monitor.f1 asks for no job of gbdt" in line for line in world.said)
    world.log.now += HOUR
    world.alert("monitor.f1", "cleared")
    world.alert("monitor.f1")
    world.turn(loop, 10)
    assert [each.by for each in world.jobs()] == ["monitor.drift", "monitor.f1"]
    assert [each.state for each in world.known()] == ["done", "done"]


@pytest.mark.parametrize("place", PLACES)
def test_an_alert_asks_once_wherever_the_trainer_is_killed(place: str) -> None:
    world, count = World(rules={"gbdt": BatchRules("gbdt", retrain_on=("monitor.drift",))}), itertools.count(1)
    world.turn(world.loop(), 2)
    world.alert("monitor.drift")
    world.work(lambda at: at == place and next(count) <= 2)
    world.work()
    assert len(world.jobs()) == 1
    assert len(epochs(world)) == 1


# --- what becomes of a version ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deploy", "better", "serving", "announced", "promoted", "words"),
    [
        ("shadow", True, InForce("s"), 1, 0, "a challenger"),
        ("shadow", None, InForce("s"), 1, 0, "a challenger"),
        ("by-hand", True, InForce("s"), 1, 0, "announced: `millstream models pin s gbdt:1/100` serves it"),
        ("if-better", True, InForce("s", "ab"), 1, 1, "it is better, and serves instead of main"),
        ("if-better", False, InForce("s"), 1, 0, "a challenger: it is not better"),
        ("if-better", None, InForce("s"), 1, 0, "a challenger: it could not be compared with what serves"),
        ("if-better", True, InForce("s", "ab", pinned=True), 1, 0, "but a version is pinned"),
        ("shadow", True, InForce("s.gbdt"), 1, 0, "it serves now"),
        ("shadow", False, InForce("s.gbdt"), 0, 0, "kept, not announced: it is not better, and its model serves"),
        ("if-better", None, InForce("s.gbdt"), 0, 0, "kept, not announced: it could not be compared"),
        ("if-better", False, InForce("s.gbdt", "ab", pinned=True), 1, 0, "a challenger: it is not better"),
    ],
)
def test_a_version_is_announced_or_serves_only_as_its_model_allows(
    deploy: Any, better: bool | None, serving: InForce, announced: int, promoted: int, words: str
) -> None:
    world = World(rules={"gbdt": BatchRules("gbdt", deploy=deploy)}, serving=serving)
    world.trainings.better = better
    world.ask("a")
    world.work()
    assert world.told("a")[-1] == ("done", 1)
    assert words in world.detail("a")["deployed"]
    assert len(epochs(world)) == announced
    decisions = [each for each in world.decisions() if isinstance(each, Promoted)]
    assert len(decisions) == promoted
    assert world.decisions("models") == world.decisions()
    for each in decisions:
        assert (each.model, each.by, each.before, each.follows) == ("s.gbdt", "rule", "s", "ab")
        assert each.evidence == {"mean": 0.1}


def test_an_end_that_no_record_could_hold_refers_to_the_version() -> None:
    world = World()
    table = [{"parameters": {"x": number}, "score": 0.5} for number in range(40_000)]
    trained = world.trainings._version(Job("a", "gbdt", "", "ann", 1), Claim(1, "log", 0, 100))
    world.trainings.endings = [replace(trained, detail={"table": table, "examples": 100})]
    world.ask("a")
    world.work()
    told = world.detail("a")
    assert told["table"] == "too large: `millstream models show STREAM gbdt:1/100` has it"
    assert told["examples"] == 100


# --- another topic ------------------------------------------------------------------------------------


def test_a_topic_made_again_is_refused_until_the_operator_decides_and_old_jobs_are_given_up() -> None:
    world = World()
    world.ask("a")
    world.work()
    world.log.recreate(JOBS, with_places=False)
    world.ask("b")
    with pytest.raises(LogRefused):
        world.work()
    world.new_epoch = True
    loop = world.loop()
    world.turn(loop, 3)
    assert world.told("b") == [("cancelled", 0)]
    world.new_epoch = False
    world.ask("c")
    world.work()
    assert world.told("c") == [("running", 1), ("done", 1)]


def test_a_new_group_goes_on_with_the_jobs_that_the_topic_holds() -> None:
    world = World()
    world.ask("a")
    world.ask("b")
    world.turn(world.loop(), 3)
    world.log.places.clear()
    world.alert("monitor.drift")
    world.work()
    assert [world.told(job)[-1][0] for job in "ab"] == ["done", "done"]
    assert (GROUP, Partition(ALERTS, 0)) in world.log.places
    assert NAMES.batch == ("gbdt", "text")
