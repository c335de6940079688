"""Requests to targets: signed JSON for a webhook, the API of an Alertmanager.

Signatures are those of Standard Webhooks 1.0 (https://www.standardwebhooks.com): HMAC-SHA256 over
``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from consumers.notifier.target import Target
from schemas.alerts import Alert

_PREFIX: Final = "whsec_"
_NOT_IN_LABELS: Final = re.compile(r"[^a-zA-Z0-9_]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
RESOLVE_MS: Final = 300_000
"""Time after which an Alertmanager takes an alert for resolved that it is not told of again."""


class InvalidSecret(ValueError):  # noqa: N818
    """A secret begins with ``whsec_`` and does not go on with base64."""


class Told(NamedTuple):
    """An alert to tell a target of.

    Attributes
    ----------
    since, severity
        Time (ms) at which it was raised, and its severity then: a cleared alert has none of its own.
    """

    alert: Alert
    since: int
    severity: str


class Message(NamedTuple):
    """A request."""

    headers: dict[str, str]
    body: bytes


def key_of(secret: str) -> bytes:
    r"""Return the key of a secret: of ``whsec_`` and base64 the decoded bytes, of any other text its own.

    >>> key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")[:3]
    b'1\xf2\x90'

    Raises
    ------
    InvalidSecret
        If it is empty, or what follows ``whsec_`` is not base64.
    """
    if not secret.startswith(_PREFIX):
        if not secret.strip():
            raise InvalidSecret("is empty")
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidSecret("begins with whsec_ and does not go on with base64")
    return key


def request(target: Target, stream: str, alerts: Sequence[Told], message_id: str, now_ms: int) -> Message:
    """Return the request that tells a target of alerts; a webhook is told of the first."""
    if target.kind == "alertmanager":
        return alertmanager(target, stream, alerts, now_ms)
    return webhook(target, stream, alerts[0], message_id, now_ms // 1000)


def not_made(target: Target, error: Exception) -> str:
    """Say that a request cannot be made, without what the error says: that may hold a value of an event."""
    name = type(error).__name__
    return f"its request cannot be made: {name}" if target.body is None else f"body= raises {name}"


def webhook(target: Target, stream: str, told: Told, message_id: str, now_s: int) -> Message:
    """Return the request that tells a webhook of an alert, signed for this attempt."""
    row = _row(stream, told.alert)
    content = (
        {"type": f"alert.{told.alert.state}", "timestamp": _iso(told.alert.at), "data": row}
        if target.body is None
        else target.body(row)
    )
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "millstream", "webhook-id": message_id}
    headers["webhook-timestamp"] = str(now_s)
    if target.key is not None:
        headers["webhook-signature"] = f"v1,{signature(target.key, message_id, now_s, body)}"
    return Message(headers, body)


def signature(key: bytes, message_id: str, now_s: int, body: bytes) -> str:
    """Return the signature of a body."""
    content = f"{message_id}.{now_s}.".encode() + body
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def alertmanager(target: Target, stream: str, alerts: Sequence[Told], now_ms: int) -> Message:
    """Return the request that tells an Alertmanager of alerts."""
    headers = {"Content-Type": "application/json", "User-Agent": "millstream"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token}"
    body = [_for_alertmanager(stream, each, now_ms) for each in alerts]
    return Message(headers, json.dumps(body, ensure_ascii=False).encode())


def _for_alertmanager(stream: str, told: Told, now_ms: int) -> dict[str, Any]:
    alert, ended = told.alert, told.alert.state == "cleared"
    # The labels are the alert's identity there: those of a cleared one must be those of the raised one.
    return {
        "labels": {"alertname": alert.name, "stream": stream, "severity": told.severity},
        "annotations": {
            "summary": alert.message,
            **{_NOT_IN_LABELS.sub("_", name): value for name, value in alert.details.items()},
        },
        # An Alertmanager refuses what begins after its end; any client can write a time that is to come.
        "startsAt": _iso(min(told.since, now_ms)),
        "endsAt": _iso(max(alert.at, told.since + 1) if ended else now_ms + RESOLVE_MS),
    }


def _row(stream: str, alert: Alert) -> dict[str, Any]:
    return {
        "stream": stream,
        "name": alert.name,
        "severity": alert.severity,
        "state": alert.state,
        "message": alert.message,
        "at": _iso(alert.at),
        "details": alert.details,
    }


def _iso(milliseconds: int) -> str:
    """Return a time as text; the first or last of the calendar for one beyond."""
    within = timedelta(milliseconds=min(max(milliseconds, _FIRST_MS), _LAST_MS))
    return (_EPOCH + within).isoformat(timespec="milliseconds").replace("+00:00", "Z")
