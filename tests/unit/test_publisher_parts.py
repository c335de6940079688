"""What of publishing needs no broker."""

from __future__ import annotations

from typing import Any

import pytest

from producers import publish_rate
from producers.label import parse_label
from producers.publisher import PublishOptions
from schemas.events import Scalar
from schemas.target import Target, TargetError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "more than 0 events a second"),
        ({"rate": float("nan")}, "more than 0 events a second"),
        ({"label_delay_events": -1}, "at least 0"),
        ({"label_delay_seconds": -0.1}, "at least 0"),
        ({"label_delay_events": 1, "label_delay_seconds": 1.0}, "not both"),
        ({"limit": -1}, "at least 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PublishOptions(**options)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(publish_rate, "time", clock)
    return clock


def test_the_pace_does_not_drift_with_late_wake_ups(clock: Clock) -> None:
    pace = publish_rate.PublishRate(100.0)
    for _ in range(1000):
        # Every wait takes 3 ms longer than it was asked to.
        clock.now += pace.seconds_to_wait() + 0.003
        assert pace.seconds_to_wait() == 0
        pace.count()
    assert clock.now - 1000.0 == pytest.approx(999 / 100 + 0.003)


def test_the_pace_catches_up_with_a_hiccup_but_not_with_an_outage(clock: Clock) -> None:
    pace = publish_rate.PublishRate(10.0)
    clock.now += 0.5
    burst = 0
    while pace.seconds_to_wait() == 0:
        pace.count()
        burst += 1
    assert burst == 6
    clock.now += 60
    burst = 0
    while pace.seconds_to_wait() == 0:
        pace.count()
        burst += 1
    assert burst == 11


def test_without_a_rate_nothing_waits(clock: Clock) -> None:
    pace = publish_rate.PublishRate(None)
    pace.count()
    assert pace.seconds_to_wait() == 0


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("true", Target(task="binary"), True),
        ("1", Target(task="binary"), 1),
        ("spam", Target(task="binary", positive="spam"), "spam"),
        ("1", Target(task="binary", positive="1"), "1"),
        ("2", Target(task="multiclass", classes=(1, 2)), 2),
        ("3", Target(task="regression"), 3.0),
    ],
)
def test_a_typed_label_is_read_as_the_target_compares_it(text: str, target: Target, expected: Scalar) -> None:
    found = parse_label(text, target)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("maybe", Target(task="binary")),
        ("", Target(task="binary")),
        ("x", Target(task="regression")),
        ("inf", Target(task="regression")),
        ("[1]", Target(task="multiclass")),
        ("c", Target(task="multiclass", classes=("a", "b"))),
    ],
)
def test_a_typed_label_of_another_kind_is_refused(text: str, target: Target) -> None:
    with pytest.raises(TargetError, match="the label is"):
        parse_label(text, target)
