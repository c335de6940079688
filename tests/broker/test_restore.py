"""Backups and restores that are interrupted, refused, or damaged: nothing half done is taken for a whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from raw_kafka import raw_producer
from unit.store_parts import draft, version

from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.monitor.rules.state import RulesState, RuleState
from millstream.backup import backup
from millstream.backup import restore as work
from millstream.backup.backup import BackupError, Made
from millstream.backup.offset_preserving_writer import commit_places
from millstream.reading import topic_readers
from millstream.topics import admin
from millstream.versions.decisions import decide
from model_store import (
    BadSignature,
    Damaged,
    FolderBackend,
    LogCopy,
    ModelStore,
    dumps,
    open_store,
)
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.alerts import Alert
from schemas.model_updates import Learning
from schemas.profiles import DAY_MS, HOUR_MS, Window, read_window
from schemas.topics import PROFILES, Names

RECORDS = 30


class Interrupted(Exception):  # noqa: N818
    """Somebody pulled the plug."""


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("m", prefix)


@pytest.fixture
def cluster(bootstrap: str, names: Names) -> Cluster:
    cluster = Cluster(bootstrap)
    admin.create(cluster, names, partitions=1, label_wait_ms=1000)
    with closing(raw_producer(cluster, transactional_id=f"{names.prefix}writer")) as producer:
        producer.init_transactions()
        for number in range(RECORDS):
            if number % 3 == 0:
                producer.begin_transaction()
            producer.send(names.topic("examples"), b"value %d" % number, b"key", None, 0).get(20)
            if number % 3 == 2:
                producer.commit_transaction()
    decide(cluster, names, Learning(0, True, "somebody", "to see it"))
    return cluster


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def source(tmp_path: Path, keys: Path, cluster: Cluster, names: Names) -> FolderBackend:
    """Return a backup of two versions and a log."""
    store = open_store(tmp_path / "store", keys, sign=True)
    topic_id = cluster.topic_info(names.topic("examples"))[names.topic("examples")].id
    for examples in (0, 12):
        of = version(1, examples)
        store.publish(draft(of, topic_id=topic_id, offset=examples), {"model": dumps({"n": examples})})
    store.pin(version(1, 12))
    target = FolderBackend(tmp_path / "backup")
    made = make(cluster, names, store, target)
    assert (made.backup.versions, made.backup.examples.records, made.backup.decisions.records) == (2, RECORDS, 1)
    return target


def make(cluster: Cluster, names: Names, store: ModelStore, target: FolderBackend) -> Made:
    return backup.make(cluster, names, store, target, lambda line: None, lambda at, end: None)


def place_of(cluster: Cluster, names: Names, tmp_path: Path) -> work.RestoreTarget:
    there = Names("m", f"{names.prefix}r-")
    return work.RestoreTarget(
        cluster, there, tmp_path / "restore", lambda: admin.create(cluster, there, partitions=1, label_wait_ms=1000)
    )


def restored(
    source: FolderBackend,
    place: work.RestoreTarget,
    store: ModelStore,
    show: Callable[[int, int], None] = lambda at, end: None,
) -> LogCopy:
    return work.restore(source, work.check(source, store, "m"), store, place, show)


def log(cluster: Cluster, names: Names) -> tuple[list[tuple[int, bytes]], int]:
    topic = names.topic("examples")
    with closing(cluster.consumer()) as consumer:
        end = topic_readers.end(consumer, topic)
        found = topic_readers.between(consumer, Partition(topic, 0), 0, end)
        return [(record.offset, record.value) for record in found], end


def interrupting(at_call: int) -> Callable[[int, int], None]:
    calls = 0

    def show(at: int, end: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at_call:
            raise Interrupted

    return show


def test_an_interrupted_restore_begins_the_log_anew_and_is_whole_then(
    cluster: Cluster, names: Names, source: FolderBackend, keys: Path, tmp_path: Path
) -> None:
    store, place = open_store(tmp_path / "elsewhere", keys, sign=True), place_of(cluster, names, tmp_path)
    with pytest.raises(Interrupted):
        restored(source, place, store, interrupting(4))
    first = cluster.topic_info(place.names.topic("examples"))[place.names.topic("examples")].id
    assert store.log_copy("m", first) is None, "half a log must not be taken for a copy"
    copy = restored(source, place, store)
    assert copy.copy != first
    assert log(cluster, place.names) == log(cluster, names)
    newest = store.manifest(version(1, 12))
    assert store.is_log(newest, copy.copy)
    assert not store.is_log(newest, first)
    assert store.pinned("m") == {version(1, 12)}
    assert topic_readers.count(cluster, place.names, "decisions") == (1, True)
    assert topic_readers.count(cluster, place.names, "models") == (1, True)


def test_a_restore_again_leaves_the_log_and_what_was_decided_since(
    cluster: Cluster, names: Names, source: FolderBackend, keys: Path, tmp_path: Path
) -> None:
    store, place = open_store(tmp_path / "elsewhere", keys, sign=True), place_of(cluster, names, tmp_path)
    copy = restored(source, place, store)
    decide(cluster, place.names, Learning(0, False, "somebody", "and on it goes"))
    assert restored(source, place, store) == copy
    assert topic_readers.count(cluster, place.names, "decisions") == (2, True)
    assert topic_readers.count(cluster, place.names, "models") == (2, True)


def test_a_topic_that_holds_something_else_stays_as_it_is(
    cluster: Cluster, names: Names, source: FolderBackend, keys: Path, tmp_path: Path
) -> None:
    store = open_store(tmp_path / "elsewhere", keys, sign=True)
    before = log(cluster, names)
    place = replace(place_of(cluster, names, tmp_path), names=names)
    with pytest.raises(BackupError, match=r"examples is not empty: restore into an empty cluster or under another"):
        restored(source, place, store)
    assert log(cluster, names) == before


def test_what_no_trusted_key_signed_is_refused_before_anything_is_written(
    source: FolderBackend, tmp_path: Path
) -> None:
    store = open_store(tmp_path / "elsewhere", tmp_path / "other-keys", sign=True)
    with pytest.raises(BadSignature, match=r"not trusted here: if you trust who made it, copy that key's file"):
        work.check(source, store, "m")
    assert store.versions("m") == []


def test_a_store_with_other_versions_is_refused(source: FolderBackend, keys: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "elsewhere", keys, sign=True)
    store.publish(draft(version(1, 5)), {"model": dumps({})})
    with pytest.raises(BackupError, match="has version 1/5 of m, which is not in the backup"):
        work.check(source, store, "m")


def test_a_damaged_backup_is_refused_and_an_unfinished_one_is_none(
    cluster: Cluster, names: Names, source: FolderBackend, keys: Path, tmp_path: Path
) -> None:
    store, place = open_store(tmp_path / "elsewhere", keys, sign=True), place_of(cluster, names, tmp_path)
    for piece in (tmp_path / "backup" / "m" / "topics").iterdir():
        piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    with pytest.raises(Damaged, match="is not what it was"):
        restored(source, place, store)
    (tmp_path / "backup" / "m" / "backup" / "backup.json").unlink()
    with pytest.raises(BackupError, match="no complete backup of m"):
        work.check(source, store, "m")


def test_an_interrupted_backup_goes_on_and_a_whole_one_is_not_overwritten(
    cluster: Cluster, names: Names, source: FolderBackend, keys: Path, tmp_path: Path
) -> None:
    store, target = open_store(tmp_path / "store", keys, sign=False), FolderBackend(tmp_path / "second")
    with pytest.raises(Interrupted):
        backup.make(cluster, names, store, target, lambda line: None, interrupting(2))
    with pytest.raises(BackupError, match="no complete backup"):
        backup.read(target, "m")
    again = make(cluster, names, store, target).backup
    assert again.examples == backup.read(source, "m").examples
    with pytest.raises(BackupError, match="there is a backup of m already"):
        make(cluster, names, store, target)


# --- windows and alerts --------------------------------------------------------------------------------


def window(names: Names, kind: str, place: tuple[int, int, int], span: int = 60_000, events: int = 10) -> Window:
    """Return a window of a topic of the stream; `place` is its partition, first and next offset."""
    partition, first, following = place
    start = 1_000 * DAY_MS if partition < 0 else 1_000 * DAY_MS + first * 1000
    times = (start, span, start, start + span - 1)
    return Window(kind, names.topic(kind), partition, first, following, *times, events, {}, {}, 0, None, [])


def watched(cluster: Cluster, names: Names, *windows: Window, gone: tuple[Window, ...] = ()) -> None:
    """Write windows, then tombstones, a raised alert, and what the monitor knows of it."""
    profiles, alerts = names.topic(PROFILES), names.topic("alerts")
    raised = Alert("monitor.drift", "warning", "raised", "drift", 5, {"rule": "drift"})
    with closing(raw_producer(cluster)) as producer:
        for each in windows:
            producer.send(profiles, each.encode(), each.key, partition=0)
        for each in gone:
            producer.send(profiles, None, each.key, partition=0)
        producer.send(profiles, b"alien", b"alien", partition=0)
        producer.send(alerts, raised.encode(), b"monitor.drift", partition=0)
        producer.flush(20)
    note = MonitorMetadata(judged=RulesState({"drift": RuleState(raised=5, digest="d")}, {"pause": [5]}).encode())
    place = {Partition(profiles, 0): CommittedOffset(1, note.encode())}
    commit_places(cluster, f"{names.prefix}places", names.group("monitor"), place)


def windows_of(cluster: Cluster, names: Names) -> list[Window]:
    topic = names.topic(PROFILES)
    with closing(cluster.consumer()) as consumer:
        end = topic_readers.end(consumer, topic)
        records = [*topic_readers.between(consumer, Partition(topic, 0), 0, end)]
    assert [record.value for record in records].count(b"alien") == 1
    found = [read_window(record.value or b"") for record in records if record.value != b"alien"]
    assert [each.key for each in found] == [record.key for record in records if record.value != b"alien"]
    return found


def places_of(cluster: Cluster, names: Names) -> dict[str, tuple[int, MonitorMetadata | None]]:
    with cluster.admin() as client:
        found = client.list_group_offsets(names.group("monitor"))
    return {names.kind(at.topic): (place.offset, MonitorMetadata.decode(place.metadata)) for at, place in found.items()}


@pytest.mark.parametrize("of_examples", [True, False])
def test_windows_have_the_names_of_their_topics_there_and_the_monitor_its_memory(
    of_examples: bool, cluster: Cluster, names: Names, keys: Path, tmp_path: Path
) -> None:
    first, second = window(names, "predictions", (0, 0, 10)), window(names, "predictions", (0, 10, 20))
    hour = window(names, "predictions", (-1, -1, -1), HOUR_MS, 10)
    late = msgspec.structs.replace(hour, events=20)
    more = [window(names, "examples", (0, 0, 10))] if of_examples else []
    watched(cluster, names, first, hour, second, late, *more, gone=(first,))
    store, target = open_store(tmp_path / "store", keys, sign=True), FolderBackend(tmp_path / "watched")
    made = make(cluster, names, store, target).backup
    assert (made.windows, made.alert_records) == (6 + len(more), 1)

    place = place_of(cluster, names, tmp_path)
    for _ in range(2):
        restored(target, place, open_store(tmp_path / "elsewhere", keys, sign=True))
    wanted = [msgspec.structs.replace(each, topic=place.names.topic(each.kind)) for each in (second, late, *more)]
    assert windows_of(cluster, place.names) == wanted
    assert topic_readers.count(cluster, place.names, "alerts") == (1, True)
    found = places_of(cluster, place.names)
    offset, note = found.pop(PROFILES)
    assert note is not None
    assert (offset, RulesState.decode(note.judged).rules) == (len(wanted) + 1, {"drift": RuleState(5, 0, 0, "d")})
    assert RulesState.decode(note.judged).done == {"pause": [5]}
    # Without any window the log is history, and nothing is known of its times.
    assert {kind: at for kind, (at, _) in found.items()} == ({} if of_examples else {"examples": made.examples.end})


def test_alerts_that_are_not_of_the_backup_are_not_mixed_with_it(
    cluster: Cluster, names: Names, keys: Path, tmp_path: Path
) -> None:
    watched(cluster, names)
    store, target = open_store(tmp_path / "store", keys, sign=True), FolderBackend(tmp_path / "watched")
    make(cluster, names, store, target)
    place = place_of(cluster, names, tmp_path)
    place.create()
    with closing(raw_producer(cluster)) as producer:
        alert = Alert("learner.memory", "warning", "raised", "of a learner that was started too soon", 5, {})
        producer.send(place.names.topic("alerts"), alert.encode(), b"learner.memory", partition=0).get(20)
    with pytest.raises(BackupError, match=r"alerts holds records that are not of the backup: delete that topic"):
        restored(target, place, open_store(tmp_path / "elsewhere", keys, sign=True))
