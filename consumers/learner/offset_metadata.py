"""Offset metadata of a learner, and its announcement of a version on the models topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.loop.processor import Assignment, Start
from consumers.model.quality import Quality
from consumers.roles import LEARNER
from model_store import Manifest
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.model_updates import Published
from schemas.topics import Names


@decodable
class LearnerMetadata(OffsetMetadata):
    """Metadata of the learner's committed offset.

    Attributes
    ----------
    version
        The newest version, `epoch/examples`.
    learned, skipped
        Numbers of examples in this epoch.
    model_bytes, full
        Size of the newest version, and whether the size limit has stopped learning. `None` in metadata older than
        these fields.
    alerts
        Names of the raised alerts.
    read
        Next offset of the log, regardless of versions.
    at
        Next offset to read now: below the committed offset in a replay. `None` in metadata older than this field.
    quality
        Quality of the served answers at the newest version; absent if nothing can be compared.
    """

    role: ClassVar[str] = LEARNER
    counted: ClassVar[bool] = True

    version: str = msgspec.field(default="", name="v")
    paused: bool = False
    learned: int = 0
    skipped: int = 0
    model_bytes: int | None = msgspec.field(default=None, name="bytes")
    full: bool = False
    alerts: list[str] = msgspec.field(default_factory=list)
    read: int = 0
    at: int | None = None
    quality: Quality | UnsetType = UNSET

    def done(self) -> int:
        """Return the number of learned examples."""
        return self.learned

    @classmethod
    def beside(cls, committed: CommittedOffset | None) -> LearnerMetadata:
        """Return the metadata of a committed offset, with default values if a learner has not written any."""
        return (None if committed is None else cls.decode(committed.metadata)) or cls()


def announced_on(names: Names) -> list[str]:
    """Return the topics of announcements.

    The models topic is compacted. Where models are compared, the decisions topic also has every announcement: it tells
    which version was known at a time.
    """
    return [names.topic(kind) for kind in (*(("decisions",) if names.models else ()), "models")]


def published(manifest: Manifest, sha256: str) -> Published:
    """Return the announcement of a version whose manifest has this hash."""
    progressive = manifest.metrics.get("progressive", {}).get("all", {})
    return Published(
        model=manifest.version.model,
        shard=manifest.shard,
        epoch=manifest.version.epoch,
        examples=manifest.version.examples,
        topic_id=manifest.topic_id,
        offset=manifest.offset,
        manifest_sha256=sha256,
        labels_from=-1 if manifest.labels_from_ms is None else manifest.labels_from_ms,
        labels_to=-1 if manifest.labels_to_ms is None else manifest.labels_to_ms,
        metrics={name: value for name, value in progressive.items() if value is not None},
    )


def not_read(assignment: Assignment, mine: Partition, say: Callable[[str], None]) -> dict[Partition, Start]:
    """Return the starts in partitions added beside the log's own: the stream has no records in them."""
    beside = {partition: Start(live=end) for partition, end in assignment.ends.items() if partition != mine}
    if beside:
        held = sum(start.live - assignment.beginnings[partition] for partition, start in beside.items())
        say(
            f"{mine.topic} has {1 + len(beside)} partitions: partition {mine.partition} is the log, and the others are "
            "not read" + (f" ({held} offsets on them)" if held else "")
        )
    return beside
