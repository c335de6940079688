"""State of the monitoring of a stream, from the monitors' offset metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.monitor.offset_metadata import MonitorMetadata
from schemas.duration_text import spoken

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


@dataclass(frozen=True)
class MonitorState:
    """What the monitors have watched, and what has not ended of what they found.

    Attributes
    ----------
    windows, events, unreadable
        Number of windows written, of the events in them, and of records that could not be decoded.
    last_ms
        Age (ms) of the newest record that is in a window; `None` before the first window.
    finding
        Number of findings that have not ended.
    findings
        The first of them, as ``check subject``.
    """

    windows: int
    events: int
    unreadable: int
    last_ms: int | None
    finding: int
    findings: Sequence[str]

    def line(self) -> str:
        """Return it in words."""
        last = "none has closed yet" if self.last_ms is None else f"the newest until {spoken(self.last_ms)} ago"
        bad = f", {self.unreadable:,} unreadable" if self.unreadable else ""
        more = f", and {self.finding - len(self.findings)} more" if self.finding > len(self.findings) else ""
        found = f"{self.finding} findings: {', '.join(self.findings)}{more}" if self.finding else "no drift found"
        return f"{self.windows:,} windows of {self.events:,} events{bad}, {last}; {found}"


def monitor_state(now: StreamSnapshot) -> MonitorState | None:
    """Return the state of the monitoring; `None` until a monitor has worked."""
    notes = now.beside(MonitorMetadata)
    if not notes:
        return None
    last = max(note.last for note in notes)
    return MonitorState(
        windows=sum(note.windows for note in notes),
        events=sum(note.events for note in notes),
        unreadable=sum(note.unreadable for note in notes),
        last_ms=max(0, now.at_ms - last) if last else None,
        finding=sum(note.finding for note in notes),
        findings=tuple(found for note in notes for found in note.findings),
    )
