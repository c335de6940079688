"""Offset metadata of an importer of uploads: what it has ended last, and its counts."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import IMPORTER


@decodable
class ImporterMetadata(OffsetMetadata):
    """Metadata of an importer.

    Attributes
    ----------
    last
        Id of the upload that was ended last.
    uploads
        Number of uploads that were ended.
    alerts
        The raised alerts.
    """

    role: ClassVar[str] = IMPORTER
    counted: ClassVar[bool] = True

    last: str = ""
    uploads: int = 0
    alerts: list[str] = field(default_factory=list)

    def done(self) -> int:
        return self.uploads
