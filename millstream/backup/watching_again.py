"""Restore of windows, alerts and jobs, and of what monitor, notifier and trainer remember of them.

The monitor finds the windows and goes on with the examples behind the last one. Its rules know which alerts are raised
and when they acted, and the notifier which alerts its targets have got.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from consumers.loop.log_faults import short_ids
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.monitor.windows import EXAMPLES
from consumers.roles import MONITOR, NOTIFIER, TRAINER
from consumers.trainer.offset_metadata import TrainerMetadata
from millstream.backup import backup, topic_again
from millstream.backup.alert_memory import fitted
from millstream.backup.backup import Backup, BackupError
from millstream.backup.offset_preserving_writer import LayoutError, LogRecord, commit_places
from millstream.reading import topic_readers
from runtime.kafka_client.coordinator import patiently
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.codec import CodecError
from schemas.profiles import read_window
from schemas.topics import ANSWERS, METRICS, PROFILES, Names

if TYPE_CHECKING:
    from model_store import Backend
    from runtime.kafka_client.cluster import Cluster

_PLACED: Final = (PROFILES, "alerts", "examples", "jobs")
_TOGETHER: Final = 100


def watch_again(
    source: Backend, found: Backup, cluster: Cluster, names: Names, transactional_id: str, *, trains: bool
) -> None:
    """Write the windows and the alerts of a backup, then what the monitor, the notifier and the trainer know of them.

    `trains` is true for a stream with batch models, whose jobs are restored, too.

    What an interrupted restore has written stays, and so does an offset that a role has committed since.

    Raises
    ------
    BackupError
        If the alerts topic holds other records.
    """
    known = _windows_again(source, found, cluster, names)
    records = [] if found.alerts is None else list(backup.records(source, found.stream, found.alerts))
    topic = names.topic("alerts")
    fit = fitted(found.memory, records, time.time_ns() // 1_000_000)
    cleared = [LogRecord(-1, each.at, each.name.encode(), each.encode(), []) for each in fit.cleared]
    there = topic_again.written(cluster, topic, records)
    topic_again.write(cluster, topic, [*records, *cleared][there:])
    jobs = names.topic("jobs")
    if trains:
        _jobs_again(source, found, cluster, jobs)

    ids = {name: short_ids(each.id) for name, each in cluster.topic_info(*map(names.topic, _PLACED)).items()}
    if fit.notifier is not None:
        offset, note = fit.notifier
        note = msgspec.structs.replace(note, topic_id=ids[topic])
        _place(cluster, names.group(NOTIFIER), transactional_id, {topic: (offset, note.encode())})
    if trains and fit.trainer is not None:
        at_work = {jobs: msgspec.structs.replace(fit.trainer, topic_id=ids[jobs])}
        at_work[topic] = TrainerMetadata(topic_id=ids[topic])
        _place(
            cluster,
            names.group(TRAINER),
            transactional_id,
            {name: (_end(cluster, name), each.encode()) for name, each in at_work.items()},
        )
    profiles, examples = names.topic(PROFILES), names.topic("examples")
    judged = MonitorMetadata(topic_id=ids[profiles], judged=fit.rules)
    places = {profiles: (_end(cluster, profiles), judged.encode())}
    if not known:
        # The log is history: no window was made of it.
        places[examples] = found.examples.end, MonitorMetadata(topic_id=ids[examples]).encode()
    _place(cluster, names.group(MONITOR), transactional_id, places)


def _end(cluster: Cluster, topic: str) -> int:
    with closing(cluster.consumer()) as consumer:
        return topic_readers.end(consumer, topic)


def _place(cluster: Cluster, group: str, transactional_id: str, places: Mapping[str, tuple[int, str]]) -> None:
    """Commit offsets with their metadata on partition 0 of these topics, unless the group has any already."""
    with cluster.admin() as admin:
        if patiently(lambda: admin.list_group_offsets(group)):
            return
    committed = {Partition(topic, 0): CommittedOffset(offset, text) for topic, (offset, text) in places.items()}
    try:
        commit_places(cluster, transactional_id, group, committed)
    except (LayoutError, KafkaError) as error:
        raise BackupError(f"{group} has not got its offsets ({error}): run the same command again") from error


# --- jobs ------------------------------------------------------------------------------------------


def _jobs_again(source: Backend, found: Backup, cluster: Cluster, topic: str) -> None:
    """Write the jobs of a backup, unless they are there: the trainer reads what it has done and has to do."""
    records = [] if found.jobs is None else list(backup.records(source, found.stream, found.jobs))
    there = topic_again.written(cluster, topic, records)
    topic_again.write(cluster, topic, records[there:])


# --- windows ---------------------------------------------------------------------------------------


def _windows_again(source: Backend, found: Backup, cluster: Cluster, names: Names) -> bool:
    """Write the newest window of each key, unless it is there; return whether the examples have any.

    Merged windows replace the ones that they are made of, by tombstones: these are not needed here.
    """
    if found.profiles is None:
        return False
    newest = {record.key: record.offset for record in backup.records(source, found.stream, found.profiles)}
    there = _keys(cluster, names.topic(PROFILES))
    renamed, of_examples, portion = _renamed(found, names), False, []
    for record in backup.records(source, found.stream, found.profiles):
        if record.value is None or record.key is None or newest[record.key] != record.offset:
            continue
        window = _window_here(record, renamed)
        of_examples = of_examples or _is_of_examples(window.key)
        if window.key not in there:
            portion.append(window)
        if len(portion) >= _TOGETHER:
            topic_again.write(cluster, names.topic(PROFILES), portion)
            portion = []
    topic_again.write(cluster, names.topic(PROFILES), portion)
    return of_examples


def _is_of_examples(key: bytes | None) -> bool:
    """Return whether it is the key of a window of examples that was not merged."""
    parts = (key or b"").split(b"/")
    return len(parts) > 3 and parts[1] == EXAMPLES.encode() and parts[3] != b"merged"


def _keys(cluster: Cluster, topic: str) -> set[bytes | None]:
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        return {record.key for record in topic_readers.between(consumer, Partition(topic, 0), begin, end)}


def _renamed(found: Backup, names: Names) -> dict[str, str]:
    """Return the names of the stream's own topics here, by those that they had."""
    before = Names(found.stream, found.prefix)
    kinds = ("predictions", ANSWERS, "examples", METRICS)
    return {before.topic(kind): names.topic(kind) for kind in kinds if before.topic(kind) != names.topic(kind)}


def _window_here(record: LogRecord, renamed: Mapping[str, str]) -> LogRecord:
    """Return the record of a window with the name that its topic has here."""
    if not renamed:
        return record
    try:
        window = read_window(record.value or b"")
    except CodecError:
        return record  # any client can write there
    if window.topic not in renamed:
        return record
    window = msgspec.structs.replace(window, topic=renamed[window.topic])
    return record._replace(key=window.key, value=window.encode())
