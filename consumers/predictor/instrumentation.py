"""Instrumentation of a predictor, in addition to that of its loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.predictor.predictor import ServedVersion


class PredictorMeter:
    """Receives the version swaps and ignores them; see `consumers.loop.instrumentation.Meter`."""

    def swapped(self, version: ServedVersion) -> None:
        """The predictor has swapped to another version."""
