"""Plan of a replay or a backfill, checked before anything is written."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from millstream.reading.offset_ranges import Edge, NoSpan, Offsets, span
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.topics import TopicSpec

# With any time-based retention, records that keep their old times would be deleted at once.
_SETTINGS: Final = MappingProxyType(
    {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(8 << 20)}
)


class CannotReplay(Exception):  # noqa: N818
    """The replay would do harm, is impossible or cannot be continued; nothing was written."""


@dataclass(frozen=True)
class Job:
    """Source, range and target of a replay.

    Attributes
    ----------
    partitions
        Number of partitions of the target topic.
    begin, end
        Offsets of each partition of the source; the end is excluded.
    key
        Identifies the job, so that a second run of it continues the first.
    since, until
        Records outside these times (ms) are skipped; `None` if offsets define the range.
    stamps, source_stamps
        True if the broker sets the times of records on the target topic, and on the source topic.
    """

    source: Cluster
    topic: str
    target: Cluster
    into: str
    partitions: int
    begin: Offsets
    end: Offsets
    key: str
    since: int | None = None
    until: int | None = None
    stamps: bool = False
    source_stamps: bool = False

    @property
    def timed(self) -> bool:
        """Return whether each record's time must be checked."""
        return (self.since, self.until) != (None, None)

    def wants(self, time_ms: int) -> bool:
        """Return whether a record of this time is in the range."""
        return (self.since is None or time_ms >= self.since) and (self.until is None or time_ms < self.until)


@dataclass(frozen=True)
class ReplayTarget:
    """Target of a replay.

    Attributes
    ----------
    partitions
        Number of partitions if the topic must be created; `None` means as many as the source has.
    what
        Description of the output if it differs from the input; part of the job's key.
    """

    cluster: Cluster
    topic: str
    partitions: int | None = None
    what: str = ""


def plan(source: Cluster, topic: str, begin: Edge, end: Edge, target: ReplayTarget) -> Job:
    """Check both topics and return the job; create the target topic if it is missing.

    Raises
    ------
    CannotReplay
        If the source is missing, would be written into itself, or lacks a named partition.
    TopicsError
        If the cluster does not create the topic.
    """
    if begin.time_ms is not None and end.time_ms is not None and begin.time_ms >= end.time_ms:
        raise CannotReplay(f"--from {begin.text} is not before --to {end.text}: nothing lies between them")
    found = source.topic_info(topic).get(topic)
    if found is None:
        raise CannotReplay(f"there is no topic {topic} on {source.bootstrap}")
    with closing(source.consumer()) as consumer:
        try:
            there = span(consumer, topic, found.partitions, begin, end)
        except NoSpan as error:
            raise CannotReplay(str(error)) from error
    into = target.cluster.topic_info(target.topic).get(target.topic)
    # A topic has the same id under every address of its cluster.
    if into is not None and into.id == found.id:
        raise CannotReplay(f"{topic} would be written into itself: name another topic with --into")
    if into is None:
        spec = TopicSpec(target.topic, target.partitions or found.partitions, dict(_SETTINGS))
        into = admin.make_topic(target.cluster, spec)
    said = [found.id, into.id, begin.text, end.text, *([target.what] if target.what else [])]
    # If senders set the time, a later record may have an earlier time, so each record is checked.
    stamped = admin.stamps(source, topic)
    since, until = (None, None) if stamped else (begin.time_ms, end.time_ms)
    return Job(
        source=source,
        topic=topic,
        target=target.cluster,
        into=target.topic,
        partitions=into.partitions,
        begin=there.begin,
        end=there.end if until is None else there.ends,
        key=hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest(),
        since=since,
        until=until,
        stamps=admin.stamps(target.cluster, target.topic),
        source_stamps=stamped,
    )
