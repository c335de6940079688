"""Rate limit of `publish`: events per second."""

from __future__ import annotations

import time
from typing import Final

_CATCH_UP_SECONDS: Final = 1.0


class PublishRate:
    """Time at which the next event is due, computed from the start and the count, so that delays do not add up."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._start = time.monotonic()
        self._count = 0

    def seconds_to_wait(self) -> float:
        """Return the seconds until the next event is due, 0 if it is due now."""
        if self._rate is None:
            return 0.0
        wait = self._start + self._count / self._rate - time.monotonic()
        if wait < -_CATCH_UP_SECONDS:
            self._start -= wait + _CATCH_UP_SECONDS
        return max(0.0, wait)

    def count(self) -> None:
        """Count one event as sent."""
        self._count += 1
