"""Restore of a backup into an empty store and cluster: `millstream restore`.

The order is: versions; the examples log, every record at its original offset with its time, read back and compared; a
signed record that the new topic is a copy of the old one; decisions; profiles, alerts and jobs. A learner refuses the
topic until that record exists, so after an interrupted restore nothing is learned from half a log. The same command
then writes the log again from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from millstream.backup import backup, topic_again
from millstream.backup.backup import Backup, BackupError, Show
from millstream.backup.offset_preserving_writer import LayoutError, LogRecord, end_open_transaction, runs, write_log
from millstream.backup.watching_again import watch_again
from millstream.reading import topic_readers
from model_store import (
    AlreadyExists,
    Backend,
    InvalidVersion,
    LogCopy,
    ModelStore,
    NotFound,
    VersionId,
    VersionRefused,
)
from model_store.version_archive import trusted
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import Partition
from schemas.codec import CodecError
from schemas.model_updates import Published, read_model_update
from schemas.topics import Names

_GONE_S: Final = 20.0
_TIMES: Final = "message.timestamp.type"
_OF_SENDER: Final = "CreateTime"
_OF_BROKER: Final = "LogAppendTime"


@dataclass(frozen=True)
class RestoreTarget:
    """Destination of a restore.

    Attributes
    ----------
    marker
        A file on this machine that names the topic an unfinished restore has begun.
    create
        Creates the stream's missing topics.
    trains
        True for a stream with batch models: its jobs are restored. Those of others are carried out elsewhere, and would
        be carried out again.
    """

    cluster: Cluster
    names: Names
    marker: Path
    create: Callable[[], object]
    trains: bool = False


def check(source: Backend, store: ModelStore, stream: str) -> Backup:
    """Return the backup if it can be restored: its versions are trusted, and the store has no others.

    Raises
    ------
    BackupError
        If there is no backup, or the store has versions that are not in it.
    VersionRefused
        If no key that is trusted here signed its versions.
    """
    found = backup.read(source, stream)
    versions = backup.trusting(source, store.trust)
    of_backup = _versions(versions, stream)
    for version in of_backup:
        trusted(store, versions.sealed(version))
    foreign = sorted(set(_versions(store, stream)) - set(of_backup))
    if foreign:
        raise BackupError(
            f"the store has version {foreign[0]} of {stream}, which is not in the backup: restore into an empty store"
        )
    return found


def restore(source: Backend, found: Backup, store: ModelStore, place: RestoreTarget, show: Show) -> LogCopy:
    """Restore all parts of a backup; parts that an interrupted run has finished are not repeated.

    Raises
    ------
    BackupError
        If the examples topic holds other records, or does not accept the log.
    """
    stream = found.stream
    versions = backup.trusting(source, store.trust)
    for version in _versions(versions, stream):
        try:
            backup.copy_version(versions, store, version)
        except AlreadyExists as error:
            raise BackupError(f"version {version} of {stream}: {error}; restore into an empty store") from error
    place.create()
    copy = _copied(store, place, found)
    if copy is None:
        _begin_log(place)
        _write_log(source, found, place, show)
        copy = LogCopy(
            stream,
            _topic_id(place),
            found.examples.topic_id,
            found.examples.begin,
            found.examples.end,
            time.time_ns() // 1_000_000,
        )
        store.note_copy(copy)
    for model in versions.models(stream):
        versions.copy_marks(store, model)
    _decide_again(source, found, store, place)
    watch_again(source, found, place.cluster, place.names, _writer(place), trains=place.trains)
    place.marker.unlink(missing_ok=True)
    return copy


def _versions(store: ModelStore, stream: str) -> list[VersionId]:
    """Return the versions of all the stream's models."""
    return [version for model in store.models(stream) for version in store.versions(model)]


def _topic(place: RestoreTarget) -> str:
    return place.names.topic("examples")


def _writer(place: RestoreTarget) -> str:
    return place.names.process("restore", "0")


def _topic_id(place: RestoreTarget) -> str:
    return place.cluster.topic_info(_topic(place))[_topic(place)].id


def _copied(store: ModelStore, place: RestoreTarget, found: Backup) -> LogCopy | None:
    copy = store.log_copy(found.stream, _topic_id(place))
    return copy if copy is not None and copy.original == found.examples.topic_id else None


# --- the log ---------------------------------------------------------------------------------------


def _begin_log(place: RestoreTarget) -> None:
    """Create an empty examples topic and mark it as this restore's; recreate one that an earlier run began."""
    topic, marker = _topic(place), place.marker
    end_open_transaction(place.cluster, _writer(place))
    with closing(place.cluster.consumer()) as consumer:
        partition = Partition(topic, 0)
        # The end offset also counts deleted and aborted records.
        used = consumer.end_offsets([partition])[partition]
    if used and _marked(marker) == _topic_id(place):
        _delete(place.cluster, topic)
        place.create()
    elif used:
        raise BackupError(
            f"{topic} is not empty: restore into an empty cluster or under another --prefix, "
            "or delete that topic, where nothing in it is needed"
        )
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(_topic_id(place))


