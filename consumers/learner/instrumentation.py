"""What a learner tells of its work beside what its loop tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store import Manifest


class LearnerMeter:
    """Hears of versions, and does nothing with them; see `consumers.loop.instrumentation.Meter`."""

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        """The learner wrote this version in so many seconds; `None` where it was there and learning goes on from it."""
