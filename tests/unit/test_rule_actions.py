"""What rules do when their alerts are raised: pause, roll back, ask for a training."""

from __future__ import annotations

from typing import Any

import pytest
from unit.rule_monitor import HOUR, MINUTE, T0, Monitor, Store, findings, states

from consumers.model.models_topic_state import Known
from consumers.monitor.windows import EXAMPLES, PREDICTIONS
from millstream.stream.alert_rules import Notify, Pause, Retrain, Rollback, Rule
from model_store import VersionId
from schemas.alerts import Alert
from schemas.jobs import Job, read_job
from schemas.model_updates import Learning, ModelUpdate, Promoted, RolledBack, Serving, decision_hash

V1, V2, V3 = VersionId("s", 1, 100), VersionId("s", 1, 200), VersionId("s", 1, 300)
VERSIONS = {T0 - 3 * HOUR: V1, T0 - 2 * HOUR: V2, T0 - 10 * MINUTE: V3}


def acting(*do: Any, store: Store | None = None, **more: Any) -> Monitor:
    rule = Rule("f1 < 0.7", least=1, do=do, **more)
    return Monitor(rule, store=Store(VERSIONS) if store is None else store)


def trouble(monitor: Monitor, minutes: float) -> Alert:
    """Raise the alert, and clear it a moment later."""
    [alert] = monitor.judge(minutes, f1=(0.6, 9))
    assert states(monitor.judge(minutes + 1, f1=(0.9, 9))) == [("monitor.f1", "cleared")]
    return alert


def test_pause_pauses_every_model_that_learns_as_a_person_does() -> None:
    monitor = acting(Pause())
    alert = trouble(monitor, 5)
    assert [(each.key, each.paused, each.by) for each in monitor.decided()] == [
        ("learning/0", True, "monitor.f1"),
        ("learning/s.b/0", True, "monitor.f1"),
    ]
    assert alert.details["action.pause"] == "learning of main, b is paused; `millstream resume s` continues it"
    assert alert.details["action.pause"] in alert.message
    assert monitor.decisions.now().paused == {"s", "s.b"}


def test_pause_of_one_model_leaves_the_others_and_a_paused_one_alone() -> None:
    monitor = acting(Pause("b"))
    monitor.decide(Learning(0, True, "ann", "holiday", "s.b"))
    assert trouble(monitor, 5).details["action.pause"] == "not done: learning of b is paused already"
    assert monitor.decided() == []
    monitor.decide(Learning(0, False, "ann", "back", "s.b"))
    trouble(monitor, 15)
    assert [each.key for each in monitor.decided()] == ["learning/s.b/0"]


def test_rollback_serves_the_newest_version_from_before_the_first_bad_window() -> None:
    monitor = acting(Rollback())
    [alert] = monitor.judge(5, f1=(0.6, 9))  # over an hour: since 55 minutes before T0
    [decision] = monitor.decided()
    assert decision == RolledBack(
        "s", 0, 1, 200, "", "monitor.f1", "f1 is 0.6, over 1 h (f1 < 0.7)", {"f1": 0.6, "count": 9.0}
    )
    assert monitor.known.decided(0) == V2
    assert monitor.store.kept == [V2]
    said = "1/200 serves; `millstream models unpin s` lets the newest serve again"
    assert alert.details["action.rollback"] == said


def test_a_later_decision_of_a_person_wins_and_an_earlier_pin_is_left_alone() -> None:
    monitor = acting(Rollback())
    monitor.decide(Serving("s", 0, 1, 300, "ann", "known good"))
    assert trouble(monitor, 5).details["action.rollback"] == "not done: a person has pinned 1/300"
    assert monitor.decided() == []
    monitor.decide(Serving("s", 0, None, None, "ann", "unpinned"))
    [alert] = monitor.judge(15, f1=(0.6, 9))
    assert alert.details["action.rollback"].startswith("1/200 serves")
    assert monitor.known.decided(0) == V2
    monitor.decide(Serving("s", 0, None, None, "ann", "no"))
    assert monitor.known.decided(0) is None
    assert monitor.known.rolled_back(0) is None


def test_a_rollback_decided_before_a_persons_decision_was_seen_does_not_hold() -> None:
    known, pin = Known(), Serving("s", 0, 1, 300, "ann", "")
    value = ModelUpdate(1, pin).encode()
    rollback = RolledBack("s", 0, 1, 200, "", "monitor.f1", "", {})
    for order in ((pin, rollback), (rollback, pin)):
        known = Known()
        for state in order:
            known.take(state.key.encode(), value if state is pin else ModelUpdate(2, rollback).encode())
        assert known.decided(0) == V3
    fresh = RolledBack("s", 0, 1, 200, decision_hash(value), "monitor.f1", "", {})
    known.take(fresh.key.encode(), ModelUpdate(3, fresh).encode())
    assert known.decided(0) == V2


