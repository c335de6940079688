"""When a run has nothing left to do."""

from __future__ import annotations

from dataclasses import dataclass

from millstream.observe import Snapshot
from millstream.status import caught_up


@dataclass
class IdleWatch:
    """Tells when all is read and checkpointed and nothing has moved for `span` seconds. Knows no clock.

    Attributes
    ----------
    span
        Seconds.
    """

    span: float
    _last: object = None
    _since: float = 0.0

    def note(self, snapshot: Snapshot, now: float) -> bool:
        """Take in a snapshot made at `now` (monotonic seconds); return whether the run may end."""
        moved = snapshot.moved()
        if moved != self._last:
            self._last, self._since = moved, now
        return caught_up(snapshot) and now - self._since >= self.span
