"""Backup of a stream (versions, decisions, jobs, alerts, windows, examples) to a folder or a store.

A backup has the layout of a model store, so its versions are read and checked like any others. Beside them are pieces
of the topics, each named by its hash. A file that names the pieces is written last and create-only; without it the
backup does not count.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from millstream.backup.alert_memory import AlertMemory, remembered
from millstream.backup.offset_preserving_writer import LogRecord
from millstream.reading import topic_readers
from model_store import (
    AlreadyExists,
    Backend,
    Damaged,
    ModelStore,
    NotFound,
    Trust,
    VersionId,
    VersionRefused,
)
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.topics import PROFILES, Names

FORMAT: Final = 1
_PIECE_RECORDS: Final = 20_000
_PIECE_BYTES: Final = 4 << 20
_MOST_PIECE_BYTES: Final = 64 << 20
_MOST_BYTES: Final = 64 << 20
_OPTIONAL: Final = ("jobs", "alerts", PROFILES)
Say = Callable[[str], None]
Show = Callable[[int, int], None]


class BackupError(Exception):
    """The backup is missing, or cannot be made or restored here; the message gives reason and solution."""


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of records of a topic, stored under the hash of their bytes."""

    sha256: str
    records: int


class LoggedTopic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Partition 0 of a backed-up topic: its id, first offset, end offset and last hole.

    A hole is the offset of a transaction marker or an aborted record; `last_hole` is -1 if there is none.
    """

    topic_id: str
    begin: int
    end: int
    last_hole: int
    pieces: list[Piece]

    @property
    def records(self) -> int:
        """Return the number of records."""
        return sum(piece.records for piece in self.pieces)


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of a backup. `profiles`, `alerts` and `jobs` are `None` if the stream had no such topic.

    `prefix` is that of its topics, and `memory` is what its roles knew of `alerts` beside that topic.
    """

    format: int
    stream: str
    made_at_ms: int
    versions: int
    examples: LoggedTopic
    decisions: LoggedTopic
    profiles: LoggedTopic | None = None
    alerts: LoggedTopic | None = None
    jobs: LoggedTopic | None = None
    memory: AlertMemory = AlertMemory()
    prefix: str = ""

    @property
    def windows(self) -> int:
        """Return the number of records of the profiles topic."""
        return 0 if self.profiles is None else self.profiles.records

    @property
    def alert_records(self) -> int:
        """Return the number of records of the alerts topic."""
        return 0 if self.alerts is None else self.alerts.records

    @property
    def job_records(self) -> int:
        """Return the number of records of the jobs topic."""
        return 0 if self.jobs is None else self.jobs.records


_read_backup: Final = msgspec.json.Decoder(Backup).decode


@dataclass(frozen=True)
class Made:
    """Result of `make`. `refused` holds left-out versions: damaged, or not signed by a trusted key."""

    backup: Backup
    refused: tuple[str, ...]


def make(cluster: Cluster, names: Names, store: ModelStore, target: Backend, say: Say, show: Show) -> Made:
    """Copy a stream's versions, decisions, jobs, alerts, profiles and examples log; continue an interrupted backup.

    Versions and profiles come before the log, so that it holds all that they have learned, and all that is in windows.
    Jobs come before the versions, so that each job that is done there has its version.

    Raises
    ------
    BackupError
        If the target already has a backup of this stream, or there is nothing to back up.
    """
    stream = names.stream
    if target.names(f"{stream}/backup"):
        raise BackupError(f"there is a backup of {stream} already: name an empty place for another one")
    trainer = remembered(cluster, names).trainer  # before the jobs: a slot that was asked for has its job there
    there = cluster.topic_info(*map(names.topic, _OPTIONAL))
    absent = {kind for kind in _OPTIONAL if names.topic(kind) not in there}

    def copied(*kinds: str) -> dict[str, LoggedTopic]:
        present = [kind for kind in kinds if kind not in absent]
        return {kind: _copy_topic(cluster, names.topic(kind), target, stream, show) for kind in present}

    topics = copied("jobs")
    copy = ModelStore(target, store.trust)
    models = store.models(stream)
    refused = [each for model in models for each in _copy_versions(store, copy, model, say)]
    memory, now = remembered(cluster, names), time.time_ns() // 1_000_000
    memory = msgspec.structs.replace(memory, trainer=trainer)
    topics |= copied("decisions", "alerts", PROFILES, "examples")
    versions = sum(len(copy.versions(model)) for model in models)
    backup = Backup(FORMAT, stream, now, versions, **topics, memory=memory, prefix=names.prefix)
    if not backup.versions and not backup.examples.records:
        raise BackupError(f"{stream} has neither versions nor examples: there is nothing to back up")
    target.put_new(_place(stream), msgspec.json.encode(backup, order="sorted"))
    return Made(backup, tuple(refused))


