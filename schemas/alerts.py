"""Records of the alerts topic: alerts, and what people have decided about them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from schemas import codec


class Alert(msgspec.Struct, frozen=True, gc=False):
    """A condition that an operator should know. While it lasts, it is raised again only with other findings."""

    name: str
    severity: Literal["info", "warning", "critical"]
    state: Literal["raised", "cleared"]
    message: str
    at: int
    details: dict[str, str]

    def encode(self) -> bytes:
        return codec.ALERT.encode(msgspec.structs.asdict(self))


def read_alert(data: bytes) -> Alert:
    """Read an Alert. Raises CodecError if it is not one."""
    return Alert(**codec.ALERT.decode(data))


AlertDecision: TypeAlias = Literal["ack", "silence", "unsilence"]


class AlertNote(msgspec.Struct, frozen=True, gc=False):
    """Decision of a person about the alert of a name, which is the record's key.

    Attributes
    ----------
    decision
        ``ack``: somebody knows of it; holds until the alert clears. ``silence``: it is not delivered, whether it is
        raised now or later; holds until its end, or ``unsilence``.
    until
        End of a silence (ms), `None` otherwise.
    """

    name: str
    decision: AlertDecision
    by: str
    why: str
    at: int
    until: int | None = None

    def encode(self) -> bytes:
        return codec.ALERT_NOTE.encode(msgspec.structs.asdict(self))


AlertRecord: TypeAlias = Alert | AlertNote


def read_alert_record(data: bytes) -> AlertRecord:
    """Read a record of the alerts topic. Raises CodecError if it is none."""
    if data.startswith(codec.ALERT_NOTE.header):
        return AlertNote(**codec.ALERT_NOTE.decode(data))
    return read_alert(data)


def fields_of(record: AlertRecord) -> dict[str, Any]:
    """Return the fields of an alert; those of a decision in the form of an alert whose state it is.

    >>> fields_of(AlertNote("monitor.drift", "ack", "ann", "known", 5))["details"]
    {'by': 'ann'}
    """
    if isinstance(record, Alert):
        return msgspec.structs.asdict(record)
    until = {} if record.until is None else {"until": str(record.until)}
    return {
        "name": record.name,
        "severity": "info",
        "state": record.decision,
        "message": record.why,
        "at": record.at,
        "details": {"by": record.by, **until},
    }
