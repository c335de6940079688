"""What `Contract.ranges` promises of events that are all doubles is what `of_event` does with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import CalendarFeatures
from schemas.contract import Contract, ContractError, Feature

LETTERS = ("a", "b", "c", "long-name")
limits = st.sampled_from([None, -1, 0, 0.5, 1, 2.0])
features = st.builds(
    Feature,
    type=st.sampled_from(["number"] * 8 + ["integer", "boolean", "string", "vector"]),
    minimum=limits,
    maximum=limits,
    categories=st.sampled_from([None] * 8 + [(0.5, 1)]),
    required=st.sampled_from([False, False, True]),
    missing=st.sampled_from([None, None, "none", "drop", "refuse"]),
)
contracts = st.builds(
    Contract,
    features=st.dictionaries(st.sampled_from(LETTERS), features, max_size=3),
    unknown=st.sampled_from(["keep", "drop", "refuse"]),
    missing=st.sampled_from(["drop", "none", "refuse"]),
    max_features=st.sampled_from([1, 2, 1000]),
    max_name_chars=st.sampled_from([3, 255]),
    calendar=st.sampled_from([None] * 5 + [CalendarFeatures(parts=("hour",), tz="UTC")]),
)
doubles = st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 2.0, 5e-324]), st.floats())
events = st.dictionaries(st.sampled_from(LETTERS), doubles, min_size=1)


def outcome(contract: Contract, event: dict[str, Any]) -> list[tuple[str, str]] | None:
    """Return names and values for the model in their order, `None` if the event is refused."""
    try:
        return [(name, repr(value)) for name, value in contract.of_event(event, 0).items()]
    except ContractError:
        return None


@given(contracts, events)
def test_events_within_their_ranges_are_kept_as_said(contract: Contract, event: dict[str, float]) -> None:
    ranges = contract.ranges([*event])
    if ranges is None:
        return
    pairs = list(zip(event.items(), ranges, strict=True))
    kept = [(name, value, limits) for (name, value), limits in pairs if limits is not None]
    if all(math.isfinite(value) and limits[0] <= value <= limits[1] for _, value, limits in kept):
        assert outcome(contract, event) == [(name, repr(value)) for name, value, _ in kept]


@given(contracts, events.filter(lambda event: all(map(math.isfinite, event.values()))))
def test_only_what_is_kept_within_a_range_is_promised(contract: Contract, event: dict[str, float]) -> None:
    """A finite event that is kept whole, and not by chance, has ranges: the fast path is not narrower than it looks."""
    chance = any(each.type != "number" or each.categories for each in contract.features.values())
    if outcome(contract, event) == [(name, repr(value)) for name, value in event.items()] and not chance:
        assert contract.calendar is not None or contract.ranges([*event]) is not None


@pytest.mark.parametrize(
    ("contract", "ranges"),
    [
        (Contract(), [(-math.inf, math.inf), (-math.inf, math.inf)]),
        (Contract(features={"a": Feature(minimum=0, maximum=1)}), [(0, 1), None]),
        (Contract(features={"a": Feature()}, unknown="keep"), [(-math.inf, math.inf), (-math.inf, math.inf)]),
        (Contract(features={"a": Feature()}, unknown="refuse"), None),
        (Contract(features={"c": Feature()}), None),
        (Contract(features={"a": Feature(), "c": Feature(required=True)}), None),
        (Contract(features={"a": Feature(), "c": Feature(missing="none")}), None),
        (Contract(features={"a": Feature(), "c": Feature(missing="none")}, missing="drop"), None),
        (
            Contract(features={"a": Feature(), "c": Feature(missing="drop")}, missing="none"),
            [(-math.inf, math.inf), None],
        ),
        (Contract(features={"a": Feature(type="integer")}), None),
        (Contract(features={"a": Feature(categories=(1,))}), None),
        (Contract(max_features=1), None),
        (Contract(calendar=CalendarFeatures(parts=("hour",), tz="UTC")), None),
    ],
)
def test_ranges_of_two_features(contract: Contract, ranges: list[Any] | None) -> None:
    assert contract.ranges(["a", "b"]) == ranges
