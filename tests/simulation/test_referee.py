"""The referee: one decision by the rule, whatever ends its process, and a person's word above it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest
from simulation.log import Crash, FencedOff, SimulatedLoop
from simulation.refereeing import GROUP, MAIN, NAMES, RULE, B, C, World, comparison, cycle, encoded

from consumers.loop.log_faults import LogRefused
from consumers.referee.losses import LossRule
from consumers.referee.rule import GuardRule
from runtime.kafka_client.records import Output, Partition
from schemas.events import LabelValue
from schemas.model_updates import decision_hash
from schemas.target import Target
from schemas.topics import COMPARISONS

BETTER = {MAIN: 10, B: 4, C: 10}
TOPIC = NAMES.topic(COMPARISONS)
PLACES = ("polled", "processed", "before the commit", "between the log's commit and the local one", "committed")


def better(first: int = 0, last: int = 400, **changes: object) -> list:
    """Return events on which b is better than the model that serves, and c is equal."""
    return [comparison(number, cycle(number, BETTER), **changes) for number in range(first, last)]


def test_the_better_model_is_promoted_once_with_its_evidence_on_both_topics() -> None:
    world = World()
    world.add(*better())
    world.work()
    [decision] = world.decisions()
    assert world.decisions("models") == [decision]
    assert (decision.model, decision.by, decision.before, decision.follows) == (B, "rule", MAIN, "")
    assert decision.evidence["mean"] == pytest.approx(0.3, abs=0.02)
    assert decision.evidence["champion_loss"] - decision.evidence["challenger_loss"] == pytest.approx(
        decision.evidence["mean"]
    )
    assert 0 < decision.evidence["low"] < decision.evidence["mean"] < decision.evidence["high"]
    assert 50 <= decision.evidence["labels"] < 300
    assert world.known().serves(MAIN, 0) == B
    [alert] = world.alerts()
    assert (alert.name, alert.severity) == ("referee.promoted", "info")
    assert alert.message.startswith("b serves instead of main: its mean loss (error) over ")


def test_equal_models_stay_and_it_says_what_is_missing() -> None:
    world = World()
    world.add(*(comparison(number, cycle(number, {MAIN: 5, B: 5, C: 5})) for number in range(300)))
    world.work()
    assert world.decisions() == []
    told = world.metadata()
    assert [(each.model, each.mean, each.barred) for each in told.standings] == [("b", 0.0, False), ("c", 0.0, False)]
    assert all(each.labels > 140 and each.low is not None and each.low < 0 for each in told.standings)
    assert (told.champion, told.would, told.needed) == ("main", "", 50)


def test_a_crash_anywhere_changes_nothing_and_the_decision_is_made_once() -> None:
    calm = World()
    calm.add(*better())
    calm.work()
    expected, standings = calm.decisions(), calm.metadata().standings
    for place in (*PLACES, "recovering"):
        for every in (3, 11):
            world, count = World(), itertools.count(1)
            world.add(*better())
            world.work(lambda at, place=place, every=every, count=count: at == place and next(count) % every == 0)
            assert world.decisions() == expected, place
            assert world.decisions("models") == expected, place
            assert world.metadata().standings == standings, place


def test_of_two_referees_only_the_one_that_has_the_partition_decides() -> None:
    world = World()
    world.add(*better())
    first = SimulatedLoop(world.log, GROUP, world.referee())
    for _ in range(10):
        first.step({TOPIC: 7})
    waiting = SimulatedLoop(world.log, GROUP, world.referee(), share=[])
    waiting.step({TOPIC: 7})
    assert "waiting: another referee works" in world.said
    world.work()
    with pytest.raises(FencedOff):
        first.step({TOPIC: 400})
    assert len(world.decisions()) == len(world.decisions("models")) == 1


def test_it_knows_its_decision_before_the_models_topic_shows_it() -> None:
    world = World(lags=True)
    world.add(*better())
    world.add(*(comparison(number, cycle(number, BETTER), served=B) for number in range(400, 900)))
    world.work()
    assert [each.model for each in world.decisions()] == [B]
    assert world.metadata().champion == "b"


# --- persons ------------------------------------------------------------------------------------------


def test_a_person_who_decides_later_wins_and_a_new_contest_follows_that_decision() -> None:
    world = World()
    world.add(*better())
    world.work()
    world.decide(C)
    assert world.known().serves(MAIN, 0) == C
    world.add(*(comparison(number, cycle(number, BETTER), served=C) for number in range(400, 800)))
    world.work()
    [first, second] = world.decisions()
    [record] = [each for each in world.log.read(NAMES.topic("models")) if each.key == b"serving/0"]
    assert (second.model, second.before, second.follows) == (B, C, decision_hash(record.value or b""))
    assert first.follows == ""
    assert world.known().serves(MAIN, 0) == B


def test_what_a_person_has_rolled_back_is_not_promoted_again_before_it_has_a_newer_epoch() -> None:
    world = World()
    world.add(*better())
    world.work()
    world.decide(MAIN)
    world.add(*better(400, 800))
    world.work()
    assert [each.model for each in world.decisions()] == [B]
    assert world.metadata().barred == {"b": 1}
    world.add(*better(800, 1200, epochs={B: 2}))
    world.work()
    assert [each.model for each in world.decisions()] == [B, B]


def test_a_decision_at_the_same_time_as_a_persons_does_not_hold() -> None:
    world = World(lags=True)
    world.add(*better())
    world.decide(MAIN)
    held = world.log.records[Partition(NAMES.topic("models"), 0)]
    unseen = held.pop()
    loop = SimulatedLoop(world.log, GROUP, world.referee())  # it has read the topic without that decision
    held.append(unseen)
    while not loop.idle():
        loop.step({TOPIC: 7})
    assert [each.model for each in world.decisions()] == [B]
    assert world.known().serves(MAIN, 0) == MAIN


def test_while_a_version_is_pinned_it_only_says_what_it_would_do() -> None:
    world = World()
    world.decide(MAIN, epoch=1)
    world.add(*better())
    world.work()
    assert world.decisions() == []
    assert (world.metadata().would, world.metadata().pinned) == ("b", True)
    [alert] = world.alerts()
    assert alert.name == "referee.would-promote"
    assert "`millstream models promote s b`" in alert.message
    world.decide(MAIN)
    world.add(*better(400, 800))
    world.work()
    assert [each.model for each in world.decisions()] == [B]
    assert [each.state for each in world.alerts() if each.name == alert.name] == ["raised", "cleared"]


# --- what a contest is --------------------------------------------------------------------------------


@pytest.mark.parametrize("newer", [MAIN, B, C])
def test_a_contest_begins_anew_with_a_newer_epoch_of_any_model(newer: str) -> None:
    world = World(replace(RULE, labels=5000))
    world.add(*better(0, 200), *better(200, 500, epochs={newer: 2}))
    world.work()
    told = world.metadata()
    assert told.contest is not None
    assert told.contest.at == 200
    assert told.epochs == {**dict.fromkeys(("main", "b", "c"), 1), newer.removeprefix("s.").replace("s", "main"): 2}
    assert {each.labels for each in told.standings} == {249}  # of 300, those of the last half second wait


def test_events_of_an_older_epoch_that_are_labelled_later_do_not_count() -> None:
    world = World(replace(RULE, labels=5000))
    world.add(*better(200, 400, epochs={MAIN: 2}), *better(0, 200))
    world.work()
    assert {each.labels for each in world.metadata().standings} == {149}


def test_a_contest_begins_anew_after_its_length_and_goes_on_exactly_there_after_a_restart() -> None:
    rule = replace(RULE, labels=5000, contest_ms=2_000)
    calm = World(rule)
    calm.add(*better(0, 777))
    calm.work()
    told = calm.metadata()
    assert told.contest is not None
    assert told.contest.since % 2_000 == 0
    assert told.contest.since >= 2_000
    assert told.contest.read_from < told.contest.at
    restarted, count = World(rule), itertools.count(1)
    restarted.add(*better(0, 777))
    restarted.work(lambda place: place == "committed" and next(count) % 2 == 0)
    assert restarted.metadata() == told


def test_a_challenger_that_had_no_version_takes_no_part_and_a_failed_answer_costs_the_bound() -> None:
    world = World(replace(RULE, labels=5000))
    world.add(*(comparison(n, {MAIN: False, B: None, C: False}, failed=[C]) for n in range(100)))
    world.add(*(comparison(n, {MAIN: False, C: False}, served=MAIN) for n in range(100, 300)))
    world.work()
    b, c = world.metadata().standings
    assert (b.labels, b.epoch, b.mean) == (0, -1, None)
    assert c.labels > 150
    assert c.challenger_loss == pytest.approx(100 / c.labels, rel=1e-5)


def test_a_champion_that_has_learned_nothing_and_has_no_answer_loses_to_nobody() -> None:
    world = World(replace(RULE, labels=20))
    for number in range(200):
        found = comparison(number, {MAIN: True, B: False, C: False})
        outcome = msgspec.structs.replace(found.shadow.outcome, examples=0, prediction=None)
        world.add(msgspec.structs.replace(found, shadow=msgspec.structs.replace(found.shadow, outcome=outcome)))
    world.work()
    assert world.decisions() == []
    assert world.metadata().contest is None


def test_a_challenger_that_has_learned_nothing_and_has_no_answer_takes_no_part() -> None:
    world = World(replace(RULE, labels=5000))
    for number in range(200):
        found = comparison(number, {MAIN: False, B: False, C: False})
        b, c = found.shadow.challengers
        b = msgspec.structs.replace(b, examples=0, prediction=None if number < 50 else True)
        c = msgspec.structs.replace(c, examples=0 if number < 100 else 1, prediction=None)
        shadow = msgspec.structs.replace(found.shadow, challengers=[b, c])
        world.add(msgspec.structs.replace(found, shadow=shadow))
    world.work()
    b, c = world.metadata().standings
    # The last fifty of the 200 have not settled.
    assert (b.labels, b.challenger_loss) == (99, 0.0)
    assert (c.labels, c.challenger_loss) == (49, 1.0)


def test_events_that_another_model_answered_do_not_count() -> None:
    world = World()
    world.add(*(comparison(number, cycle(number, BETTER), served=C) for number in range(400)))
    world.work()
    assert world.decisions() == []
    assert world.metadata().contest is None


def test_a_changed_rule_begins_a_new_contest() -> None:
    world = World(replace(RULE, labels=5000))
    world.add(*better(0, 300))
    world.work()
    changed = World(replace(RULE, labels=50), log=world.log)
    changed.add(*better(300, 310))
    changed.work()
    assert changed.decisions() == []
    assert changed.metadata().contest is not None
    assert changed.metadata().contest.at == 300  # type: ignore[union-attr]


def test_no_epoch_of_a_rule_with_a_function_that_fails_goes_unnoticed() -> None:
    def broken(label: LabelValue, answer: object) -> float:
        raise ZeroDivisionError

    loss = LossRule(Target(task="binary"), "function", most=1.0, function=broken)
    world = World(replace(RULE, loss=loss))
    world.add(*better(0, 300))
    world.work()
    assert world.decisions() == []
    assert [each.name for each in world.alerts()] == ["referee.loss"]


def test_a_record_that_is_no_comparison_is_passed_over() -> None:
    world = World()
    world.add(*better(0, 5))
    world.log.append(Output(TOPIC, 0, b"", b"nothing"))
    world.log.append(Output(TOPIC, 0, b"", encoded(comparison(5, cycle(5, BETTER)))[:-3]))
    world.add(*better(6, 400))
    world.work()
    assert [each.model for each in world.decisions()] == [B]
    assert sum("does not count" in line for line in world.said) == 2


def test_a_topic_that_was_made_again_is_refused_until_somebody_says_so() -> None:
    world = World(replace(RULE, labels=5000))
    world.add(*better(0, 300))
    world.work()
    world.log.recreate(TOPIC, with_places=False)
    world.add(*better(300, 400))
    with pytest.raises(LogRefused, match="millstream referee"):
        world.work()
    world.new_epoch = True
    world.work()
    assert world.metadata().contest is not None
    assert world.metadata().contest.at == 0  # type: ignore[union-attr]


# --- the guard ----------------------------------------------------------------------------------------

TURNED = {MAIN: 4, B: 14, C: 4}


def promoted(rule=RULE) -> World:
    """Return a world in which b was promoted and serves the next events."""
    world = World(rule)
    world.add(*better())
    world.work()
    return world


def test_a_promoted_model_that_turns_bad_gives_serving_back_once() -> None:
    world = promoted()
    world.add(*(comparison(number, cycle(number, TURNED), served=B) for number in range(400, 800)))
    world.work()
    _, back = world.decisions()
    assert (back.model, back.by, back.before) == (MAIN, "guard", B)
    assert back.evidence["low"] > 0
    assert world.known().serves(MAIN, 0) == MAIN
    assert world.metadata().barred == {"b": 1}
    assert [each.name for each in world.alerts() if each.state == "raised"] == ["referee.promoted", "referee.returned"]
    # It is better again, but not the rule's any more, until it has a newer epoch.
    world.add(*better(800, 1200))
    world.work()
    assert len(world.decisions()) == 2
    assert [each.barred for each in world.metadata().standings if each.model == "b"] == [True]
    world.add(*better(1200, 1600, epochs={B: 2}))
    world.work()
    assert [each.model for each in world.decisions()] == [B, MAIN, B]


def test_the_guard_decides_once_whatever_ends_the_process() -> None:
    def tell(crash) -> World:
        world = World()
        world.add(*better(), *(comparison(n, cycle(n, TURNED), served=B) for n in range(400, 800)))
        world.add(*better(800, 1000))
        world.work(crash)
        return world

    calm = tell(lambda place: False)
    assert [each.by for each in calm.decisions()] == ["rule", "guard"]
    for place in PLACES:
        count = itertools.count(1)
        world = tell(lambda at, place=place, count=count: at == place and next(count) % 5 == 0)
        assert world.decisions() == calm.decisions()
        assert world.metadata() == calm.metadata()


def test_a_promoted_model_that_fails_gives_serving_back_before_labels_settle() -> None:
    world = promoted()
    world.add(*(comparison(n, cycle(n, BETTER), served=B, failed=[B] if n % 2 == 0 else []) for n in range(400, 500)))
    world.work()
    back = world.decisions()[-1]
    assert (back.model, back.by) == (MAIN, "guard")
    assert "failed to answer" in back.why
    assert back.evidence["errors"] == pytest.approx(0.5, abs=0.1)


def test_three_failures_of_three_events_are_not_enough() -> None:
    world = promoted()
    world.add(*(comparison(n, cycle(n, BETTER), served=B, failed=[B]) for n in range(400, 403)))
    world.work()
    assert len(world.decisions()) == 1
    world.add(*(comparison(n, cycle(n, BETTER), served=B, failed=[B]) for n in range(403, 409)))
    world.work()
    assert [each.by for each in world.decisions()] == ["rule", "guard"]


def test_a_promoted_model_that_fails_after_weeks_gives_serving_back_as_soon() -> None:
    world = promoted()
    world.add(*(comparison(n, cycle(n, BETTER), served=B, failed=[B] if n >= 4_000 else []) for n in range(400, 4_040)))
    world.work(take=1_000)
    assert [each.by for each in world.decisions()] == ["rule", "guard"]


def test_events_that_were_refused_for_their_own_content_say_nothing_of_the_model() -> None:
    world = promoted()
    world.add(*(comparison(n, cycle(n, BETTER), served=B, failed=[B], code="contract") for n in range(400, 500)))
    world.work()
    assert len(world.decisions()) == 1
    assert world.metadata().contest is None


def test_the_guard_takes_nothing_from_a_model_that_a_person_has_promoted() -> None:
    world = World(replace(RULE, labels=5000, guard=GuardRule(errors=0.01)))
    world.decide(B)
    world.add(*(comparison(n, cycle(n, TURNED), served=B, failed=[B]) for n in range(400)))
    world.work()
    assert world.decisions() == []


def test_the_guard_has_its_own_settling_time() -> None:
    """Labels come after half a second, so all 70 events count with settle=0, and a quarter with settle=1 s."""
    returned = []
    for settle_ms in (0, 1_000):
        world = promoted(replace(RULE, guard=GuardRule(settle_ms=settle_ms)))
        world.add(*(comparison(n, cycle(n, TURNED), served=B) for n in range(400, 470)))
        world.work()
        returned.append([each.by for each in world.decisions()] == ["rule", "guard"])
    assert returned == [True, False]


def test_a_crash_is_a_crash() -> None:
    """The rig does what it says: without catching it, a crash is seen."""
    world = World()
    world.add(*better(0, 10))
    with pytest.raises(Crash):
        SimulatedLoop(world.log, GROUP, world.referee(), lambda place: place == "processed").step({TOPIC: 7})
