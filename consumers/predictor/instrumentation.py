"""What a predictor tells of its work beside what its loop tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.predictor.predictor import ServedVersion


class PredictorMeter:
    """Hears of swaps, and does nothing with them; see `consumers.loop.instrumentation.Meter`."""

    def swapped(self, version: ServedVersion) -> None:
        """The predictor has another version to answer with."""
