"""What a replay or a backfill is to do, found out before anything is written."""

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

# By any retention in time, records that keep their old times would be deleted as soon as they are there.
_SETTINGS: Final = MappingProxyType(
    {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "max.message.bytes": str(8 << 20)}
)


class CannotReplay(Exception):  # noqa: N818
    """A replay that would do harm, or cannot be done or gone on with; nothing was written."""


@dataclass(frozen=True)
class Job:
    """What is read, and what is written of it where.

    Attributes
    ----------
    partitions
        Of the topic that is written to.
    begin, end
        Of each partition of the source; the end is not in it.
    key
        Tells the same job, begun again, from another one.
    since, until
        Records of another time (ms) are passed over; `None` where offsets say it all.
    stamps, source_stamps
        Whether the topic that is written to, or read, has the broker's time on its records.
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
        """Whether each record's time is looked at."""
        return (self.since, self.until) != (None, None)

    def wants(self, time_ms: int) -> bool:
        """Tell whether a record of this time is in the range."""
        return (self.since is None or time_ms >= self.since) and (self.until is None or time_ms < self.until)


@dataclass(frozen=True)
class ReplayTarget:
    """Where to write.

    Attributes
    ----------
    partitions
        Of the topic, where it is to be made; `None` is as many as the source has.
    what
        What is written, where it is not what was read: tells jobs apart.
    """

    cluster: Cluster
    topic: str
    partitions: int | None = None
    what: str = ""


def plan(source: Cluster, topic: str, begin: Edge, end: Edge, target: ReplayTarget) -> Job:
    """Look at both topics, and return what is to be done; a topic that is not there to be written to is made.

    Raises
    ------
    CannotReplay
        Where there is no such source, it would be written into itself, or a partition is named that is not there.
    TopicsError
        Where the cluster does not make the topic.
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
    # Two names of one cluster give its topics the same ids.
    if into is not None and into.id == found.id:
        raise CannotReplay(f"{topic} would be written into itself: name another topic with --into")
    if into is None:
        spec = TopicSpec(target.topic, target.partitions or found.partitions, dict(_SETTINGS))
        into = admin.make_topic(target.cluster, spec)
    said = [found.id, into.id, begin.text, end.text, *([target.what] if target.what else [])]
    # Where senders say the time, later records may be of an earlier time: each is looked at.
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
