"""Confidence bounds of the mean difference of two models' losses that hold at every time at once.

Bounds of a fixed number of labels are wrong if somebody looks at them again and again: a z-test that is looked at after
each label promotes a third of equal models. These hold however often they are looked at, and need neither independent
labels nor a stationary stream.

The statistic is that of Y. J. Choe and A. Ramdas, "Comparing Sequential Forecasters", Operations Research 72 (2024),
theorem 2: for differences d_i of bounded scores, any prediction g_i of d_i from the differences before it, and

    S_t = sum of d_i,    V_t = sum of (d_i - g_i)²,

the mean of the expected differences so far is at least (S_t - u(V_t)) / t, at all t at once, with probability
1 - alpha, if u is a sub-exponential uniform boundary with crossing probability alpha, and its scale c is the range of
the differences.

The boundary u is the gamma-exponential mixture of S. R. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49 (2021), proposition 9; theorem 4 there is
the empirical-Bernstein bound itself. u(v) is the s at which m(s, v) = 1 / alpha, where, with r = rho / c²,
a = (v + rho) / c², b = (c s + v + rho) / c², and P the regularized lower incomplete gamma function,

    m(s, v) = r^r / (G(r) P(r, r)) * G(a) P(a, b) / b^a * exp((c s + v) / c²).

Memory is constant: n, S_t, V_t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from scipy import special

_STEPS: Final = 200  # of a bisection, which ends as soon as the interval is as narrow as doubles allow


class Boundary:
    """The gamma-exponential boundary for sums of differences.

    Parameters
    ----------
    alpha
        Probability that the sums ever cross it, if the expected differences are 0 or lower.
    scale
        Range of one difference: the largest minus the smallest possible value.
    tuned_for
        The V at which the boundary is about as low as it can be. Any positive value is valid, and must be chosen before
        the first difference.

    Examples
    --------
    >>> round(Boundary(alpha=0.05, scale=2.0, tuned_for=100.0).height(100.0), 6)
    33.02017
    """

    __slots__ = ("_constant", "_rho", "_squared", "alpha", "scale", "tuned_for", "wanted")

    def __init__(self, alpha: float, scale: float, tuned_for: float) -> None:
        self.alpha = alpha
        self.scale = scale
        self.tuned_for = tuned_for
        self.wanted = -math.log(alpha)
        self._squared = scale * scale
        # The choice of rho for a V that minimizes the boundary there, as in the paper's section 3.5, with Lambert's
        # function approximated by logarithms.
        level = 2.0 * math.log(1.0 / min(2.0 * alpha, 0.5))
        self._rho = tuned_for / (level + math.log1p(level))
        shape = self._rho / self._squared
        self._constant = shape * math.log(shape) - math.lgamma(shape) - math.log(float(special.gammainc(shape, shape)))

    def log_evidence(self, total: float, variance: float) -> float:
        """Return ln m(s, v) of the module's formula for a sum s >= 0 and V = v >= 0.

        It exceeds ln(1 / alpha) exactly where the sum exceeds `height`.
        """
        moved = (self.scale * total + variance) / self._squared
        a = (variance + self._rho) / self._squared
        b = moved + self._rho / self._squared
        return self._constant + math.lgamma(a) + math.log(float(special.gammainc(a, b))) - a * math.log(b) + moved

    def crossed(self, total: float, variance: float) -> bool:
        """Return whether a sum exceeds the boundary; the same as ``total > height(variance)``, but quicker."""
        return total > 0.0 and self.log_evidence(total, variance) > self.wanted

    def height(self, variance: float) -> float:
        """Return u(V): the sum above which the evidence exceeds 1 / alpha."""
        low, high = 0.0, self.scale
        while self.log_evidence(high, variance) <= self.wanted:
            low, high = high, 2.0 * high
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if self.log_evidence(middle, variance) <= self.wanted:
                low = middle
            else:
                high = middle
        return high


@dataclass
class Differences:
    """Sums over differences, in their order: all that the bounds need.

    Attributes
    ----------
    count, total
        Number and sum of the differences.
    variance
        Sum of the squared distances of each difference from the mean of those before it; the first one's from 0.
    """

    count: int = 0
    total: float = 0.0
    variance: float = 0.0

    def add(self, difference: float) -> None:
        """Add the next difference."""
        guess = self.total / self.count if self.count else 0.0
        self.count += 1
        self.total += difference
        self.variance += (difference - guess) ** 2

    @property
    def mean(self) -> float:
        """Mean difference; 0 before the first."""
        return self.total / self.count if self.count else 0.0

    def copy(self) -> Differences:
        """Return the sums as they are now."""
        return replace(self)

    def exceeds(self, least: float, boundary: Boundary) -> bool:
        """Return whether the lower bound of the mean exceeds `least`."""
        return self.count > 0 and boundary.crossed(self.total - self.count * least, self.variance)

    def bounds(self, boundary: Boundary) -> tuple[float, float]:
        """Return the lower and the upper bound of the mean; each of them is wrong with probability alpha at most."""
        if not self.count:
            return -math.inf, math.inf
        reach = boundary.height(self.variance) / self.count
        return self.mean - reach, self.mean + reach
