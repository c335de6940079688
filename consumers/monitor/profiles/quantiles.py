"""Quantiles of numbers, read from the weighted points of a profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.profiles import Numbers


def share_up_to(numbers: Numbers, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share (0 to 1) of the numbers that are at most each of the values."""
    up_to = np.cumsum(numbers.weights)
    found = np.interp(np.asarray(values, np.float64), numbers.points, up_to / numbers.count, left=0.0)
    return np.asarray(found, np.float64)


def quantiles(numbers: Numbers, shares: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values below which each share (0 to 1) of the numbers lies."""
    up_to = np.cumsum(numbers.weights)
    found = np.interp(np.asarray(shares, np.float64), up_to / numbers.count, numbers.points)
    return np.asarray(found, np.float64)
