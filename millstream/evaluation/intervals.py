"""Intervals of metrics along a stream, by the delete-a-block jackknife.

Neighbouring examples are alike, so their errors are not independent, and a binomial interval would be too narrow. The
examples are cut into consecutive blocks; a metric is computed over all of them but one, for each block in turn. The
spread of these values gives the standard error (Künsch, "The Jackknife and the Bootstrap for General Stationary
Observations", Annals of Statistics 17, 1989). The interval is the value plus or minus the quantile of Student's t for
95 % times that error. For a mean it equals the method of batch means (Schmeiser, "Batch Size Effects in the Analysis
of Simulation Output", Operations Research 30, 1982), whose advice of 10 to 30 blocks is kept. It needs no random
numbers, so the same data gives the same interval.

The blocks' spread includes what changes along the stream: a model that still learns, or a drift, widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from scipy import special

LEAST_BLOCKS: Final = 10
MOST_BLOCKS: Final = 30
_UPPER: Final = 0.975  # for 95 % on both sides together

Values = dict[str, float | None]
State = TypeVar("State")


class Estimate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value and its 95 % interval; `low` and `high` are `None` with too few blocks, or without a value in one."""

    value: float | None
    low: float | None = None
    high: float | None = None


def coarse(states: Sequence[State]) -> list[State]:
    """Return the states after at most `MOST_BLOCKS` blocks of equal size, as the jackknife needs; the last one stays.

    >>> len(coarse([{}] * 100)), len(coarse([{}] * 12))
    (25, 12)
    """
    step = -(-len(states) // MOST_BLOCKS) or 1
    kept, rest = list(states[step - 1 :: step]), len(states) % step
    if 0 < rest * 2 < step and kept:
        kept.pop()  # too short for a block of its own
    if not kept or kept[-1] is not states[-1]:
        kept.append(states[-1])
    return kept if states else []


def estimate(value: float | None, left_out: Sequence[float | None]) -> Estimate:
    """Return a value with its interval.

    Parameters
    ----------
    left_out
        The value without each block.

    >>> found = estimate(0.5, [0.5 + (0.01 if n % 2 else -0.01) / 19 for n in range(20)])
    >>> round(found.low, 4), round(found.high, 4)
    (0.4952, 0.5048)
    """
    known = [each for each in left_out if each is not None]
    count = len(known)
    if value is None or count < LEAST_BLOCKS or count < len(left_out):
        return Estimate(value)
    mean = math.fsum(known) / count
    # Unlike a sum of squares, this does not overflow.
    error = math.sqrt((count - 1) / count) * math.hypot(*(each - mean for each in known))
    reach = float(special.stdtrit(count - 1, _UPPER)) * error
    if not math.isfinite(reach):
        return Estimate(value)
    return Estimate(value, value - reach, value + reach)


def estimate_difference(
    ours: Estimate, theirs: Estimate, left: Sequence[float | None], right: Sequence[float | None]
) -> Estimate:
    """Return the difference of two values on the same blocks, with its interval; blocks are left out of both."""
    if ours.value is None or theirs.value is None:
        return Estimate(None)
    pairs = [None if a is None or b is None else a - b for a, b in zip(left, right, strict=True)]
    return estimate(ours.value - theirs.value, pairs)
