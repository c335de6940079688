"""Offset metadata of a notifier: how far each target is, and the alerts that a silence holds back."""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import NOTIFIER


class TargetNote(msgspec.Struct, frozen=True, array_like=True):
    """State of one target.

    Attributes
    ----------
    place
        Next offset to deliver.
    failing_since
        Time (ms) since which deliveries fail, 0 if the last one succeeded.
    delivered, lost
        Number of alerts delivered, and given up.
    accepted, failed
        Number of attempts by their end; those that only remind an Alertmanager count.
    """

    place: int
    failing_since: int = 0
    delivered: int = 0
    lost: int = 0
    accepted: int = 0
    failed: int = 0


@decodable
class NotifierMetadata(OffsetMetadata):
    """Metadata of a notifier; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    targets
        By name.
    withheld
        By alert, the offset of the record that is delivered when its silence ends.
    alerts
        Names of the raised alerts.
    """

    role: ClassVar[str] = NOTIFIER

    topic_id: str = msgspec.field(default="", name="t")
    gone: int = 0
    begun: int = 0
    targets: dict[str, TargetNote] = msgspec.field(default_factory=dict)
    withheld: dict[str, int] = msgspec.field(default_factory=dict)
    alerts: list[str] = msgspec.field(default_factory=list)

    def but_for_clocks(self) -> Self:
        """Return it without the attempts: dead targets are tried, and an Alertmanager reminded, at rest, too."""
        targets = {name: msgspec.structs.replace(note, accepted=0, failed=0) for name, note in self.targets.items()}
        return msgspec.structs.replace(self, targets=targets)