def _copy_versions(store: ModelStore, copy: ModelStore, model: str, say: Say) -> list[str]:
    refused = []
    for version in store.versions(model):
        try:
            copy_version(store, copy, version)
        except NotFound:
            continue  # retention deleted it meanwhile
        except VersionRefused as error:
            refused.append(str(version))
            say(f"version {version} is left out: {error}")
    store.copy_marks(copy, model)
    return refused


def copy_version(source: ModelStore, target: ModelStore, version: VersionId) -> bool:
    """Copy a version with its signature; return whether it was new. Raises NotFound, VersionRefused, AlreadyExists."""
    sealed = source.sealed(version)
    manifest = source.manifest(version)
    named = {ref.sha256: name for name, ref in manifest.files.items()}
    return target.adopt(sealed, lambda ref: source.blob(manifest, named[ref.sha256]))


# --- topics ----------------------------------------------------------------------------------------


def _copy_topic(cluster: Cluster, topic: str, target: Backend, stream: str, show: Show) -> LoggedTopic:
    found = cluster.topic_info(topic).get(topic)
    if found is None:
        raise BackupError(f"there is no topic {topic}: nothing was ever logged there")
    place = Partition(topic, 0)
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        at, last_hole, pieces = 0, -1, []
        for records in _portions(topic_readers.between(consumer, place, begin, end)):
            for record in records:
                last_hole = at if record.offset > at else last_hole
                at = record.offset + 1
            pieces.append(_put_piece(target, stream, records))
            show(at, end)
        return LoggedTopic(found.id, begin, end, at if end > at else last_hole, pieces)


def _portions(records: Iterable[Any]) -> Iterator[list[LogRecord]]:
    portion: list[LogRecord] = []
    size = 0
    for record in records:
        portion.append(LogRecord(record.offset, record.timestamp, record.key, record.value, list(record.headers)))
        size += len(record.value or b"") + len(record.key or b"")
        if len(portion) >= _PIECE_RECORDS or size >= _PIECE_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _put_piece(target: Backend, stream: str, records: list[LogRecord]) -> Piece:
    data = zlib.compress(msgspec.msgpack.encode(records), level=1)
    piece = Piece(hashlib.sha256(data).hexdigest(), len(records))
    try:
        target.put_new(_piece(stream, piece), data)
    except AlreadyExists:
        _read_piece(target, stream, piece)  # left by an interrupted run: it must be whole, else this raises
    return piece


def _read_piece(source: Backend, stream: str, piece: Piece) -> bytes:
    data = source.get(_piece(stream, piece), _MOST_PIECE_BYTES)
    if hashlib.sha256(data).hexdigest() != piece.sha256:
        raise Damaged(f"piece {piece.sha256[:12]} of the backup is not what it was: restore it from a copy")
    return data


# --- reading ---------------------------------------------------------------------------------------


def read(source: Backend, stream: str) -> Backup:
    """Return the contents of a backup. Raises BackupError if there is none, Damaged if it is unreadable."""
    try:
        data = source.get(_place(stream), _MOST_BYTES)
    except NotFound:
        raise BackupError(
            f"there is no complete backup of {stream} there: run `millstream backup` to its end"
        ) from None
    try:
        backup = _read_backup(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise Damaged(f"backup.json is damaged: {error}") from error
    if (backup.format, backup.stream) != (FORMAT, stream):
        raise Damaged(f"backup.json is of format {backup.format} and of stream {backup.stream!r}")
    return backup


def records(source: Backend, stream: str, topic: LoggedTopic) -> Iterator[LogRecord]:
    """Yield a topic's records; each piece is checked first. Raises Damaged, NotFound."""
    for piece in topic.pieces:
        data = _read_piece(source, stream, piece)
        try:
            found = msgspec.msgpack.decode(_inflated(data), type=list[LogRecord])
        except (msgspec.DecodeError, zlib.error) as error:
            raise Damaged(f"piece {piece.sha256[:12]} of the backup cannot be read: {error}") from error
        if len(found) != piece.records:
            raise Damaged(f"piece {piece.sha256[:12]} of the backup has {len(found)} records, not {piece.records}")
        yield from found


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    whole = inflater.decompress(data, _MOST_PIECE_BYTES)
    if inflater.unconsumed_tail:
        raise Damaged("a piece of the backup is larger than any that is written")
    return whole


def trusting(source: Backend, trust: Trust) -> ModelStore:
    """Return a backup's versions as a read-only store."""
    return ModelStore(source, trust)


def _place(stream: str) -> str:
    return f"{stream}/backup/backup.json"


def _piece(stream: str, piece: Piece) -> str:
    return f"{stream}/topics/{piece.sha256}"
