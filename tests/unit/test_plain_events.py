"""Plain events: answered, logged and told exactly as by the general way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.model.river_model import wrap
from consumers.predictor.predictor import PredictorSettings, ServedVersion
from schemas.calendar import CalendarFeatures
from schemas.contract import Contract, Feature
from schemas.events import Event
from schemas.target import Target, Task
from schemas.topics import Names
from server.answering.answerer import Answerer, AnswererSettings
from server.answering.plain_events import PlainEvents
from server.spool.spool import Pending

NOW = 1_700_000_000_000
NAMES = Names("fraud")
CONTRACTS = [
    Contract(),
    Contract(max_name_chars=1),
    Contract(max_features=2),
    Contract(features={"x": Feature(minimum=-10, maximum=10), "y": Feature()}),
    Contract(features={"x": Feature(), "y": Feature()}, unknown="keep"),
    Contract(features={"x": Feature(), "y": Feature(required=True)}, unknown="refuse"),
    Contract(features={"x": Feature(type="integer"), "y": Feature(missing="none")}, unknown="keep"),
    Contract(features={"x": Feature(private=True)}, unknown="keep"),
    Contract(calendar=CalendarFeatures(parts=("hour",), tz="UTC")),
]
NUMBERS = st.one_of(st.floats(-20, 20), st.sampled_from([0.0, -0.0, 1e-7, 1e308, float("inf"), float("nan")]))
OTHERS = st.sampled_from([1, 2**64, True, None, "text", [1.0], b"raw"])
FEATURES = st.dictionaries(st.sampled_from(["x", "y", "z", "long"]), st.one_of(NUMBERS, NUMBERS, OTHERS), max_size=4)
EVENTS = st.builds(
    Event,
    st.sampled_from(["a", "ü", '"\\', "", "c" * 1024, "c" * 1025, "018bcfe56800" + "a" * 16]),
    st.sampled_from([NOW, NOW - 1, 0, -1, NOW + 2 * 24 * 3600 * 1000, 2**62]),
    st.one_of(st.dictionaries(st.sampled_from(["x", "y"]), st.floats(-5, 5), min_size=1), FEATURES),
    st.sampled_from([None, None, None, "k"]),
)


class Says:
    """A model with an answer of its own for each first letter of what it is asked."""

    def __init__(self, says: Callable[[dict[str, Any]], dict[Any, Any]]) -> None:
        self._says = says

    def predict_proba_one(self, features: dict[str, Any]) -> dict[Any, Any]:
        return self._says(features)

    def predict_one(self, features: dict[str, Any]) -> Any:
        shares = self._says(features)
        return max(shares, key=shares.__getitem__) if shares else None


def refuses(features: dict[str, Any]) -> dict[Any, Any]:
    raise ZeroDivisionError("no")


def changes(features: dict[str, Any]) -> dict[Any, Any]:
    features["x"] = features["added"] = 2.0
    return {False: 0.5, True: 0.5}


def makes_text(features: dict[str, Any]) -> dict[Any, Any]:
    features["x"] = "text"
    return {False: 0.25, True: 0.75}


def by_value(features: dict[str, Any]) -> dict[Any, Any]:
    share = 1 / (1 + abs(features["x"])) if features.get("x").__class__ is float else 1e-7
    return {False: 1 - share, True: share}


MODELS: list[tuple[Task, Callable[[dict[str, Any]], dict[Any, Any]]]] = [
    ("binary", by_value),
    ("binary", by_value),
    ("binary", lambda features: {True: 1.0, False: 0.0}),
    ("binary", lambda features: {False: 1, True: 0}),
    ("binary", lambda features: {0: 0.25, 1: 0.75}),
    ("binary", lambda features: {True: 1.0}),
    ("binary", lambda features: {}),
    ("binary", lambda features: {False: float("nan"), True: 0.5}),
    ("binary", refuses),
    ("binary", changes),
    ("binary", makes_text),
    ("multiclass", lambda features: {"a": 0.1, 'b"': 0.9}),
    ("multiclass", lambda features: {1: 0.1, 2: 0.9}),
    ("multiclass", lambda features: {1: 0.3, "1": 0.7}),
    ("multiclass", lambda features: {"a": 0.2, "b": 0.3, "c": 0.5}),
]


def served(number: int, examples: int) -> ServedVersion:
    task, says = MODELS[number]
    return ServedVersion(wrap(Says(says), task), "fraud", 3, examples, 0, None)


def answerer(contract: Contract, task: Task, *, plain: bool) -> Answerer:
    form = PredictorSettings(NAMES, contract, 4).form
    found = Answerer(AnswererSettings(NAMES, contract, Target(task=task), 4, form, "http:abc", 0), lambda: NOW)
    if not plain:
        found._plain = None
    return found


def shown(pending: Pending, sequence: int) -> str:
    try:
        return repr((pending.key, pending.digest, pending.may_be_unlogged, pending.make(sequence)))
    except Exception as error:  # noqa: BLE001 - both must fail alike
        return repr(error)


def copied(events: list[Event]) -> list[Event]:
    """Models may change the features that they are given."""
    return [Event(each.event_id, each.event_time, dict(each.features), each.entity_key) for each in events]


@settings(deadline=None, max_examples=400)
@given(
    st.lists(EVENTS, min_size=1, max_size=4),
    st.sampled_from(CONTRACTS),
    st.integers(0, len(MODELS) - 1),
    st.sampled_from([0, 81_000]),
    st.sampled_from([0, 63, 64, 100_000]),
)
def test_entries_and_answers_are_those_of_the_general_way(
    events: list[Event], contract: Contract, model: int, examples: int, sequence: int
) -> None:
    serving, task = served(model, examples), MODELS[model][0]
    found = []
    for plain in (True, False):
        asked = answerer(contract, task, plain=plain)
        found.append([shown(each, sequence) for each in asked.answer(copied(events), serving)])
    assert found[0] == found[1]


@pytest.mark.parametrize("contract", [Contract(), Contract(features={"x": Feature(minimum=-10, maximum=10)})])
def test_most_events_are_plain(contract: Contract) -> None:
    plain = PlainEvents(contract)
    sent = {"x": 1.5}
    used = plain.used(Event("a", NOW, sent), NOW)
    assert used == sent
    assert (used is sent) is contract.is_open, "as the contract gives them"
    others = [{"x": 1}, {"x": float("nan")}, {"x": float("inf")}, {"x": None}, {}]
    assert not any(plain.used(Event("a", NOW, each), NOW) for each in others)
    assert plain.used(Event("a", NOW, sent, "k"), NOW) is None
    assert plain.used(Event("", NOW, sent), NOW) is None
    assert (plain.used(Event("a", NOW, {"x": 11.0}), NOW) is None) is not contract.is_open


def test_shapes_are_kept_for_a_bounded_number_of_lists_of_names() -> None:
    plain = PlainEvents(Contract())
    for number in range(1000):
        assert plain.used(Event("a", NOW, {f"x{number}": 1.0}), NOW)
    assert len(plain._shapes) <= 64
    assert plain.used(Event("a", NOW, {"x0": 1.0}), NOW)
