"""What a learner says of itself: beside its place in the log, and of a version on the models topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from consumers.loop.processor import Assignment, Start
from model_store import Manifest
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.model_updates import Published


def note_of(committed: CommittedOffset | None) -> dict[str, Any]:
    """Return what was written beside a place; nothing where it was written by another tool."""
    try:
        told = msgspec.json.decode(committed.metadata) if committed is not None else {}
    except msgspec.DecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def read_before(note: Mapping[str, Any]) -> int:
    """Return how far the log was read when its place was last committed, whatever is in a version since."""
    read = note.get("read", 0)
    return read if isinstance(read, int) else 0


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
    """Return where to stand in partitions that were added beside the log's one: nothing of the stream's is on them."""
    beside = {partition: Start(live=end) for partition, end in assignment.ends.items() if partition != mine}
    if beside:
        held = sum(start.live - assignment.beginnings[partition] for partition, start in beside.items())
        say(
            f"{mine.topic} has {1 + len(beside)} partitions: partition {mine.partition} is the log, and the others are "
            "not read" + (f" ({held} offsets on them)" if held else "")
        )
    return beside
