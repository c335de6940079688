"""State of a stream's alerts, from the records of its alerts topic: raised, acknowledged, silenced."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.alerts import Alert, AlertNote, AlertRecord


@dataclass(frozen=True)
class Raised:
    """An alert that has not cleared.

    Attributes
    ----------
    alert, offset
        Its newest record.
    since
        Time (ms) at which it was raised first.
    """

    alert: Alert
    offset: int
    since: int


class AlertStates:
    """State of all alerts of a topic, given its records in order.

    Attributes
    ----------
    raised
        The alerts that have not cleared, by name, oldest first.
    acks
        Acknowledgements of those, by name.
    silences
        Silences that were not ended, by name; one that has run out stays until then.
    """

    def __init__(self) -> None:
        self.raised: dict[str, Raised] = {}
        self.acks: dict[str, AlertNote] = {}
        self.silences: dict[str, AlertNote] = {}

    def take(self, offset: int, record: AlertRecord) -> None:
        """Apply one record."""
        if isinstance(record, AlertNote):
            self._note(record)
        elif record.state == "raised":
            before = self.raised.get(record.name)
            self.raised[record.name] = Raised(record, offset, record.at if before is None else before.since)
        else:
            self.raised.pop(record.name, None)
            self.acks.pop(record.name, None)

    def _note(self, note: AlertNote) -> None:
        if note.decision == "silence":
            self.silences[note.name] = note
        elif note.decision == "unsilence":
            self.silences.pop(note.name, None)
        elif note.name in self.raised:
            self.acks[note.name] = note

    def silenced(self, name: str, now_ms: int) -> AlertNote | None:
        """Return the silence of an alert that holds at a time, `None` if none does."""
        note = self.silences.get(name)
        return note if note is not None and note.until is not None and now_ms < note.until else None
