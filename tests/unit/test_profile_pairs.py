"""Moments of pairs: as numpy computes them, with missing values, over blocks and merged windows."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from consumers.monitor.profiles import WindowProfiles, correlations, merge
from schemas.events import Features
from schemas.profiles import HOUR_MS, Pairs, Window, read_window


def window(rows: list[Features], offset: int = 0, pairs: list[tuple[str, str]] | None = None) -> Window:
    profiles = WindowProfiles(pairs=pairs)
    profiles.add_features(rows)
    found, sums, left_out = profiles.finish(len(rows))
    made = Window("predictions", "t", 0, offset, 1, 0, 60_000, 0, 1, len(rows), {}, found, left_out, sums, [])
    return read_window(made.encode())


def rows_of(count: int, seed: int, missing: float) -> list[Features]:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=count)
    table = {
        "a": common + rng.normal(size=count),
        "b": 1e9 - common * 0.1 + rng.normal(size=count),
        "c": rng.integers(0, 5, count) + common,
        "d": np.full(count, 0.1),
        "e": rng.pareto(3, count),
    }
    rows: list[Features] = [{name: float(column[at]) for name, column in table.items()} for at in range(count)]
    for row in rows:
        for name in list(row):
            if rng.random() < missing:
                row[name] = [None, math.nan, "text", True][int(rng.integers(4))]
    return rows


def check(found: Pairs | None, rows: list[Features]) -> None:
    assert found is not None
    assert list(zip(found.first, found.second, strict=True)) == list(combinations("abcde", 2))
    for place, (first, second) in enumerate(combinations("abcde", 2)):
        both = [
            (row[first], row[second])
            for row in rows
            if all(type(row[name]) is float and math.isfinite(row[name]) for name in (first, second))  # type: ignore[arg-type]
        ]
        x, y = np.array(both, np.longdouble).T
        assert found.counts[place] == len(both)
        assert found.means_first[place] + found.lows_first[place] == pytest.approx(float(x.mean()), rel=1e-14)
        assert found.means_second[place] + found.lows_second[place] == pytest.approx(float(y.mean()), rel=1e-14)
        sums = [float((one * other).sum()) for one, other in ((x - x.mean(),) * 2, (y - y.mean(),) * 2)]
        scale = math.sqrt(sums[0] * sums[1])
        assert found.squares_first[place] == pytest.approx(sums[0], rel=1e-9, abs=1e-20)
        assert found.squares_second[place] == pytest.approx(sums[1], rel=1e-9, abs=1e-20)
        product = float(((x - x.mean()) * (y - y.mean())).sum())
        assert found.products[place] == pytest.approx(product, rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_moments_of_pairs(missing: float) -> None:
    rows = rows_of(2500, 1, missing)
    check(window(rows).pairs, rows)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_merged_moments_of_pairs(missing: float) -> None:
    sizes = [40, 1500, 7, 300, 900]
    parts = [rows_of(size, size, missing) for size in sizes]
    windows = [window(part, at) for at, part in enumerate(parts)]
    rows = [row for part in parts for row in part]
    check(merge(windows, HOUR_MS).pairs, rows)
    chain = windows[4]
    for each in (3, 0, 2, 1):
        chain = merge([windows[each], chain], HOUR_MS)
    check(chain.pairs, rows)


def test_correlations() -> None:
    rows = rows_of(4000, 2, 0)
    found = correlations(window(rows).pairs)
    assert not any("d" in pair for pair in found)  # a constant has none
    for (first, second), (value, count) in found.items():
        expected = np.corrcoef([row[first] for row in rows], [row[second] for row in rows])[0, 1]  # type: ignore[misc]
        assert (value, count) == (pytest.approx(expected, abs=1e-7), 4000)
    assert correlations(None) == {}


def test_named_pairs_alone() -> None:
    found = window(rows_of(100, 3, 0), pairs=[("c", "a"), ("a", "nothing"), ("b", "e"), ("a", "c")]).pairs
    assert found is not None
    assert list(zip(found.first, found.second, strict=True)) == [("c", "a"), ("b", "e")]


def test_the_first_50_number_features_have_pairs() -> None:
    numbers: Features = {f"n{place:02}": 1.0 * place for place in range(60)}
    late: Features = {**numbers, "a": 1.0, "m": "text"}
    rows = [numbers] * 1500 + [late] * 1500
    found = window(rows).pairs
    assert found is not None
    assert len(found.first) == 1225
    assert set(found.first + found.second) == {"a", *(f"n{place:02}" for place in range(49))}
    assert set(found.counts) == {1500, 3000}
    merged = merge([window(rows[:1500], 0), window(rows[1500:], 1)], HOUR_MS).pairs
    assert merged is not None
    assert (sorted(zip(merged.first, merged.second, strict=True)), sorted(merged.counts)) == (
        sorted(zip(found.first, found.second, strict=True)),
        sorted(found.counts),
    )


def test_huge_numbers_have_no_infinite_moments() -> None:
    rng = np.random.default_rng(1)
    rows: list[Features] = [
        {"a": float(rng.normal() * 1e200), "b": float(rng.choice([-1.7e308, 1.7e308])), "c": float(rng.normal())}
        for _ in range(2000)
    ]
    merged = window(rows)
    for at in range(5):
        merged = merge([merged, window(rows, at)], HOUR_MS)
    sums = merged.pairs
    assert sums is not None
    lists = [getattr(sums, name) for name in Pairs.__struct_fields__[2:]]
    assert all(math.isfinite(value) for each in lists for value in each)
    assert all(-1 <= value <= 1 for value, _ in correlations(sums).values())
