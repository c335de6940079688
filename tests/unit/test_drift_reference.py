"""References and detectors of `Watch`, and the rules of judging that follow from them."""

from __future__ import annotations

from typing import Any

import pytest
from river import drift, linear_model

from consumers.monitor.drift.rules import Between, Trailing
from consumers.monitor.profiles import WindowProfiles
from millstream import Stream, Watch
from millstream.stream.errors import InvalidStream
from millstream.stream.monitor_rules import drift_rules
from schemas.profiles import DAY_MS, Window


def stream(**watch: Any) -> Stream:
    return Stream(name="s", task="binary", model=linear_model.LogisticRegression, watch=Watch(**watch))


def test_a_span_is_a_trailing_reference_and_the_budget_and_window_are_those_of_watch() -> None:
    rules = drift_rules(stream(reference="14d", window="10m", false_alarms="2 per 30d"))
    assert rules.reference == Trailing(14 * DAY_MS)
    assert rules.window_ms == 600_000
    assert rules.alarms_per_ms == pytest.approx(2 / (30 * DAY_MS))


def test_a_range_of_time_is_in_utc() -> None:
    rules = drift_rules(stream(reference="1970-01-02 to 1970-01-04T12:00"))
    assert rules.reference == Between(DAY_MS, 3 * DAY_MS + DAY_MS // 2)


def test_the_range_of_a_version_is_given_to_the_rules() -> None:
    found = Between(5, 9)
    assert drift_rules(stream(reference="version 0/100"), found).reference == found


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("soon", "must be a span such as '7d', 'version 3/81000', 'epoch 3'"),
        ("0d", "must be a span"),
        ("version 3", "must be a span"),
        ("2026-11-08 to 2026-11-01", "ends before it begins"),
        ("yesterday to today", "is no range: write '2026-11-01 to 2026-11-08'"),
    ],
)
def test_what_is_no_reference_is_refused(reference: str, expected: str) -> None:
    with pytest.raises(InvalidStream, match=expected):
        Watch(reference=reference)


def test_adwin_watches_the_error_unless_other_detectors_are_named() -> None:
    default = drift_rules(stream())
    assert list(default.detectors) == ["error"]
    assert isinstance(default.detectors["error"](), drift.ADWIN)
    named = drift_rules(stream(detectors={"feature:a": lambda: drift.KSWIN(seed=1)}))
    assert isinstance(named.detectors["feature:a"](), drift.KSWIN)
    assert drift_rules(stream(detectors={})).detectors == {}


@pytest.mark.parametrize("detectors", [{"eror": drift.ADWIN}, {"error": 3}])
def test_a_detector_that_is_fed_with_nothing_or_is_no_function_is_refused(detectors: dict[str, Any]) -> None:
    with pytest.raises(InvalidStream, match="Watch: detectors"):
        Watch(detectors=detectors)


@pytest.mark.parametrize(
    "budget", ["1 per month", "1 per 0d", "0 per 30d", "1", "", 1, "1 per 0.0001ms", f"{'9' * 400} per 1d"]
)
def test_a_budget_that_is_none_is_refused_with_the_parameters_name(budget: Any) -> None:
    with pytest.raises(InvalidStream, match=r"Watch: false_alarms=.* must be like '1 per 30d', with numbers above 0"):
        Watch(false_alarms=budget)


def window(partition: int, features: list[str], most: int) -> Window:
    profiles = WindowProfiles(most, [("z", "y")], declared=["zz"])
    profiles.add_features([dict.fromkeys(features, 1.0)])
    found, pairs, left_out = profiles.finish(1)
    return Window("predictions", "t", partition, 0, 1, 0, 1000, 0, 1, 1, {}, found, left_out, pairs, [])


def test_merged_windows_have_the_features_that_single_ones_have() -> None:
    given = Stream(
        name="s",
        task="binary",
        model=linear_model.LogisticRegression,
        features={"zz": "number"},
        watch=Watch(most_features=502, pairs=[("z", "y")]),
    )
    others = [f"f{place:04}" for place in range(800)]
    parts = [window(number, ["z", "y", *others], 502) for number in (0, 1)]
    merged = drift_rules(given).merging(parts, 1000)
    assert list(merged.profiles) == list(parts[0].profiles)
    assert {"feature:z", "feature:y", "feature:zz"} < merged.profiles.keys()
    assert len(merged.profiles) == 502
    assert merged.left_out == 2 * 301
