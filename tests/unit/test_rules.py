"""Alert rules on judged windows: raised and cleared once, with what was found, and what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers.model.models_topic_state import Known
from consumers.monitor.rules.decisions import Decisions
from consumers.monitor.rules.rules import Rules, RulesSettings
from consumers.monitor.rules.values import Measured
from consumers.monitor.windows import EXAMPLES, METRICS, PREDICTIONS
from millstream.stream.alert_rules import Notify, Pause, Retrain, Rollback, Rule, evaluated
from model_store import StoreUnavailable, VersionId
from runtime.kafka_client.records import Output
from schemas.alerts import Alert, read_alert
from schemas.jobs import Job, read_job
from schemas.model_updates import Learning, ModelUpdate, Promoted, RolledBack, Serving, decision_hash, read_model_update
from schemas.profiles import Numbers, Profile, Window
from schemas.topics import Names

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NAMES = Names("s", models=("b",))
T0 = 1_000 * DAY


@dataclass(frozen=True)
class Finding:
    check: str
    subject: str
    since_ms: int = T0
    text: str = ""


@dataclass(frozen=True)
class Judgement:
    at_ms: int
    findings: Sequence[Finding] = ()


@dataclass
class Store:
    """Kept versions by the time of their announcement."""

    announced: Mapping[int, VersionId] = field(default_factory=dict)
    broken: bool = False
    kept: list[VersionId] = field(default_factory=list)

    def before(self, model: str, at_ms: int) -> VersionId | None:
        if self.broken:
            raise StoreUnavailable("the store does not answer")
        fit = [at for at, version in self.announced.items() if at < at_ms and version.model == model]
        return self.announced[max(fit)] if fit else None

    def keep(self, version: VersionId) -> None:
        self.kept.append(version)


class Monitor:
    """Rules, the windows they see, and the records they have written."""

    def __init__(self, *rules: Rule, store: Store | None = None, window_ms: int = 5 * MINUTE) -> None:
        self.settings = RulesSettings(NAMES, evaluated(rules), window_ms)
        self.store = store or Store()
        self.known = Known()
        self.decisions = Decisions(NAMES.model_ids)
        self.now = T0
        self.all_windows: list[Window] = []
        self.values: dict[str, tuple[float, int]] = {}
        self.sent: list[Output] = []
        self.said: list[str] = []
        self.rules = self._new()

    def _new(self) -> Rules:
        return Rules(self.settings, self.decisions.now, self.store, self._served, self.said.append, lambda: self.now)

    def _served(self, windows: Sequence[Window]) -> Mapping[str, Measured]:
        return {name: Measured(*value) for name, value in self.values.items()}

    def knows(self, at_ms: int) -> bool:
        return any(each.start <= at_ms for each in self.all_windows)

    def windows(self, since_ms: int, until_ms: int) -> Sequence[Window]:
        return [each for each in self.all_windows if since_ms <= each.start < until_ms]

    def judge(self, minutes: float, findings: Sequence[Finding] = (), **values: tuple[float, int]) -> list[Alert]:
        """Judge the bucket that ends at these minutes, with these values of the served metrics."""
        self.values = dict(values)
        at = T0 + round(minutes * MINUTE)
        self.now = max(self.now, at)
        judgement = Judgement(at, findings)
        outputs = [self.rules.judged(judgement, self, kind) for kind in (PREDICTIONS, EXAMPLES, METRICS)]
        return self._keep([output for each in outputs for output in each])

    def tick(self, minutes: float) -> list[Alert]:
        self.now = T0 + round(minutes * MINUTE)
        return self._keep(self.rules.tick(self.now, self))

    def _keep(self, outputs: list[Output]) -> list[Alert]:
        self.sent += outputs
        for output in outputs:
            if output.topic == "s.models":
                self.known.take(output.key, output.value)
                self.decisions.follow(self.known)
        return [read_alert(each.value or b"") for each in outputs if each.topic == "s.alerts"]

    def decide(self, state: Serving | Learning | Promoted) -> None:
        """Decide as a person or the referee does."""
        self.known.take(state.key.encode(), ModelUpdate(self.now, state).encode())
        self.decisions.follow(self.known)

    def restart(self, *rules: Rule) -> None:
        """Start again with what was remembered at the last commit."""
        remembered = self.rules.remembered()
        assert len(remembered) < 2_500
        if rules:
            self.settings = RulesSettings(NAMES, evaluated(rules), self.settings.window_ms)
        self.rules = self._new()
        self.rules.restore(remembered)

    def on(self, kind: str) -> list[bytes]:
        return [each.value or b"" for each in self.sent if each.topic == f"s.{kind}"]

    def decided(self) -> list[Any]:
        assert self.on("models") == self.on("decisions")
        return [read_model_update(value).state for value in self.on("models")]


def states(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    return [(alert.name, alert.state) for alert in alerts]


LOW = Rule("f1 < 0.7", clear="f1 > 0.75", least=500)


def test_an_alert_is_raised_once_and_cleared_only_beyond_the_second_bound() -> None:
    monitor = Monitor(LOW)
    assert monitor.judge(5, f1=(0.71, 900)) == []
    [alert] = monitor.judge(10, f1=(0.62, 812))
    assert alert.message == "f1 is 0.62, over 1 h (f1 < 0.7)"
    assert alert.details == {
        "rule": "f1 < 0.7",
        "since_ms": str(T0 + 10 * MINUTE - HOUR),
        "value": "0.62",
        "count": "812",
    }
    assert monitor.judge(15, f1=(0.5, 900)) == []
    assert monitor.judge(20, f1=(0.72, 900)) == []
    assert states(monitor.judge(25, f1=(0.8, 900))) == [("monitor.f1", "cleared")]
    assert monitor.judge(30, f1=(0.72, 900)) == []
    assert states(monitor.judge(35, f1=(0.6, 900))) == [("monitor.f1", "raised")]


def test_without_enough_labels_a_rule_is_neither_raised_nor_cleared() -> None:
    monitor = Monitor(LOW)
    assert monitor.judge(5, f1=(0.1, 499)) == []
    assert monitor.judge(10) == []
    assert len(monitor.judge(15, f1=(0.1, 500))) == 1
    assert monitor.judge(20, f1=(0.9, 499)) == []
    assert states(monitor.judge(25, f1=(0.9, 500))) == [("monitor.f1", "cleared")]


def test_what_must_hold_holds_without_a_gap() -> None:
    monitor = Monitor(Rule("f1 < 0.7", least=1, hold="10m"))
    assert monitor.judge(5, f1=(0.6, 9)) == []
    assert monitor.judge(10, f1=(0.8, 9)) == []
    assert monitor.judge(15, f1=(0.6, 9)) == []
    assert monitor.judge(20) == []  # nothing is known of this one
    assert monitor.judge(25, f1=(0.6, 9)) == []
    assert monitor.judge(30, f1=(0.6, 9)) == []
    [alert] = monitor.judge(35, f1=(0.6, 9))
    assert int(alert.details["since_ms"]) == T0 + 25 * MINUTE - HOUR
    assert monitor.judge(40, f1=(0.9, 9)) == []
    assert monitor.judge(45, f1=(0.6, 9)) == []
    assert [monitor.judge(each, f1=(0.9, 9)) for each in (50, 55)] == [[], []]
    assert states(monitor.judge(60, f1=(0.9, 9))) == [("monitor.f1", "cleared")]


def findings(count: int) -> list[Finding]:
    return [Finding("mean", f"feature:f{each:02}", T0 + each, f"f{each:02} has moved") for each in range(count)]


def test_drift_is_one_alert_with_the_first_findings_and_the_number_of_the_others() -> None:
    [alert] = Monitor(Rule("drift")).judge(5, findings(23))
    assert alert.message == "drift: f00 has moved; f01 has moved; f02 has moved; and 20 more"
    assert alert.details["finding.01"] == "f00 has moved"
    assert alert.details["finding.20"] == "f19 has moved"
    assert "finding.21" not in alert.details
    assert (alert.details["findings"], alert.details["more"]) == ("23", "3")
    assert alert.details["since_ms"] == str(T0)


def test_a_changed_list_is_told_again_after_a_while() -> None:
    monitor = Monitor(Rule("drift", repeat="1h"))
    assert len(monitor.judge(5, findings(2))) == 1
    assert monitor.judge(10, findings(3)) == []
    assert monitor.judge(66, findings(2)) == []  # the same list as was told
    [again] = monitor.judge(71, findings(4))
    assert (again.state, again.details["findings"]) == ("raised", "4")
    assert monitor.judge(76, findings(5)) == []
    assert states(monitor.judge(81)) == [("monitor.drift", "cleared")]


def test_drift_of_a_feature_is_of_that_feature_and_its_pairs() -> None:
    monitor = Monitor(Rule("drift(amount)"))
    assert monitor.judge(5, [Finding("mean", "feature:amount2"), Finding("mean", "answer:amount")]) == []
    assert len(monitor.judge(10, [Finding("correlation", "age ~ amount")])) == 1
    assert states(monitor.judge(15)) == [("monitor.drift-amount", "cleared")]
    assert len(monitor.judge(20, [Finding("mean", "feature:amount")])) == 1


def test_after_a_start_nothing_is_raised_or_done_twice() -> None:
    monitor = Monitor(Rule("f1 < 0.7", least=1, hold="5m", do=[Pause()]), Rule("drift"))
    assert monitor.judge(5, findings(1), f1=(0.6, 9))[0].name == "monitor.drift"
    monitor.restart()
    assert states(monitor.judge(10, findings(1), f1=(0.6, 9))) == [("monitor.f1", "raised")]
    monitor.restart()
    assert monitor.judge(10, findings(1), f1=(0.6, 9)) == []
    assert monitor.judge(15, findings(1), f1=(0.6, 9)) == []
    assert len(monitor.decided()) == 2  # one for each model
    assert states(monitor.judge(20, f1=(0.9, 9))) == [("monitor.drift", "cleared")]
    monitor.restart()
    assert states(monitor.judge(25, f1=(0.9, 9))) == [("monitor.f1", "cleared")]


def test_the_alert_of_a_rule_that_is_gone_clears() -> None:
    monitor = Monitor(LOW, Rule("drift"))
    monitor.judge(5, findings(1), f1=(0.1, 500))
    monitor.restart(LOW)
    assert states(monitor.tick(6)) == [("monitor.drift", "cleared")]
    assert monitor.tick(7) == []
    assert monitor.judge(10, f1=(0.1, 500)) == []


def test_what_is_remembered_of_the_most_rules_fits_beside_an_offset() -> None:
    rules = [Rule("drift", name=f"{number:032}") for number in range(32)]
    monitor = Monitor(*rules)
    assert len(monitor.judge(5, findings(3))) == 32
    monitor.restart()
    assert monitor.judge(10, findings(3)) == []


def test_a_broken_memory_is_none() -> None:
    monitor = Monitor(LOW)
    for text in ("", "{", '{"rules": 7}', "[]"):
        monitor.rules.restore(text)
        assert monitor.rules.remembered() == '{"rules":{},"done":{},"judged":{}}'


# --- actions ------------------------------------------------------------------------------------------------


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


def test_a_new_monitor_raises_no_alert_about_the_past_that_it_reads() -> None:
    monitor = acting(Pause())
    monitor.now = T0 + 3 * HOUR
    assert [monitor.judge(minutes, f1=(0.6, 9)) for minutes in (5, 60, 119)] == [[], [], []]
    assert states(monitor.judge(121, f1=(0.6, 9))) == [("monitor.f1", "raised")]


# --- metrics of windows -------------------------------------------------------------------------------------


def window(minutes: float, kind: str = "predictions", **more: Any) -> Window:
    start = T0 + round(minutes * MINUTE)
    fields = {
        "kind": kind, "topic": "t", "partition": 0, "first_offset": 0, "next_offset": 1, "start": start, "span": 60_000,
        "first_time": start, "last_time": start, "events": 100, "errors": {}, "profiles": {}, "left_out": 0,
        "pairs": None, "served": [], "state": b"",
    }  # fmt: skip
    return Window(**{**fields, **more})


def numbers(points: Sequence[float], weights: Sequence[int]) -> Profile:
    count = sum(weights)
    mean = sum(point * weight for point, weight in zip(points, weights, strict=True)) / count
    counted = Numbers(count, mean, 0.0, min(points), max(points), list(points), list(weights))
    return Profile(0, {}, counted, {}, 0, [], True)


def missing(count: int) -> Profile:
    return Profile(count, {}, None, {}, 0, [], True)


@pytest.mark.parametrize(
    ("when", "windows", "value", "count"),
    [
        ("errors > 0", [window(1, errors={"model": 3}), window(2, errors={"a": 1, "b": 1})], 5 / 200, 200),
        (
            "missing(a) > 0",
            [window(1, profiles={"feature:a": missing(10)}), window(2), window(3, "examples")],
            110 / 200,
            200,
        ),
        (
            "metric:orders > 0",
            [
                window(1, "metrics", profiles={"metric:orders": numbers([1], [3])}),
                window(2, "metrics", profiles={"metric:orders": numbers([5], [1])}),
            ],
            2.0,
            4,
        ),
        (
            "latency_p95 > 0",
            [
                window(1, profiles={"loop:latency_ms": numbers([10, 400], [97, 3])}),
                window(2, profiles={"loop:latency_ms": numbers([20, 500], [93, 7])}),
            ],
            20.0,
            200,
        ),
        (
            "label_delay_p50 > 0",
            [window(1, "examples", profiles={"loop:label_delay_ms": numbers([1500, 9000], [60, 40])})],
            1.5,
            100,
        ),
    ],
)
def test_a_metric_of_windows_is_that_of_all_their_events(
    when: str, windows: list[Window], value: float, count: int
) -> None:
    monitor = Monitor(Rule(when))
    monitor.all_windows = windows
    if count < 100:
        monitor.settings = RulesSettings(NAMES, evaluated([Rule(when, least=1)]), 5 * MINUTE)
        monitor.restart()
    [alert] = monitor.judge(10)
    assert (float(alert.details["value"]), int(alert.details["count"])) == (pytest.approx(value), count)


def test_a_metric_that_no_window_has_is_neither_raised_nor_cleared() -> None:
    monitor = Monitor(Rule("missing(a) > 0"), Rule("latency_p99 > 0"), Rule("metric:x < 1"), Rule("errors < 1"))
    assert monitor.judge(10) == []
    monitor.all_windows = [window(1, "examples")]
    assert monitor.judge(15) == []


def test_silence_of_the_events_raises_an_alert_by_the_clock_once_enough_is_known() -> None:
    monitor = Monitor(Rule("events_per_second < 0.1", over="10m"))
    monitor.all_windows = [window(minutes) for minutes in range(0, 20, 5)]
    assert monitor.tick(12) == []  # less than `over` is known
    assert monitor.judge(15) == []
    assert monitor.judge(20) == []
    assert monitor.tick(21) == []
    assert monitor.tick(25) == []
    [alert] = monitor.tick(45)
    assert alert.message == "events_per_second is 0, over 10 min (events_per_second < 0.1)"
    assert monitor.tick(46) == []
    monitor.all_windows += [window(minutes) for minutes in range(40, 70, 5)]
    assert states(monitor.tick(70)) == [("monitor.events_per_second", "cleared")]


def test_a_monitor_that_is_behind_does_not_take_unread_events_for_silence() -> None:
    monitor = Monitor(Rule("events_per_second < 0.1", over="10m"))
    monitor.all_windows = [window(minutes) for minutes in range(0, 60, 5)]
    for minutes in range(5, 60, 5):
        monitor.now = T0 + 10 * HOUR + minutes * 1000
        assert monitor.judge(minutes) == []
        assert monitor.tick(600 + minutes / 60) == []
    assert len(monitor.tick(630)) == 1


def test_an_old_model_raises_an_alert() -> None:
    monitor = Monitor(Rule("model_age > 1h", do=[Notify("ops")]))
    assert monitor.tick(90) == []  # no version is known
    from schemas.model_updates import Published

    published = Published("s", 0, 1, 100, "t", 5, "", -1, -1, {})
    monitor.known.take(published.key.encode(), ModelUpdate(T0 + 50 * MINUTE, published).encode())
    monitor.decisions.follow(monitor.known)
    assert monitor.tick(100) == []
    [alert] = monitor.tick(111)
    assert alert.message == "model_age is 61 min, over 1 h (model_age > 60 min)"
