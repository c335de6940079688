"""Moments of pairs of numbers, and their correlations."""

from __future__ import annotations

import math

from schemas.profiles import Pairs


def correlations(pairs: Pairs | None) -> dict[tuple[str, str], tuple[float, int]]:
    """Return each pair's correlation (-1 to 1) and the number of events that have both.

    Pairs without a correlation are left out: fewer than 2 events, or one of the two is constant.
    """
    if pairs is None:
        return {}
    found: dict[tuple[str, str], tuple[float, int]] = {}
    rows = zip(
        zip(pairs.first, pairs.second, strict=True),
        pairs.counts,
        pairs.squares_first,
        pairs.squares_second,
        pairs.products,
        strict=True,
    )
    for names, count, first, second, product in rows:
        scale = math.sqrt(first) * math.sqrt(second)
        if count > 1 and scale > 0:
            found[names] = (max(-1.0, min(1.0, product / scale)), count)
    return found