@pytest.mark.parametrize("promoted_last", [True, False])
def test_of_a_promotion_and_a_rollback_the_later_one_holds(promoted_last: bool) -> None:
    known = Known()
    records = [RolledBack("s", 0, 1, 200, "", "monitor.f1", "", {}), Promoted("s.b", 0, "", "rule", "", "s", {})]
    for state in records if promoted_last else reversed(records):
        known.take(state.key.encode(), ModelUpdate(2, state).encode())
    assert known.decided(0) == (None if promoted_last else V2)
    assert known.serves("s", 0) == ("s.b" if promoted_last else "s")
    assert (known.promoted(0) is not None, known.rolled_back(0) is not None) == (promoted_last, not promoted_last)


def test_rollback_without_a_version_or_a_store_says_why() -> None:
    young = acting(Rollback(), store=Store({T0: V3}))
    why = "not done: no version of main from before the first bad window is kept"
    assert trouble(young, 5).details["action.rollback"] == why
    broken = acting(Rollback(), store=Store(VERSIONS, broken=True))
    assert trouble(broken, 5).details["action.rollback"] == "not done: the store does not answer"
    assert young.decided() == broken.decided() == []


def test_a_second_rule_does_not_roll_back_what_is_rolled_back() -> None:
    monitor = Monitor(
        Rule("f1 < 0.7", least=1, do=[Rollback()]),
        Rule("recall < 0.7", least=1, do=[Rollback()]),
        store=Store(VERSIONS),
    )
    monitor.judge(5, f1=(0.6, 9))
    [alert] = monitor.judge(70, f1=(0.6, 9), recall=(0.6, 9))
    assert alert.details["action.rollback"] == "not done: monitor.f1 has rolled back to 1/200 already"


def test_retrain_asks_for_one_job_keyed_by_the_alert() -> None:
    monitor = acting(Retrain("gbdt"))
    trouble(monitor, 5)
    [value] = monitor.on("jobs")
    job = read_job(value)
    key = f"monitor.f1@{T0 + 5 * MINUTE}"
    assert job == Job(key, "gbdt", "f1 is 0.6, over 1 h (f1 < 0.7)", "monitor.f1", monitor.now - MINUTE)
    assert [each.key for each in monitor.sent if each.topic == "s.jobs"] == [key.encode()]


def test_an_action_happens_at_most_once_an_hour_and_three_times_a_day() -> None:
    monitor = acting(Retrain("gbdt"))
    done = {}
    for minutes in range(0, 30 * 60, 30):
        done[minutes] = trouble(monitor, minutes + 5).details["action.retrain"]
        monitor.restart()
    asked = [minutes for minutes, text in done.items() if text.startswith("job ")]
    assert asked == [0, 60, 120, 24 * 60, 25 * 60, 26 * 60]
    assert done[30] == "not done: it happened within the last hour"
    assert done[180] == "not done: it happened three times within a day"
    assert len(monitor.on("jobs")) == 6


def test_two_kinds_of_actions_do_not_hold_each_other_up() -> None:
    monitor = acting(Retrain("gbdt"), Pause(), Rollback())
    trouble(monitor, 5)
    assert len(monitor.on("jobs")) == 1
    assert [type(each) for each in monitor.decided()] == [Learning, Learning, RolledBack]


def test_a_dry_run_only_says_what_it_would_do() -> None:
    monitor = acting(Retrain("gbdt"), Pause(), Rollback(), Notify("ops"), dry_run=True)
    alert = trouble(monitor, 5)
    assert alert.details["action.rollback"].startswith("would do: 1/200 serves")
    assert alert.details["action.pause"].startswith("would do: learning of main, b is paused")
    assert alert.details["action.retrain"].startswith("would do: job monitor.f1@")
    assert alert.details["notify"] == "ops"
    assert {each.topic for each in monitor.sent} == {"s.alerts"}
    assert monitor.store.kept == []


def test_a_window_that_is_judged_late_alerts_and_does_nothing() -> None:
    monitor = acting(Pause())
    assert monitor.judge(0, f1=(0.9, 9)) == []
    monitor.now = T0 + 3 * HOUR
    assert trouble(monitor, 5).details["action.pause"] == "not done: the window was judged 3 h late"
    assert monitor.decided() == []


def test_drift_in_labels_that_are_judged_late_does_nothing_though_the_predictions_are_in_time() -> None:
    monitor = Monitor(Rule("drift", do=[Pause()]))
    for minutes in (60, 300):
        assert monitor.judge_kind(PREDICTIONS, minutes) == []
    assert monitor.judge_kind(EXAMPLES, 59, findings(1)) == []  # from before the first that was judged in time
    [alert] = monitor.judge_kind(EXAMPLES, 60, findings(1))
    assert alert.details["action.pause"] == "not done: the window was judged 4 h late"
    assert monitor.decided() == []


def test_a_new_monitor_raises_no_alert_about_the_past_that_it_reads() -> None:
    monitor = acting(Pause())
    monitor.now = T0 + 3 * HOUR
    assert [monitor.judge(minutes, f1=(0.6, 9)) for minutes in (5, 60, 119)] == [[], [], []]
    assert states(monitor.judge(121, f1=(0.6, 9))) == [("monitor.f1", "raised")]
