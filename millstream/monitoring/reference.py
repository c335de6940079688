"""Range of time of a reference that is named by a version, an epoch, or two times."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

from consumers.monitor.drift.rules import Between
from millstream.reading.timestamps import utc
from millstream.reading.topic_readers import between, partitions_of
from millstream.stream.monitor_rules import fixed_range
from millstream.stream.watching import Watch
from model_store import Manifest, ModelStore, VersionId
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.topics import Names


class NoReference(Exception):  # noqa: N818
    """The reference that a stream file names does not exist; the message says which does."""


def fixed_reference(watch: Watch, model: str, store: ModelStore, cluster: Cluster, names: Names) -> Between | None:
    """Return the range of the broker's time that a reference names; `None` for a trailing span.

    A version names the time of the examples that it has learned in its epoch, an epoch that of all its versions.

    Raises
    ------
    NoReference
        If there is no such version or epoch, or the log no longer has its examples.
    """
    kind, _, given = watch.reference.strip().partition(" ") if isinstance(watch.reference, str) else ("", "", "")
    if kind not in {"version", "epoch"}:
        return fixed_range(watch)
    epoch = VersionId.parse(given, model).epoch if kind == "version" else int(given)
    known = [store.manifest(each) for each in store.versions(model, epoch)]
    if kind == "version":
        known = [each for each in known if each.version.examples <= VersionId.parse(given, model).examples]
    if not known or (kind == "version" and str(known[-1].version) != str(VersionId.parse(given, model))):
        have = ", ".join(map(str, store.versions(model)[-3:])) or "none yet"
        raise NoReference(f"Watch: reference={watch.reference!r}: {model} has no such {kind}; the newest are {have}")
    # Whether the log begins with this epoch cannot be told from its versions where retention took the first away.
    is_first = all(each.epoch >= epoch for each in store.versions(model))
    topic = names.topic("examples")
    with closing(cluster.consumer()) as consumer:
        partition = partitions_of(consumer, topic)[known[-1].shard]
        since, until = _times(consumer, partition, known, is_first=is_first)
        begin = first_time(consumer, partition)
    if since is None or until is None or until < since:
        there = "has no examples" if begin is None else f"begins at {utc(begin)} UTC"
        raise NoReference(
            f"Watch: reference={watch.reference!r}: {topic} {there}, without the examples that it has learned; "
            "name a later version or epoch, or a range of time"
        )
    return Between(since, until + 1)


def _times(
    consumer: Consumer, partition: Partition, known: list[Manifest], *, is_first: bool
) -> tuple[int | None, int | None]:
    """Return the broker's times of the first and the last example that these versions of an epoch have learned.

    The first epoch learned from the beginning of the log. A later one learned the examples before its first version
    that is kept at least from as many offsets before; markers of transactions take offsets too.
    """
    begin = consumer.beginning_offsets([partition])[partition]
    end = consumer.end_offsets([partition])[partition]
    first = begin if is_first and known[0].examples else max(begin, known[0].offset - known[0].examples)
    last = min(end, known[-1].offset)
    since = [record.timestamp for record in islice(between(consumer, partition, first, end), 1)]
    # The newest offsets before `last` may be markers of transactions.
    until = [record.timestamp for record in between(consumer, partition, max(first, last - 100), last)]
    return (since[0] if since else None), (until[-1] if until else None)


def first_time(consumer: Consumer, partition: Partition) -> int | None:
    """Return the broker's time (ms) of the first record that a partition still has, `None` if it has none."""
    begin, end = consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]
    return next((record.timestamp for record in islice(between(consumer, partition, begin, end), 1)), None)
