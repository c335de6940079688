"""Facets by which served answers are grouped."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from schemas.profiles import DAY_MS, HOUR_MS

MINUTE_MS: Final = 60_000

EPOCH: Final = "epoch"
DELAY: Final = "delay"
DECISION: Final = "decision"
SLICE: Final = "slice:"
"""Beginning of the facet of one of the stream's slices."""
PREDICTED: Final = "predicted"
"""Facet of the group that counts labelled predictions by the time of the prediction."""
LABELLED: Final = "labelled"
"""Key of these counts among the sums."""

DELAYS_MS: Final = (MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS)
DELAYS: Final = ("up to 1m", "up to 10m", "up to 1h", "up to 6h", "up to 1d", "up to 7d", "above 7d")
NO_LABEL: Final = "no label in time"
"""Group of the answers whose label stands for a missing one (`Labels(on_timeout=…)`)."""
MOST_VALUES: Final = 100
"""Most groups of one facet; further values are put together."""
OTHER: Final = "other"


def delay_of(milliseconds: int) -> str:
    """Return the group of a label that came so late.

    >>> delay_of(0), delay_of(60_000), delay_of(60_001), delay_of(8 * DAY_MS)
    ('up to 1m', 'up to 1m', 'up to 10m', 'above 7d')
    """
    return DELAYS[bisect_left(DELAYS_MS, milliseconds)]
