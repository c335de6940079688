"""State of the delivery of alerts to a stream's targets, from the notifier's offset metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.notifier.offset_metadata import NotifierMetadata
from schemas.duration_text import spoken

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


@dataclass(frozen=True)
class TargetState:
    """What reached a target.

    Attributes
    ----------
    delivered, lost
        Number of alerts delivered, and given up.
    accepted, failed
        Number of attempts by their end.
    failing_ms
        Time since which all attempts have failed; `None` if the last one succeeded.
    """

    name: str
    delivered: int
    lost: int
    accepted: int
    failed: int
    failing_ms: int | None

    def line(self) -> str:
        """Return it in words.

        >>> TargetState("ops", 1200, 3, 1300, 15, 60_000).line()
        'ops: 1,200 alerts delivered, 3 given up, failing for 1 min'
        """
        lost = f", {self.lost:,} given up" if self.lost else ""
        failing = "" if self.failing_ms is None else f", failing for {spoken(self.failing_ms)}"
        return f"{self.name}: {self.delivered:,} alerts delivered{lost}{failing}"


def target_states(now: StreamSnapshot) -> tuple[TargetState, ...]:
    """Return the state of each target; empty until a notifier has worked."""
    return tuple(
        TargetState(
            name=name,
            delivered=note.delivered,
            lost=note.lost,
            accepted=note.accepted,
            failed=note.failed,
            failing_ms=max(0, now.at_ms - note.failing_since) if note.failing_since else None,
        )
        for told in now.beside(NotifierMetadata)
        for name, note in told.targets.items()
    )
