"""Judge of a stream's windows: keeps their history and tells which values have drifted."""

from __future__ import annotations

from consumers.monitor.drift.findings import Finding, Judgement
from consumers.monitor.drift.rules import DriftRules
from schemas.profiles import Window


class Judge:
    """Judge of the windows of a profiles topic, which must come in the order of the topic.

    Every record of the topic goes through `take`, live and after a restart: what it returns depends on the records
    alone. After a restart the caller drops what was returned for records before its committed offset.
    """

    def __init__(self, rules: DriftRules) -> None:
        self.rules = rules

    @property
    def findings(self) -> list[Finding]:
        """Open findings, the oldest first."""
        return []

    @property
    def note(self) -> str:
        """Why findings are less sharp than they will be; otherwise empty."""
        return ""

    def take(self, window: Window) -> Judgement | None:
        """Take the next window; return a judgement if it closed a bucket, otherwise `None`."""
        return None

    def windows(self, since_ms: int, until_ms: int, kind: str | None = None) -> list[Window]:
        """Return merged windows that start in a range, in order, none overlapping: short ones where they are kept."""
        return []
