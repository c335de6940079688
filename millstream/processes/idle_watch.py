"""Detection that a run has nothing left to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consumers.learner.offset_metadata import LearnerMetadata
from consumers.roles import LEARNER
from millstream.status.caught_up import caught_up, idle_challengers
from millstream.status.snapshot import StreamSnapshot


@dataclass
class IdleWatch:
    """Detects that all is read and checkpointed and nothing has moved for `span` seconds. It uses no clock.

    Attributes
    ----------
    span
        Seconds.
    """

    span: float
    _last: object = None
    _since: float = 0.0

    def note(self, snapshot: StreamSnapshot, now: float) -> Literal["busy", "done", "paused", "full"]:
        """Process a snapshot taken at `now` (monotonic seconds).

        Returns
        -------
        "busy", "done", "paused", "full"
            "done": the run may end. "paused" or "full": the run will never end, because learning is paused, or stopped
            at the model's size limit, while examples wait.
        """
        moved = snapshot.moved()
        if moved != self._last:
            self._last, self._since = moved, now
        if now - self._since < self.span:
            return "busy"
        if caught_up(snapshot):
            return "done"
        others = {*snapshot.roles} - {LEARNER, *idle_challengers(snapshot)}
        waits_alone = snapshot.lag(LEARNER) > 0 and not any(snapshot.lag(role) for role in others)
        if waits_alone and any(each.full for each in snapshot.beside(LearnerMetadata)):
            return "full"
        return "paused" if waits_alone and snapshot.is_paused(LEARNER) else "busy"
