"""Offset metadata of a forwarder: its place in the spool."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import FORWARDER


@decodable
class ForwarderMetadata(OffsetMetadata):
    """Metadata of a forwarder.

    Attributes
    ----------
    spool
        Id of the spool: another one is forwarded from its beginning.
    lanes
        By lane, the sequence number of the next entry to forward.
    at_ms
        Time of the newest entry that was forwarded, by the server's clock.
    alerts
        The raised alerts.
    """

    role: ClassVar[str] = FORWARDER
    counted: ClassVar[bool] = True

    spool: str = ""
    lanes: dict[int, int] = field(default_factory=dict)
    at_ms: int = field(default=0, name="at")
    alerts: list[str] = field(default_factory=list)

    def done(self) -> int:
        return sum(self.lanes.values())
