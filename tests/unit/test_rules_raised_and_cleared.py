"""When the alerts of rules are raised and cleared, once, and what they say of the windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from unit.rule_monitor import DAY, HOUR, MINUTE, NAMES, T0, Monitor, finding, findings, states

from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.rules.rules import RulesSettings
from consumers.monitor.windows import EXAMPLES, PREDICTIONS
from millstream.stream.alert_rules import Notify, Pause, Rule, evaluated
from schemas.model_updates import ModelUpdate
from schemas.profiles import Numbers, Profile, Window

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
    assert monitor.judge(5, [finding("mean", "feature:amount2"), finding("mean", "answer:amount")]) == []
    assert len(monitor.judge(10, [finding("correlation", "age ~ amount")])) == 1
    assert states(monitor.judge(15)) == [("monitor.drift-amount", "cleared")]
    assert len(monitor.judge(20, [finding("mean", "feature:amount")])) == 1


def test_drift_must_hold_in_the_newest_time_of_all_kinds() -> None:
    monitor = Monitor(Rule("drift", hold="10m"))
    assert monitor.judge(5) == monitor.judge_kind(PREDICTIONS, 60) == []
    assert monitor.judge_kind(EXAMPLES, 10, findings(1)) == []  # they are 50 minutes behind
    assert monitor.judge_kind(PREDICTIONS, 65, findings(1)) == []
    assert monitor.judge_kind(EXAMPLES, 15, findings(1)) == []
    [alert] = monitor.judge_kind(PREDICTIONS, 70, findings(1))
    assert (alert.name, alert.state, alert.details["since_ms"]) == ("monitor.drift", "raised", str(T0))


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
        assert monitor.rules.remembered() == '{"rules":{},"done":{},"judged":{},"began":0}'


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
        (
            "model_age_p90 > 1h",
            [window(1, profiles={"loop:model_age_ms": numbers([2000, 7_200_000], [80, 20])})],
            3601.0,
            100,
        ),
    ],
)
def test_a_metric_of_windows_is_that_of_all_their_events(
    when: str, windows: list[Window], value: float, count: int
) -> None:
    monitor = Monitor(Rule(when))
    monitor.watched.given = windows
    if count < 100:
        monitor.settings = RulesSettings(NAMES, evaluated([Rule(when, least=1)]), 5 * MINUTE)
        monitor.restart()
    [alert] = monitor.judge(10)
    assert (float(alert.details["value"]), int(alert.details["count"])) == (pytest.approx(value), count)


def test_a_metric_that_no_window_has_is_neither_raised_nor_cleared() -> None:
    monitor = Monitor(Rule("missing(a) > 0"), Rule("latency_p99 > 0"), Rule("metric:x < 1"), Rule("errors < 1"))
    assert monitor.judge(10) == []
    monitor.watched.given = [window(1, "examples")]
    assert monitor.judge(15) == []


def test_silence_of_the_events_raises_an_alert_by_the_clock_once_enough_is_known() -> None:
    monitor = Monitor(Rule("events_per_second < 0.1", over="10m"))
    monitor.watched.given = [window(minutes) for minutes in range(0, 20, 5)]
    assert monitor.tick(12) == []  # less than `over` is known
    assert monitor.judge(15) == []
    assert monitor.judge(20) == []
    assert monitor.tick(21) == []
    assert monitor.tick(25) == []
    [alert] = monitor.tick(45)
    assert alert.message == "events_per_second is 0, over 10 min (events_per_second < 0.1)"
    assert monitor.tick(46) == []
    monitor.watched.given += [window(minutes) for minutes in range(40, 70, 5)]
    assert states(monitor.tick(70)) == [("monitor.events_per_second", "cleared")]


def test_a_rate_is_that_of_whole_windows_also_where_only_hours_and_days_are_kept() -> None:
    judge = Judge(DriftRules(15 * MINUTE, 1 / DAY, Trailing(DAY)))
    last = 2 * 24 * 60 + 95
    for minutes in range(0, last, 15):
        judge.take(window(minutes, events=1800, span=15 * MINUTE))
    found = {}
    for over in ("15m", "40m", "1h", "150m", "260m", "30h"):
        monitor = Monitor(Rule("events_per_second >= 0", over=over), window_ms=15 * MINUTE)
        monitor.watched = judge  # type: ignore[assignment]
        [alert] = monitor.tick(last + 2)
        found[over] = alert.details["value"]
    assert found == dict.fromkeys(found, "2")


def test_a_stretch_of_a_window_and_a_half_is_two_windows() -> None:
    monitor = Monitor(Rule("errors > 0.5", over="7m"))
    monitor.watched.given = [window(0, errors={"model": 80}), window(5, errors={"model": 30})]
    [alert] = monitor.judge(10)
    assert alert.message == "errors is 0.55, over 10 min (errors > 0.5)"


def test_a_monitor_that_is_behind_does_not_take_unread_events_for_silence() -> None:
    monitor = Monitor(Rule("events_per_second < 0.1", over="10m"))
    monitor.watched.given = [window(minutes) for minutes in range(0, 60, 5)]
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
    assert alert.message == "model_age is 1.02 h, over 1 h (model_age > 1 h)"


def test_versions_that_answer_alike_although_they_have_learned_raise_an_alert_until_one_answers_otherwise() -> None:
    from schemas.model_updates import Published

    monitor = Monitor(Rule("unchanged_examples > 1000"))
    assert monitor.tick(5) == []  # no version is known

    def announce(examples: int, since: int | None) -> None:
        published = Published("s", 0, 3, examples, "t", 5, "", -1, -1, {})
        monitor.known.take(published.key.encode(), ModelUpdate(T0, published).encode())
        monitor.decisions.follow(monitor.known)
        monitor.store.since = since

    announce(81_000, 80_500)
    assert monitor.tick(10) == []
    announce(82_000, 80_500)
    [alert] = monitor.tick(15)
    assert alert.message == (
        "unchanged_examples is 1500 (unchanged_examples > 1000): "
        "versions 3/80500 to 3/82000 answer the same events alike"
    )
    announce(82_000, None)  # the store does not answer
    assert monitor.tick(20) == []
    announce(82_100, 82_100)
    assert states(monitor.tick(25)) == [("monitor.unchanged_examples", "cleared")]
