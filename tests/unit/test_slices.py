"""Slices of a stream: what an event's value is in each, and which events have none."""

from __future__ import annotations

import pytest

from millstream.evaluation.compare.facets import Labelled, facets_of
from millstream.stream.errors import InvalidStream
from millstream.stream.slices import LONGEST_VALUE, MOST_VALUES, OTHER, SliceReader, SliceValues, check_texts
from schemas.events import Features, FeatureValue


@pytest.mark.parametrize(
    ("said", "features", "value"),
    [
        ("amount > 1000", {"amount": 1001.0}, "true"),
        ("amount > 1000", {"amount": 1000}, "false"),
        ("amount > 1000 and country == 'DE'", {"amount": 2000, "country": "FR"}, "false"),
        ("not new", {"new": False}, "true"),
        ("`amount.eur` > 3", {"amount.eur": 4}, "true"),
        ("country", {"country": "DE"}, "DE"),
        ("amount.eur", {"amount.eur": 2.5}, "2.5"),
        ("is-new", {"is-new": True}, "true"),
        ("the country", {"the country": "DE"}, "DE"),
        ("hour", {"hour": 3.0}, "3"),
        ("hour", {"hour": 3}, "3"),
        ("country", {"country": "x" * 100}, "x" * LONGEST_VALUE),
    ],
)
def test_the_value_of_a_comparison_or_a_feature(said: str, features: Features, value: str) -> None:
    assert SliceReader({"it": said})(features) == {"it": value}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("amount > 1000", None),
        ("amount > 1000", "much"),
        ("amount", None),
        ("amount", [1.0, 2.0]),
        ("amount", b"x"),
        ("amount", float("inf")),
    ],
)
def test_an_event_without_a_value_is_left_out_of_the_slice_and_counted(said: str, value: FeatureValue) -> None:
    reader = SliceReader({"it": said, "also": "country"})
    assert reader({"amount": value, "country": "DE"}) == {"also": "DE"}
    assert reader({"country": "DE"}) == {"also": "DE"}
    assert reader.absent == {"it": 2}


def test_a_function_may_raise_and_may_not_change_the_features() -> None:
    def rude(features: Features) -> object:
        features.clear()
        raise KeyError("amount")

    reader = SliceReader({"rude": rude, "weekend": lambda features: features["day"] in (5, 6), "day": "day"})
    features: Features = {"day": 6}
    assert reader(features) == {"weekend": "true", "day": "6"}
    assert features == {"day": 6}
    assert reader.absent == {"rude": 1}


@pytest.mark.parametrize("said", ["amount >", "amount = 3", "amount > 3 and f(x)", "a is None"])
def test_an_invalid_comparison_is_refused_when_the_file_loads(said: str) -> None:
    with pytest.raises(InvalidStream, match="slices\\['large'\\]"):
        check_texts({"large": said})


def test_readers_of_one_log_keep_the_same_first_values_apart() -> None:
    log = [str(number % 150) for number in range(1000)]
    values, again = SliceValues(), SliceValues()
    kept = [values.kept("it", value) for value in log]
    assert len({*kept}) == 101
    assert kept == [again.kept("it", value) for value in log]
    assert values.kept("another", "140") == "140"


def test_a_comparison_of_models_keeps_the_first_values_of_a_slice_apart() -> None:
    [facet] = facets_of("slice", {"user": "user_id"})
    keys = [facet.key(Labelled(0, 0, {"user": str(number)})) for number in (*range(MOST_VALUES + 10), 0)]
    assert keys[0] == keys[-1] == "user: 0"
    assert {*keys[MOST_VALUES:-1]} == {f"user: {OTHER}"}
