"""Alerts in the form of their topic."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas import codec


class Alert(msgspec.Struct, frozen=True, gc=False):
    """A condition that an operator should know; raised once and cleared once."""

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
