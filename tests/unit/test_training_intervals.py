"""The interval of a comparison: an equal model is hardly ever better, also where errors come in a row."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from millstream.training.comparing import mean_with_interval

SEEDS = 400


def errors(count: int, alike: float, share: float, seed: int) -> Any:
    """Return for `SEEDS` models which of `count` events each gets wrong; errors follow each other with `alike`."""
    chance = np.random.default_rng(seed)
    found, new = np.empty((SEEDS, count)), chance.normal(size=(SEEDS, count)) * math.sqrt(1 - alike * alike)
    found[:, 0] = chance.normal(size=SEEDS)
    for place in range(1, count):
        found[:, place] = alike * found[:, place - 1] + new[:, place]
    return (found < NormalDist().inv_cdf(share)).astype(float)


def better(served: Any, new: Any) -> float:
    """Return for what share of the seeds the new model would be promoted."""
    lows = [mean_with_interval(each).low for each in served - new]
    return sum(low is not None and low > 0 for low in lows) / SEEDS


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("count", [10, 20, 50, 100, 300, 600])
def test_an_equal_model_is_hardly_ever_better(count: int, alike: float) -> None:
    found = better(errors(count, alike, 0.3, 1), errors(count, alike, 0.3, 2))
    assert found < (0.055 if alike < 0.9 else 0.08), "one in forty, and what 400 seeds scatter"


@pytest.mark.parametrize(("count", "alike", "least"), [(100, 0.0, 0.25), (600, 0.0, 0.9), (600, 0.5, 0.65)])
def test_a_better_model_is_found(count: int, alike: float, least: float) -> None:
    assert better(errors(count, alike, 0.3, 1), errors(count, alike, 0.2, 2)) > least


def test_a_worse_model_is_never_better() -> None:
    for count in (50, 300):
        assert better(errors(count, 0.5, 0.3, 1), errors(count, 0.5, 0.4, 2)) <= 0.005


def test_equal_answers_differ_by_nothing() -> None:
    found = mean_with_interval(np.zeros(100))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