def _marked(marker: Path) -> str:
    with suppress(OSError):
        return marker.read_text()
    return ""


def _delete(cluster: Cluster, topic: str) -> None:
    with cluster.admin() as client:
        client.delete_topics([topic])
        deadline = time.monotonic() + _GONE_S
        while any(each.exists for each in client.describe_topics([topic])):
            if time.monotonic() > deadline:
                raise BackupError(f"{topic}, half restored, cannot be deleted: delete it, then restore again")
            time.sleep(0.05)


def _write_log(source: Backend, found: Backup, place: RestoreTarget, show: Show) -> None:
    topic, log = _topic(place), found.examples
    try:
        all_runs = runs(backup.records(source, found.stream, log), log.end, log.last_hole)
        _take_times(place.cluster, topic, _OF_SENDER)
        write_log(place.cluster, topic, _writer(place), all_runs, lambda at: show(at, log.end))
        if log.begin:
            with place.cluster.admin() as client:
                client.delete_records({Partition(topic, 0): log.begin})
        _compare(source, found, place, show)
        _take_times(place.cluster, topic, _OF_BROKER)
    except (LayoutError, KafkaError) as error:
        raise BackupError(
            f"{topic} has not been restored ({error}): run the same command again; it writes the log from its beginning"
        ) from error


def _take_times(cluster: Cluster, topic: str, kind: str) -> None:
    """Let a topic take the times of its records from their sender or from the broker, and wait until it does so.

    The records of an examples log keep their times: a training splits uploaded examples by them, and reads the last
    `window` of them.
    """
    with cluster.admin() as client:
        client.alter_topic_config(topic, _TIMES, kind)
        deadline = time.monotonic() + _GONE_S
        while client.topic_configs([topic], [_TIMES]).get(topic, {}).get(_TIMES) != kind:
            if time.monotonic() > deadline:
                raise LayoutError(f"its {_TIMES} does not become {kind}")
            time.sleep(0.05)


def _compare(source: Backend, found: Backup, place: RestoreTarget, show: Show) -> None:
    """Read the log back and raise LayoutError unless each record has its original content and offset."""
    topic, log = _topic(place), found.examples
    with closing(place.cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        if (begin, end) != (log.begin, log.end):
            raise LayoutError(f"it goes from {begin} to {end}, and went from {log.begin} to {log.end}")
        there = topic_readers.between(consumer, Partition(topic, 0), begin, end)
        for count, record in enumerate(backup.records(source, found.stream, log)):
            _compare_one(record, next(there, None))
            if count % 1000 == 0:
                show(record.offset, end)
        if next(there, None) is not None:
            raise LayoutError("it has records that the backup has not")


def _compare_one(wanted: LogRecord, found: Any) -> None:
    same = found is not None and (found.offset, found.key) == (wanted.offset, wanted.key)
    if (
        not same
        or (found.value or b"") != (wanted.value or b"")
        or [tuple(each) for each in found.headers] != [tuple(each) for each in wanted.headers]
        or found.timestamp != wanted.timestamp
    ):
        raise LayoutError(f"offset {wanted.offset} does not hold what it held")


# --- decisions -------------------------------------------------------------------------------------


def _decide_again(source: Backend, found: Backup, store: ModelStore, place: RestoreTarget) -> None:
    """Write missing decisions, and those in force to the models topic for predictors and learners.

    A learner announces its newest version when it starts. That of a model without one is announced here.
    """
    topic = place.names.topic("decisions")
    wanted = list(backup.records(source, found.stream, found.decisions))
    there = topic_again.written(place.cluster, topic, wanted)
    # A decision made since the restore takes precedence.
    of_batch = {f"{found.stream}.{name}" for name in place.names.batch}
    in_force = [record for record in wanted if _is_in_force(record, store, of_batch)]
    holds = {record.key: record for record in in_force} if there <= len(wanted) else {}
    topic_again.write(place.cluster, topic, wanted[there:])
    topic_again.write(place.cluster, place.names.topic("models"), list(holds.values()))


def _is_in_force(record: LogRecord, store: ModelStore, of_batch: Collection[str]) -> bool:
    """Return whether a record is a decision, or announces a restored version of a batch model."""
    try:
        state = read_model_update(record.value or b"").state
        if record.key != state.key.encode():
            return False
        if not isinstance(state, Published):
            return True
        if state.model not in of_batch:
            return False
        store.manifest(VersionId(state.model, state.epoch, state.examples), sha256=state.manifest_sha256)
    except (CodecError, InvalidVersion, NotFound, VersionRefused):
        return False
    return True
