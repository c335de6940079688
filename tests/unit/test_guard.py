"""What an example is judged by before it is learned: those before it."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from consumers.model.outlier_bounds import Guard, Unusual
from model_store import dumps, loads
from schemas.contract import Contract, Feature


def warmed(count: int = 200, guard: Guard | None = None, **more: Any) -> Guard:
    """Return a guard that has seen ordinary examples."""
    guard = guard or Guard(Contract())
    rng = random.Random(1)
    for _ in range(count):
        assert guard.look({"x": rng.gauss(10, 2), "kind": "a", "flag": rng.random() > 0.5, **more}, None) is None
    return guard


@pytest.mark.parametrize("value", [1e12, -1e12, 1e308, 1e200, 10**15])
def test_what_is_far_from_all_before_is_said_and_taken(value: float) -> None:
    far = warmed().look({"x": value}, None)
    assert far is not None
    assert far.warns
    assert "feature 'x' is " in far.reason
    assert "far outside" in far.reason


@pytest.mark.parametrize("value", [-5.0, 25.0, 100, 0, True])
def test_what_is_merely_unusual_is_ordinary(value: Any) -> None:
    assert warmed().look({"x": value}, None) is None


@pytest.mark.parametrize(("name", "value"), [("x", "n/a"), ("x", b"1"), ("x", [1.0]), ("kind", 7), ("flag", "yes")])
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Unusual, match=rf"feature '{name}' is .* and was (number|string) before") as caught:
        warmed().look({name: value}, None)
    assert caught.value.code == "type"


def test_a_feature_that_has_had_several_types_may_have_any() -> None:
    guard = Guard(Contract())
    for number in range(100):
        assert guard.look({"code": number if number % 9 else "A1"}, None) is None
    assert guard.look({"code": "B2"}, None) is None
    assert guard.look({"code": None}, None) is None


def test_before_there_are_enough_only_what_no_square_holds_is_far() -> None:
    guard = warmed(5)
    assert guard.look({"x": 1e12}, None) is None
    assert guard.look({"x": 1e200}, None) is not None


@pytest.mark.parametrize(
    ("contract", "code"),
    [
        (Contract(bounds="dead-letter"), "outlier"),
        (Contract(features={"x": Feature(bounds="dead-letter")}), "outlier"),
        (Contract(bounds="dead-letter", features={"x": Feature(bounds="warn")}), "warn"),
        (Contract(bounds="off"), None),
    ],
)
def test_what_is_done_is_the_contracts_and_first_of_all_the_features(contract: Contract, code: str | None) -> None:
    guard = warmed(guard=Guard(contract))
    if code == "outlier":
        with pytest.raises(Unusual, match="far outside"):
            guard.look({"x": 1e12}, None)
    else:
        assert (guard.look({"x": 1e12}, None) is not None) is (code == "warn")


def test_a_number_as_the_label_has_bounds_and_a_class_has_a_type() -> None:
    numbers, classes = Guard(Contract()), Guard(Contract())
    for number in range(100):
        numbers.look({}, float(number % 7))
        classes.look({}, ("red", "green")[number % 2])
    far = numbers.look({}, 1e12)
    assert far is not None
    assert far.reason.startswith("the label is 1000000000000.0")
    with pytest.raises(Unusual, match="the label is int 7, and was string before"):
        classes.look({}, 7)
    assert classes.look({}, "blue") is None


def test_a_few_outliers_do_not_widen_the_bounds_and_a_lasting_change_of_level_does() -> None:
    guard = warmed(400)
    for _ in range(20):
        assert guard.look({"x": 1e12}, None) is not None
        warmed(60, guard)
    assert guard.look({"x": 1e12}, None) is not None
    judged = [guard.look({"x": 1e6 + number}, None) for number in range(3000)]
    assert judged[0] is not None
    assert judged[1500:] == [None] * 1500


def test_a_feature_that_was_always_the_same_may_change_a_little() -> None:
    guard = warmed(idle=0.0)
    assert guard.look({"idle": 500.0}, None) is None
    assert guard.look({"idle": 1e6}, None) is not None


def test_a_guard_that_was_saved_and_loaded_judges_as_the_one_that_was_not() -> None:
    rng = random.Random(2)
    guard = warmed()
    other = Guard(Contract())
    other.restore(loads(dumps(copy.deepcopy(guard.dump()))))
    for _ in range(3000):
        features = {"x": rng.choice([rng.gauss(10, 2), rng.gauss(0, 1) * 10 ** rng.randrange(8)])}
        assert guard.look(features, None) == other.look(features, None)
    assert guard.dump() == other.dump()


def test_names_without_end_take_no_memory_without_end() -> None:
    guard = Guard(Contract())
    for number in range(3000):
        guard.look({f"word {number}": 1.0}, None)
    assert len(guard.dump()["features"]) <= 1000
