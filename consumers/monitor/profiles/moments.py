"""Mean and sum of squares of numbers, and their merging, accurate also for numbers such as 1e9 ± 1.

A mean is kept as two doubles, `mean` and what its rounding left out, `low`. With one double the difference of two means
near 1e9 has 7 digits after the point, and merging takes its square: variances would be off by 1e-8.

Nothing here is ever infinite or NaN. A sum of squares beyond the largest double (numbers beyond 1e154) is held at the
largest double, so the standard deviation read from it is too small, and still enormous. Means are right.
"""

from __future__ import annotations

import math
import sys
from typing import Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Sums = TypeVar("Sums", float, Floats)

LARGEST: Final = sys.float_info.max


class Moments(NamedTuple):
    """Mean (`mean` + `low`) of `numbers` numbers, and their sum of squared differences from it."""

    numbers: int
    mean: float
    low: float
    squares: float


NO_MOMENTS: Final = Moments(0, 0.0, 0.0, 0.0)


def moments_of(numbers: Floats) -> Moments:
    """Return the moments of finite numbers, in two passes; at least one number."""
    count = len(numbers)
    least, most = float(numbers.min()), float(numbers.max())
    if least == most:
        return Moments(count, least, 0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        # Each is divided before they are added, so that the sum of large numbers is finite.
        # Rounding may carry the sum beyond the largest of them.
        mean = min(max(float(np.sum(numbers / count)), least), most)
        differences = numbers - mean
        rest = float(np.sum(differences))
        squares = float(np.sum(np.square(differences))) - rest * rest / count
    if not math.isfinite(rest):
        return Moments(count, mean, 0.0, LARGEST)
    mean, low = two_sum(mean, rest / count)
    return Moments(count, mean, low, _held(squares))


def merged_moments(one: Moments, other: Moments) -> Moments:
    """Return the moments of both together (Chan, Golub, LeVeque 1979)."""
    if not one.numbers or not other.numbers:
        return other if other.numbers else one
    count = one.numbers + other.numbers
    apart = (other.mean - one.mean) + (other.low - one.low)
    if not math.isfinite(apart):
        mean = one.mean * (one.numbers / count) + other.mean * (other.numbers / count)
        return Moments(count, mean, 0.0, LARGEST)
    mean, rest = two_sum(one.mean, apart * (other.numbers / count))
    mean, low = two_sum(mean, rest + one.low)
    squares = one.squares + other.squares + apart * apart * (one.numbers * (other.numbers / count))
    return Moments(count, mean, low, _held(squares))


def two_sum(one: Sums, other: Sums) -> tuple[Sums, Sums]:
    """Return the rounded sum and exactly what rounding left out (Knuth), of two numbers or of arrays."""
    total = one + other
    part = total - one
    return total, (one - (total - part)) + (other - part)


def _held(squares: float) -> float:
    """Return a sum of squares between 0 and the largest double; rounding may have made it negative, overflow NaN."""
    return max(0.0, squares) if squares < LARGEST else LARGEST
