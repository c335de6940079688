"""Offset metadata of an intake: the topic that it reads, and counts of its messages by result."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import INTAKE


@decodable
class IntakeMetadata(OffsetMetadata):
    """Metadata of an intake; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    mapped, skipped, refused
        Number of messages that gave a label, that hold no label yet, and that are dead letters. Their sum is the number
        of messages read.
    """

    role: ClassVar[str] = INTAKE
    counted: ClassVar[bool] = True
    by_topic: ClassVar[bool] = True

    topic_id: str = field(default="", name="t")
    gone: int = 0
    begun: int = 0
    mapped: int = 0
    skipped: int = 0
    refused: int = 0

    def done(self) -> int:
        """Return how many messages gave a label."""
        return self.mapped
