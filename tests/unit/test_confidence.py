"""Bounds of a mean difference: they hold at every time at once, and agree with a slow independent computation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.referee.confidence import Boundary, Differences


def _mixture(total: float, variance: float, alpha: float, scale: float, tuned_for: float) -> float:
    """Return the logarithm of the mixture of exponential supermartingales, by adding it up over a fine grid.

    Each is exp(x s - v (-ln(1 - c x) - c x) / c²), x from 0 to 1 / c; u = 1 - c x has a Gamma distribution with shape
    and rate rho / c², cut off at 1.
    """
    level = 2.0 * math.log(1.0 / min(2.0 * alpha, 0.5))
    shape = tuned_for / (level + math.log1p(level)) / scale**2
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # In z = ln u, in pieces: the integrand is smooth there, and vanishes far below.
    edges = np.concatenate(
        (np.linspace(-60.0 - 40.0 / shape, -60.0, 200, endpoint=False), np.linspace(-60.0, 0.0, 241))
    )
    middles, halves = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z = (middles[:, None] + halves[:, None] * nodes[None, :]).ravel()
    weight = (halves[:, None] * weights[None, :]).ravel()
    u = np.exp(z)
    density = shape * z - shape * u
    x = (1.0 - u) / scale
    exponent = x * total - variance * (-z - scale * x) / scale**2

    def added(logs: np.ndarray) -> float:
        top = float(logs.max())
        return top + math.log(float(np.sum(weight * np.exp(logs - top))))

    return added(density + exponent) - added(density)


@pytest.mark.parametrize("scale", [1.0, 2.0, 13.8])
@pytest.mark.parametrize("variance", [0.0, 0.3, 40.0, 2500.0])
@pytest.mark.parametrize("total", [0.0, 1.0, 60.0, 700.0])
def test_the_evidence_is_the_integral_that_it_stands_for(scale: float, variance: float, total: float) -> None:
    boundary = Boundary(0.02, scale, 100.0)
    slow = _mixture(total, variance, 0.02, scale, 100.0)
    assert boundary.log_evidence(total, variance) == pytest.approx(slow, rel=1e-9, abs=1e-9)


@given(
    st.floats(0.001, 0.5),
    st.sampled_from([1.0, 2.0, 50.0]),
    st.floats(0.0, 1e6),
    st.floats(0.01, 1e5),
)
def test_the_height_is_where_the_evidence_passes_the_level(
    alpha: float, scale: float, variance: float, tuned_for: float
) -> None:
    boundary = Boundary(alpha, scale, tuned_for)
    height = boundary.height(variance)
    assert boundary.log_evidence(height, variance) == pytest.approx(-math.log(alpha), abs=1e-6)
    assert boundary.crossed(height * (1 + 1e-9) + 1e-9, variance)
    assert not boundary.crossed(height * (1 - 1e-6), variance)


@given(st.floats(0.001, 0.3), st.floats(0.0, 1000.0), st.floats(0.1, 1000.0))
def test_it_rises_with_the_variance_and_with_confidence(alpha: float, variance: float, more: float) -> None:
    boundary = Boundary(alpha, 2.0, 100.0)
    assert boundary.height(variance + more) > boundary.height(variance)
    assert Boundary(alpha / 2, 2.0, 100.0).height(variance) > boundary.height(variance)


def _plainly(differences: Sequence[float]) -> tuple[float, float]:
    variance = sum((each - (math.fsum(differences[:n]) / n if n else 0.0)) ** 2 for n, each in enumerate(differences))
    return math.fsum(differences) / len(differences), variance


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=60), st.floats(-0.5, 0.5))
def test_the_sums_are_those_of_the_definition(differences: list[float], least: float) -> None:
    sums = Differences()
    for each in differences:
        sums.add(each)
    mean, variance = _plainly(differences)
    boundary = Boundary(0.05, 2.0, 10.0)
    low, high = sums.bounds(boundary)
    assert (sums.count, sums.mean) == (len(differences), pytest.approx(mean, abs=1e-12))
    assert sums.variance == pytest.approx(variance, abs=1e-9)
    assert low == pytest.approx(mean - boundary.height(variance) / len(differences), abs=1e-9)
    assert high - mean == pytest.approx(mean - low)
    assert abs(low - least) < 1e-9 or sums.exceeds(least, boundary) == (low > least)


def test_before_the_first_difference_nothing_is_known() -> None:
    assert Differences().bounds(Boundary(0.05, 2.0, 10.0)) == (-math.inf, math.inf)
    assert not Differences().exceeds(-1.0, Boundary(0.05, 2.0, 10.0))


def test_a_mean_that_changes_all_the_time_is_inside_at_every_time() -> None:
    """A stream that is not stationary, with differences that depend on those before: 400 of them, alpha 0.1 a side."""
    missed = 0
    boundary = Boundary(0.1, 2.0, 50.0)
    for seed in range(400):
        random = np.random.default_rng(seed)
        sums, expected = Differences(), 0.0
        outside = False
        for number in range(1, 801):
            centre = 0.5 * math.sin(number / 50.0) + (0.2 if sums.mean < 0 else -0.2)
            expected += centre
            sums.add(1.0 if random.random() < (1.0 + centre) / 2.0 else -1.0)
            outside = outside or boundary.crossed(sums.total - expected, sums.variance)
        missed += outside
    assert missed <= 40
