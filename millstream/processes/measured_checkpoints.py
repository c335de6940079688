"""Checkpoints of a learner that report the duration of each write to a meter."""

from __future__ import annotations

import time
from typing import Any

from consumers.learner.instrumentation import LearnerMeter
from consumers.model.checkpoints import LearnerCheckpoints, Resumed
from model_store import Manifest


class MeasuredCheckpoints(LearnerCheckpoints):
    """Checkpoints with a `meter`, called for each version written and for the one that learning resumes from."""

    meter = LearnerMeter()

    def write(self, *given: Any, **named: Any) -> Manifest:
        began = time.monotonic()
        written = super().write(*given, **named)
        self.meter.checkpoint(written, time.monotonic() - began)
        return written

    def resume(self, *given: Any, **named: Any) -> Resumed:
        resumed = super().resume(*given, **named)
        if resumed.manifest is not None:
            self.meter.checkpoint(resumed.manifest, None)
        return resumed
