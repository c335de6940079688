"""Quantiles and moments of windows: exact where they can be, and merged in any order and grouping."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumers.monitor.profiles import WindowProfiles, merge, quantiles, share_up_to
from schemas.profiles import DAY_MS, HOUR_MS, Numbers, Window, read_window

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "1e9 ± 1": lambda rng, size: 1e9 + rng.uniform(-1, 1, size),
    "293.1 ± 0.5": lambda rng, size: rng.normal(293.1, 0.5, size),
    "Pareto": lambda rng, size: 1000 * rng.pareto(0.5, size),
    "Cauchy": lambda rng, size: rng.standard_cauchy(size),
    "few integers": lambda rng, size: rng.integers(0, 10, size).astype(float),
    "200 integers": lambda rng, size: rng.integers(0, 200, size).astype(float),
    "counts": lambda rng, size: rng.poisson(1000, size).astype(float),
    "mostly zero": lambda rng, size: np.where(rng.random(size) < 0.6, 0.0, rng.lognormal(0, 2, size)),
    "two far modes": lambda rng, size: rng.normal(size=size) + np.where(rng.random(size) < 0.507, 0, 1e6),
    "constant": lambda rng, size: np.full(size, 0.1),
    "another one each": lambda rng, size: rng.normal(rng.uniform(-5, 5), 1, size),
    "largest doubles": lambda rng, size: rng.choice([-1.7e308, 1.7e308, 1.0, 2e200], size) * rng.random(size),
}


def window(values: Sequence[float] | Floats, start: int = 0, offset: int = 0) -> Window:
    """Return a window whose records have one value, as read from the topic."""
    profiles = WindowProfiles()
    profiles.add("metric:x", np.asarray(values, float).tolist())
    found, pairs, left_out = profiles.finish(len(values))
    made = Window(
        "metrics",
        "x",
        0,
        offset,
        offset + len(values),
        start,
        60_000,
        0,
        1,
        len(values),
        {},
        found,
        left_out,
        pairs,
        [],
    )
    return read_window(made.encode())


def numbers_of(found: Window) -> Numbers:
    numbers = found.profiles["metric:x"].numbers
    assert numbers is not None
    return numbers


def rank_error(numbers: Numbers, values: Floats) -> float:
    """Return the largest difference of shares, at all values and between any two."""
    ordered = np.sort(values)
    distinct = np.unique(ordered)
    at = np.concatenate((distinct, distinct[1:] / 2 + distinct[:-1] / 2, [-math.inf, math.inf]))
    exact = np.searchsorted(ordered, at, side="right") / len(ordered)
    assert (share_up_to(numbers, at[:-2]) >= 0).all()
    return float(np.abs(share_up_to(numbers, at[:-2]) - exact[:-2]).max())


def in_order(windows: list[Window], span: int, rng: np.random.Generator) -> Window:
    merged = windows[0]
    for each in windows[1:]:
        merged = merge([merged, each], span)
    return merged


def as_a_tree(windows: list[Window], span: int, rng: np.random.Generator) -> Window:
    pool = list(windows)
    while len(pool) > 1:
        several = [pool.pop(int(rng.integers(len(pool)))) for _ in range(min(len(pool), int(rng.integers(2, 5))))]
        pool.append(read_window(merge(several, span).encode()))
    return pool[0]


def hours_then_all(windows: list[Window], span: int, rng: np.random.Generator) -> Window:
    return merge([merge(windows[at : at + 12], HOUR_MS) for at in range(0, len(windows), 12)], span)


@pytest.mark.parametrize("group", [in_order, as_a_tree, hours_then_all])
@pytest.mark.parametrize(
    "sizes", [[3000] * 24, [7] * 60, [1, 2000, 30, 500, 1, 1, 90] * 5], ids=["even", "small", "mixed"]
)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_merged_in_any_grouping(name: str, sizes: list[int], group: Callable[..., Window]) -> None:
    rng = np.random.default_rng(len(name) + len(sizes))
    parts = [DISTRIBUTIONS[name](rng, size) for size in sizes]
    values = np.concatenate(parts)
    found = numbers_of(group([window(part, offset=at) for at, part in enumerate(parts)], HOUR_MS, rng))
    assert found.count == sum(found.weights) == len(values)
    assert (found.least, found.most) == (values.min(), values.max()) == (found.points[0], found.points[-1])
    assert rank_error(found, values) <= 0.01
    check_moments(found, values)


def check_moments(found: Numbers, values: Floats) -> None:
    """Compare with two passes in longer floating point numbers."""
    longer = values.astype(np.longdouble)
    mean = longer.sum() / len(longer)
    squares = np.square(longer - mean).sum()
    scale = float(np.abs(values).max())
    assert abs((found.mean - mean) + found.mean_low) <= scale * 1e-15
    if squares > sys.float_info.max:
        assert found.squares == sys.float_info.max
    else:
        assert abs(found.squares - squares) <= squares * 1e-9


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_one_window(name: str) -> None:
    values = DISTRIBUTIONS[name](np.random.default_rng(3), 10_000)
    found = numbers_of(window(values))
    assert rank_error(found, values) <= 0.006
    assert len(found.points) <= 195
    check_moments(found, values)


def test_up_to_96_values_are_exact() -> None:
    values = np.random.default_rng(1).integers(0, 96, 5000).astype(float)
    assert rank_error(numbers_of(window(values)), values) == pytest.approx(0, abs=0.0)


def test_a_window_of_many_numbers_is_thinned_in_between() -> None:
    values = np.random.default_rng(5).lognormal(0, 3, 300_000)
    found = numbers_of(window(values))
    assert rank_error(found, values) <= 0.006
    assert found.count == 300_000


def test_quantiles_of_known_numbers() -> None:
    found = numbers_of(window(np.arange(10_001.0)))
    assert quantiles(found, [0, 0.1, 0.5, 0.999, 1]) == pytest.approx([0, 1000, 5000, 9990, 10_000], abs=12)
    few = numbers_of(window([1.0] * 60 + [5.0] * 40))
    assert quantiles(few, [0.1, 0.59, 0.61, 0.9]).tolist() == [1, 1, 5, 5]
    assert share_up_to(few, [0.9, 1, 3, 5, 6]).tolist() == [0, 0.6, 0.6, 1, 1]


finite = st.floats(allow_nan=False, allow_infinity=False)
values_of = st.one_of(
    finite,
    st.integers(-3, 3).map(float),
    st.floats(-1, 1).map(lambda value: 1e9 + value),
    st.sampled_from([0.0, -0.0, 0.1]),
)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(values_of, min_size=1, max_size=200), min_size=1, max_size=8), data=st.data())
def test_any_numbers_in_any_order_and_grouping(parts: list[list[float]], data: st.DataObject) -> None:
    values = np.concatenate([np.array(part) for part in parts])
    pool = [window(part, offset=at) for at, part in enumerate(parts)]
    while len(pool) > 1:
        one = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        other = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        pool.append(merge([one, other], HOUR_MS))
    found = numbers_of(pool[0])
    assert found.count == sum(found.weights) == len(values)
    assert (found.least, found.most) == (values.min(), values.max())
    assert all(map(math.isfinite, [found.mean, found.mean_low, found.squares, *found.points]))
    assert rank_error(found, values) <= 0.01
    profile = pool[0].profiles["metric:x"]
    assert profile.types == {"float": len(values)}
    exact = len(set(values.tolist()))
    assert len(profile.hashes) == min(64, exact)
    assert profile.hashes_are_all == (exact <= 64)


@settings(max_examples=60, deadline=None)
@given(part=st.lists(finite, min_size=1, max_size=40))
@example(part=[1e200, -1e200])
@example(part=[1.7e308] * 3 + [-1.7e308] * 3)
@example(part=[0.0, 5e-324, -5e-324])
@example(part=[0.0, 1e-310] * 2)
def test_nothing_infinite_ever_leaves(part: list[float]) -> None:
    found = numbers_of(merge([window(part), window(part, offset=1)], DAY_MS))
    assert all(map(math.isfinite, [found.mean, found.mean_low, found.squares, *found.points]))
    assert found.least <= found.mean <= found.most
    read = quantiles(found, np.linspace(0, 1, 50))
    assert (np.diff(read / 2) >= -1e-15 * np.abs(read[1:])).all()
    assert (read[0], read[-1]) == (found.least, found.most)
    assert np.isfinite(read).all()
    check_mean(found, np.array(part))


def check_mean(found: Numbers, part: Floats) -> None:
    mean = sum(map(Fraction, part.tolist())) / len(part)
    largest = Fraction(float(np.abs(part).max()))
    assert abs(Fraction(found.mean) - mean) <= largest * Fraction(1, 10**15) + Fraction(1, 10**320)
