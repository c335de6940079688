"""Predictors that stand on one version while others go on: named, and told from what is only a moment's difference."""

from __future__ import annotations

from typing import Any

from rule_monitor import HOUR, MINUTE, T0, Monitor, states
from test_rules_raised_and_cleared import window

from consumers.monitor.answered_versions import AnsweredVersions, read_answered
from consumers.monitor.rules.version_lag import VersionLag
from millstream.stream.alert_rules import Rule
from schemas.events import Failure, Outcome
from schemas.profiles import Window

SPAN = 5 * MINUTE
Answer = tuple[int, int, int]  # partition of the event, minute of the answer, examples of the version


def outcome(partition: int, examples: int, model: str = "fraud", epoch: int = 3, **more: Any) -> Outcome:
    return Outcome(True, None, model, epoch, examples, 0, "f", partition, 0, **more)


def bucket(minutes: int, *answers: Answer, model: str = "fraud", number: int = 0) -> Window:
    """Return the window of five minutes from a minute on."""
    versions = AnsweredVersions()
    versions.add(
        [outcome(at, examples, model) for at, _, examples in answers], [T0 + m * MINUTE for _, m, _ in answers]
    )
    return window(minutes, span=SPAN, partition=number, state=versions.encode())


def lag(*windows: Window, until: int = 10**6) -> tuple[float, str]:
    lag = VersionLag()
    for each in windows:
        lag.take(each)
    found = lag.measure(T0 + until * MINUTE)
    assert found is not None
    return found.value / 60, found.text


def moving(partition: int, since: int, until: int) -> list[Answer]:
    """Return an answer each minute, each by a newer version."""
    return [(partition, minute, 1000 + minute) for minute in range(since, until)]


def standing(partition: int, since: int, until: int, examples: int = 1000) -> list[Answer]:
    return [(partition, minute, examples) for minute in range(since, until)]


def test_a_predictor_that_stands_while_another_goes_on_is_named_with_both_versions() -> None:
    windows = [
        bucket(
            start, *sorted((*standing(1, start, start + 5), *moving(0, start + 1, start + 5)), key=lambda each: each[1])
        )
        for start in range(0, 30, 5)
    ]
    value, text = lag(*windows)
    assert value == 28
    assert text == "3/1000 alone answered f[1] for 28 min, while 3/1026 to 3/1029 answered f[0]"
    assert lag(*windows, until=15)[0] == 13, "later buckets are not looked at"


def test_events_of_one_predictor_may_be_in_windows_of_any_partition() -> None:
    """Predictions are spread by the ids of their events."""
    parts = [bucket(start, *moving(0, start, start + 4), number=0) for start in range(0, 15, 5)] + [
        bucket(start, *standing(1, start, start + 4, 500), (0, start + 4, 1004 + start), number=1)
        for start in range(0, 15, 5)
    ]
    assert lag(*parts)[0] == lag(*reversed(parts))[0] == 13


def test_of_two_that_stand_the_one_on_the_older_version_is_named() -> None:
    windows = [
        bucket(start, *standing(0, start, start + 5), *standing(1, start, start + 5, 900)) for start in range(0, 15, 5)
    ]
    assert lag(*windows) == (14, "3/900 alone answered f[1] for 14 min, while 3/1000 answered f[0]")


def test_two_that_stand_on_versions_of_two_models_are_both_named() -> None:
    windows = [
        each
        for start in range(0, 15, 5)
        for each in (
            bucket(start, *standing(0, start, start + 5)),
            bucket(start, *standing(1, start, start + 5), model="fraud.forest", number=1),
        )
    ]
    told = "3/1000 alone answered f[0] for 14 min, forest:3/1000 f[1] for 14 min"
    assert lag(*windows) == (14, told)


def test_predictors_that_both_go_on_or_both_stand_are_no_finding() -> None:
    for one in (moving, standing):
        windows = [bucket(start, *one(0, start, start + 5), *one(1, start, start + 5)) for start in range(0, 30, 5)]
        assert lag(*windows) == (0, "")


def test_a_version_once_an_hour_is_not_taken_for_a_lag_by_who_answered_before_it_came() -> None:
    rare = [bucket(start, (0, start, 100), (1, start, 100)) for start in range(0, 55, 5)]
    assert lag(*rare, bucket(55, (0, 55, 100), (1, 59, 200)))[0] == 0
    assert lag(*rare, bucket(55, (1, 56, 200), (0, 58, 100), (1, 59, 200)))[0] == 2


def test_a_rollback_and_a_promotion_are_over_with_the_bucket_in_which_they_happen() -> None:
    before = [bucket(start, *standing(0, start, start + 5), *standing(1, start, start + 5)) for start in (0, 5)]
    middle = bucket(10, (0, 10, 1000), (1, 10, 1000), (0, 12, 700), (1, 12, 700))
    after = bucket(15, *standing(0, 15, 20, 700), *standing(1, 15, 20, 700))
    assert lag(*before, middle)[0] == lag(*before, middle, after)[0] == 0
    other = bucket(10, *standing(0, 10, 15), *standing(1, 10, 15), model="fraud.forest")
    assert lag(*before, other)[0] == 0


def test_a_predictor_without_events_is_not_compared() -> None:
    windows = [bucket(0, *standing(0, 0, 5), *moving(1, 0, 5))]
    windows += [bucket(start, *moving(1, start, start + 5)) for start in range(5, 60, 5)]
    assert lag(*windows)[0] == 0


def test_several_epochs_in_a_bucket_are_not_compared() -> None:
    versions = AnsweredVersions()
    versions.add([outcome(0, 5), outcome(0, 1, epoch=4), outcome(1, 5)], [T0, T0 + MINUTE, T0 + MINUTE])
    assert [each.epoch for each in read_answered(versions.encode())] == [-1, 3]
    assert lag(window(0, span=SPAN, state=versions.encode()))[0] == 0


def test_answers_without_a_model_and_other_windows_say_nothing() -> None:
    versions = AnsweredVersions()
    versions.add([outcome(0, -1, epoch=-1, error=Failure("no-version", "there is none"))], [T0])
    assert versions.encode() == b""
    found = VersionLag()
    for each in (window(0), window(0, "examples", state=b'{"a": 1}'), window(0, state=b"[[1]]")):
        found.take(each)
    assert found.measure(T0 + HOUR) is None


def test_a_rule_raises_it_and_clears_it_when_all_answer_with_the_same() -> None:
    rule = Rule("version_lag > 10m", severity="critical")
    monitor = Monitor(rule)
    for start in range(0, 20, 5):
        monitor.rules.take(bucket(start, *standing(1, start, start + 5), *moving(0, start + 1, start + 5)))
    assert monitor.judge(5) == []
    [alert] = monitor.judge(15)
    assert alert.message == (
        "version_lag is 13 min (version_lag > 10 min): 3/1000 alone answered f[1] for 13 min, "
        "while 3/1011 to 3/1014 answered f[0]"
    )
    monitor.restart()
    for start in range(0, 25, 5):
        end = () if start == 20 else standing(1, start, start + 5)
        monitor.rules.take(bucket(start, *end, *moving(0, start + 1, start + 5)))
    assert monitor.judge(20) == []
    assert states(monitor.judge(25)) == [("monitor.version_lag", "cleared")]
