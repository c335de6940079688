"""Profiles of a window: types, categories, distinct values, bounds, private features, and independence of batches."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.monitor.profiles import WindowProfiles, distinct, merge
from consumers.monitor.profiles.size_limit import MOST_BYTES
from schemas.events import Features, FeatureValue
from schemas.profiles import HOUR_MS, Pairs, Profile, Window, read_window


def finished(rows: list[Features], **options: object) -> tuple[dict[str, Profile], Pairs | None, int]:
    profiles = WindowProfiles(**options)  # type: ignore[arg-type]
    profiles.add_features(rows)
    return profiles.finish(len(rows))


def profile(values: list[FeatureValue], **options: object) -> Profile:
    return finished([{"x": value, "y": 1.0} for value in values], **options)[0]["feature:x"]


def window(rows: list[Features], partition: int = 0, **options: object) -> Window:
    found, pairs, left_out = finished(rows, **options)
    made = Window("predictions", "t", partition, 0, 1, 0, 60_000, 0, 1, len(rows), {}, found, left_out, pairs, [])
    return read_window(made.encode())


def random_rows(seed: int, count: int) -> list[Features]:
    """Return rows of a fast kind, of other kinds, and with other names, in stretches."""
    draw = random.Random(seed)
    rows: list[Features] = []
    while len(rows) < count:
        kind = draw.randrange(4)
        for _ in range(draw.choice([1, 40, 700, 1500])):
            row: Features = {"a": draw.gauss(0, 1), "b": draw.gauss(1e9, 1), "c": draw.paretovariate(0.4)}
            if kind == 1:
                row |= {"c": None, "text": draw.choice("xyz"), "flag": draw.random() < 0.5}
            if kind == 2:
                row = {"a": draw.choice([1, 2.5, math.nan, None, "one", True, 2**60 + 1])}
            if kind == 3:
                row |= {"vector": [draw.random(), 1.0], "bytes": b"ab", f"name {draw.randrange(30)}": draw.random()}
            rows.append(row)
    return rows[:count]


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_the_division_into_batches_changes_no_bit(seed: int, cuts: list[int]) -> None:
    rows = random_rows(seed, 4000)
    values = [row.get("a") for row in rows]
    once, batched = WindowProfiles(20), WindowProfiles(20)
    once.add("answer:score", values)
    once.add_features(rows)
    for start, end in pairwise([0, *sorted(cuts), 4000]):
        batched.add_features(rows[start:end])
        batched.add("answer:score", values[start:end])
    made = [
        Window("predictions", "t", 0, 0, 1, 0, 60_000, 0, 1, 4000, {}, found, left_out, pairs, []).encode()
        for found, pairs, left_out in (once.finish(4000), batched.finish(4000))
    ]
    assert made[0] == made[1]


def test_types_and_missing_values() -> None:
    found = profile([1, 2.5, True, False, "a", b"xyz", [3.0, 4.0], None, math.nan, math.inf, -math.inf, [math.nan]])
    assert found.types == {
        "bool": 2, "int": 1, "float": 1, "str": 1, "bytes": 1, "vector": 1, "not finite": 4,
    }  # fmt: skip
    assert found.missing == 1
    assert found.categories == {"False": 1, "True": 1, "a": 1, "1 numbers": 1, "2 numbers": 1}
    assert found.numbers is not None
    # The length of the bytes and the norm of the vector are numbers.
    assert (found.numbers.count, found.numbers.least, found.numbers.most) == (4, 1, 5)


def test_whole_and_floating_numbers_are_one_distribution() -> None:
    assert distinct(profile([1, 1.0, 2, 2.0, -0.0, 0.0, 0, 3])) == 4
    found = profile([1, 1.0, True])
    assert found.numbers is not None
    assert found.numbers.count == 2


def test_whole_numbers_beyond_doubles_are_distinct() -> None:
    found = profile([2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63 - 2, -(2**63)])
    assert distinct(found) == 5
    assert found.types == {"int": 5, "float": 1}
    assert found.numbers is not None
    assert found.numbers.most == 2.0**63


def test_a_type_that_no_feature_has_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        profile([1j])  # type: ignore[list-item]


def test_a_feature_without_any_value_is_missing_everywhere() -> None:
    found, pairs, _ = finished([{"x": None, "y": 1.0}, {"y": 2.0}], declared=["z"])
    assert {name: each.missing for name, each in found.items()} == {"feature:x": 2, "feature:y": 0, "feature:z": 2}
    assert found["feature:x"].numbers is None
    assert pairs is None


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 30_000])
def test_distinct_values(count: int) -> None:
    numbers = profile([float(each % count) for each in range(max(2000, count))])
    texts = profile([f"text {each % count}" for each in range(max(2000, count))])
    for found in (numbers, texts):
        assert found.hashes_are_all == (count <= 64)
        assert distinct(found) == pytest.approx(count, rel=0 if count <= 64 else 0.35)
    assert not set(numbers.hashes) & set(texts.hashes)


def test_the_most_frequent_categories_are_kept() -> None:
    values = [f"{place:03}" for place in range(300) for _ in range(1 + (place < 50))]
    found = profile(values)
    assert found.categories == {f"{place:03}": 1 + (place < 50) for place in range(200)}
    assert found.rest == 100


def test_long_texts_are_kept_apart() -> None:
    found = profile(["x" * 100 + "a", "x" * 100 + "b", "x" * 64])
    assert sorted(map(len, found.categories)) == [64, 64, 64]
    assert distinct(found) == 3


def test_merged_counts_are_equal_in_any_order_and_grouping() -> None:
    draw = random.Random(1)
    rows = [random_rows(seed, draw.choice([10, 500, 2000])) for seed in range(6)]
    windows = [window(each, partition) for partition, each in enumerate(rows)]
    merged = [
        merge(windows, HOUR_MS),
        merge(windows[::-1], HOUR_MS),
        merge([merge(windows[:2], HOUR_MS), merge([merge(windows[3:], HOUR_MS), windows[2]], HOUR_MS)], HOUR_MS),
        window([row for each in rows for row in each]),
    ]
    everything = merged[-1].profiles
    for each in merged:
        assert each.events == sum(map(len, rows))
        assert each.profiles.keys() == everything.keys()
        for name, found in each.profiles.items():
            expected = everything[name]
            assert (found.missing, found.rest) == (expected.missing, 0), name
            assert (found.types, found.categories) == (expected.types, expected.categories), name
            assert (found.hashes, found.hashes_are_all) == (expected.hashes, expected.hashes_are_all), name
            if expected.numbers is not None:
                assert found.numbers is not None
                assert (found.numbers.count, found.numbers.most) == (expected.numbers.count, expected.numbers.most)
                assert found.numbers.squares == pytest.approx(expected.numbers.squares, rel=1e-9)
    assert (
        Counter(row["text"] for each in rows for row in each if "text" in row) == everything["feature:text"].categories
    )


def test_windows_of_two_topics_are_not_merged() -> None:
    one = window([{"x": 1.0}])
    with pytest.raises(ValueError, match="one kind and topic"):
        merge([one, Window("examples", *[getattr(one, name) for name in Window.__struct_fields__[1:]])], HOUR_MS)
    with pytest.raises(ValueError, match="at least one"):
        merge([], HOUR_MS)


@given(st.permutations([f"f{place:02}" for place in range(40)]))
@settings(max_examples=10)
def test_the_same_features_are_watched_in_any_order(names: list[str]) -> None:
    rows: list[Features] = [{name: 1.0, "declared": 2.0} for name in names for _ in range(30)]
    found, pairs, left_out = finished(rows, most_features=10, declared=["z", "declared"])
    kept = ["declared", *(f"f{place:02}" for place in range(8)), "z"]
    assert list(found) == [f"feature:{name}" for name in kept]
    assert left_out == 32 * 30
    assert pairs is not None
    assert set(pairs.first + pairs.second) == {"declared", *kept[1:-1]}
    parts = [
        window(rows[at : at + 150], at, most_features=10, declared=["z", "declared"]) for at in range(0, 1200, 150)
    ]
    merged = merge(parts, HOUR_MS, 10, ["z", "declared"])
    assert list(merged.profiles) == list(found)
    assert merged.left_out == left_out
    assert [each.missing for each in merged.profiles.values()] == [each.missing for each in found.values()]


def test_private_features_leave_hashes_and_counts_alone() -> None:
    rows: list[Features] = [
        {
            "age": 47114711.25,
            "name": "Frieda",
            "flag": True,
            "code": b"47114711",
            "place": [4711.4711, 47114711.0],
            "open": 1.0 * place,
        }
        for place in range(100)
    ]
    private = ["age", "name", "flag", "code", "place"]
    made = window(rows, private=private, hash_key=b"key")
    text = str(made)
    assert "47114711" not in text
    assert "Frieda" not in text
    for name in private:
        found = made.profiles[f"feature:{name}"]
        assert (found.numbers, sum(found.types.values()), distinct(found)) == (None, 100, 1)
    assert list(made.profiles["feature:name"].categories.values()) == [100]
    other = window(rows, private=private, hash_key=b"another")
    assert other.profiles["feature:age"].hashes != made.profiles["feature:age"].hashes
    assert made.pairs is None


def test_equal_private_numbers_are_one_value() -> None:
    assert distinct(profile([1, 1.0, 2, 2**53 + 1, float(2**53)], private=["x"], hash_key=b"key")) == 4


def test_a_record_stays_small() -> None:
    draw = np.random.default_rng(1)
    rows: list[Features] = [
        {f"{'name' * 10} {place:03}": f"{'x' * 48} {number} {place}" for place in range(500)} for number in range(300)
    ]
    made = window(rows)
    size = len(made.encode())
    assert MOST_BYTES // 4 < size <= 900_000
    for found in made.profiles.values():
        assert sum(found.categories.values()) + found.rest == 300
        assert not found.hashes_are_all
        assert distinct(found) == pytest.approx(300, rel=1)
    both = merge([made, made], HOUR_MS)
    assert len(both.encode()) <= 900_000
    numbers: list[Features] = [
        {f"{place:03}": draw.poisson(60) + draw.random() for place in range(500)} for _ in range(300)
    ]
    assert len(window(numbers, pairs=[]).encode()) <= 900_000
    day = merge([window(numbers, pairs=[]), window(numbers[:200], pairs=[])], 24 * HOUR_MS)
    assert len(day.encode()) <= 900_000
    assert all(each.numbers is not None and sum(each.numbers.weights) == 500 for each in day.profiles.values())


@pytest.mark.full
def test_memory_is_bounded() -> None:
    """5,000 names and a million categories in one window."""
    profiles = WindowProfiles(500)
    tracemalloc.start()
    try:
        for block in range(40):
            rows = [_wide(block * 5000 + place) for place in range(5000)]
            profiles.add_features(rows)
            del rows
            held, _ = tracemalloc.get_traced_memory()
            assert held < 40e6
    finally:
        tracemalloc.stop()
    found, _, left_out = profiles.finish(200_000)
    assert len(found) == 500
    assert left_out == 4505 * 40
    for place in range(5):
        each = found[f"feature:id {place}"]
        assert sum(each.categories.values()) + each.rest == 200_000
        assert distinct(each) == pytest.approx(200_000, rel=0.35)


def _wide(number: int) -> Features:
    row: Features = {f"id {place}": f"a text of some length {place} {number}" for place in range(5)}
    return row | {f"name {number % 5000}": 1.0 * number}
