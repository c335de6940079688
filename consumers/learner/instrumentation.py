"""Instrumentation of a learner, in addition to that of its loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_store import Manifest


class LearnerMeter:
    """Receives the written versions and ignores them; see `consumers.loop.instrumentation.Meter`."""

    def checkpoint(self, version: Manifest, seconds: float | None) -> None:
        """The learner wrote this version in `seconds`; `None` if it resumed from an existing version."""
