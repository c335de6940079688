"""Timer of a learner's checkpoints: due by its own clock and by the duration of the last one."""

from __future__ import annotations

import time

from consumers.model.checkpoints import CheckpointPace


class CheckpointTimer:
    """Decides when versions are due. It lives as long as the process, so that a takeover makes none due.

    Attributes
    ----------
    last_cost
        Seconds that the newest version took to write.
    now_ms
        Time of the last tick; 0 before the first.
    written
        Number of versions that this process has written, without the first ones of epochs.
    """

    def __init__(self, pace: CheckpointPace) -> None:
        self._pace = pace
        self._asked = self._last_began = 0.0
        self.last_cost = 0.0
        self.now_ms = 0
        self.written = 0

    def due(self, learned: int, *, filling: bool) -> bool:
        """Return whether a version is due; `filling` means that the records for a rollback take much memory."""
        self._asked = time.monotonic()
        since_last = self._asked - self._last_began
        # A store that does not answer must not take all the learning time.
        return self._pace.due(since_last, self.last_cost, learned) or (
            filling and learned > 0 and self._pace.affords(since_last, self.last_cost)
        )

    def wrote(self) -> None:
        """Record that the version that was due was written, or failed to be."""
        self._last_began, self.last_cost = self._asked, time.monotonic() - self._asked


def wall_ms() -> int:
    """Return the machine's clock in ms since 1970, UTC."""
    return time.time_ns() // 1_000_000
