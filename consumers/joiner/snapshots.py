"""Snapshots of a local store of a joiner or a judge in the model store, one for each partition.

A snapshot is a set of data objects and a manifest, which is written last; without its manifest it does not count:

    <stream>/<role>/<partition>/<id>/<number>   pairs: length of the key (2 bytes) and of the value (4), both; zstd
    <stream>/<role>/<partition>/<id>.json       {"manifest": {...}, "sha256": of the manifest's bytes}

Keys ascend through a snapshot and all belong to its partition. An id begins with its creation time, so that the newest
sorts last. The joiner unpickles nothing of a snapshot. Snapshots are not signed, because only learners have a key: the
hashes detect damage, not forgery.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Annotated, Final

import msgspec
import zstandard

from consumers.joiner.join_state import check_entry
from consumers.joiner.local_store import LocalStore, View
from consumers.joiner.offset_metadata import KINDS, LocalPlace, meta_key, read_local
from consumers.roles import JOINER
from model_store import Backend, Damaged

_FORMAT: Final = 1
_RAW_BYTES: Final = 4 << 20  # pairs in one object before compression; memory holds a few times as much
_MOST_BYTES: Final = 64 << 20  # of one object, compressed or not: the largest record is 8 MB
_MOST_MANIFEST_BYTES: Final = 8 << 20
_KEPT: Final = 2
_LOOK_SECONDS: Final = 0.1
_HEAD: Final = struct.Struct(">HI")

Breath = Callable[[], None]


class _Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data object: hash and size of its stored bytes, and its decompressed size."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0, le=_MOST_BYTES)]
    raw: Annotated[int, msgspec.Meta(ge=0, le=_MOST_BYTES)]


class StoreSnapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest of a snapshot; `local` is the local store's own record.

    Attributes
    ----------
    entries
        The number of pairs.
    """

    format: int
    id: str
    partition: int
    taken_at_ms: int
    local: LocalPlace
    entries: int
    chunks: list[_Chunk]

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes to download."""
        return sum(chunk.size for chunk in self.chunks)


class _HashedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    manifest: msgspec.Raw
    sha256: str


_read_envelope: Final = msgspec.json.Decoder(_HashedManifest).decode
_read_snapshot: Final = msgspec.json.Decoder(StoreSnapshot).decode


class Snapshots:
    """The snapshots of one stream's joiner or judge.

    Parameters
    ----------
    backend
        The storage that holds them.
    stream, role
        The first parts of their names.
    """

    def __init__(self, backend: Backend, stream: str, role: str = JOINER) -> None:
        self._backend = backend
        self._of = f"{stream}/{role}"

    # --- writing -----------------------------------------------------------------------------------

    def standing(self, view: View, number: int) -> tuple[int, int] | None:
        """Return the offsets up to which a partition had been read, `None` if the view does not have it."""
        raw = view.get(meta_key(number))
        return None if raw is None else read_local(raw).offsets

    def write(self, view: View, number: int, now_ms: int, rest: Breath) -> StoreSnapshot | None:
        """Write a snapshot of a partition as `view` has it, then prune old ones; `None` if the view does not have it.

        Parameters
        ----------
        rest
            Called after every few pairs; an exception that it raises ends the writing and leaves no snapshot.

        Raises
        ------
        StoreUnavailable
            No new snapshot exists then.
        """
        raw_local = view.get(meta_key(number))
        if raw_local is None:
            return None
        ids = self._ids(number)
        taken = max(now_ms, 1 + max((_made(each) for each in ids), default=0))  # newest even if the clock was set back
        snapshot_id = f"{taken:015d}-{secrets.token_hex(4)}"
        chunks: list[_Chunk] = []
        entries = 0
        for raw, pairs in _chunks(view, number, rest):
            data = zstandard.ZstdCompressor(level=1).compress(raw)
            self._backend.put_new(self._chunk_name(number, snapshot_id, len(chunks)), data)
            chunks.append(_Chunk(hashlib.sha256(data).hexdigest(), len(data), len(raw)))
            del raw  # not held while the next one grows
            entries += pairs
            rest()
        local = read_local(raw_local)
        snapshot = StoreSnapshot(_FORMAT, snapshot_id, number, taken, local, entries, chunks)
        self._backend.put_new(self._manifest_name(number, snapshot_id), _seal(snapshot))
        self.prune(number)
        return snapshot

    def prune(self, number: int) -> None:
        """Delete all but the newest snapshots, and the data of older ones without a manifest."""
        ids = self._ids(number)
        for each in ids[:-_KEPT]:
            self._backend.delete(self._manifest_name(number, each))
        kept = ids[-_KEPT:]
        for name in self._backend.names(self._folder(number)):
            of = name.removeprefix(self._folder(number) + "/").partition("/")
            if of[1] and of[0] not in kept and (not kept or of[0] < kept[0]):
                self._backend.delete(name)

    # --- reading -----------------------------------------------------------------------------------

    def newest_first(self, number: int) -> Iterator[StoreSnapshot | Damaged]:
        """Yield the snapshots of a partition, and for each unreadable one its error."""
        for each in reversed(self._ids(number)):
            try:
                yield self._read(number, each)
            except Damaged as error:
                yield error

    def _read(self, number: int, snapshot_id: str) -> StoreSnapshot:
        name = self._manifest_name(number, snapshot_id)
        data = self._backend.get(name, _MOST_MANIFEST_BYTES)
        try:
            envelope = _read_envelope(data)
            if hashlib.sha256(envelope.manifest).hexdigest() != envelope.sha256:
                raise Damaged(f"{name} is not what was written")
            snapshot = _read_snapshot(envelope.manifest)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Damaged(f"{name} is no manifest of a snapshot: {error}") from error
        if (snapshot.format, snapshot.id, snapshot.partition) != (_FORMAT, snapshot_id, number):
            raise Damaged(f"{name} is the manifest of another snapshot, or of format {snapshot.format}")
        return snapshot

    def load(self, snapshot: StoreSnapshot, store: LocalStore, breathe: Breath) -> None:
        """Load a snapshot into a store without data of its partition; the store is complete only at the end.

        Parameters
        ----------
        breathe
            Called several times a second; an exception that it raises ends the loading.

        Raises
        ------
        Damaged, NotFound, StoreUnavailable
            The store then holds a part of the snapshot, which must be wiped.
        """
        entries, after = 0, b""
        for number, raw in enumerate(self._downloaded(snapshot, breathe)):
            pairs = _pairs(raw, snapshot.partition, after, self._chunk_name(snapshot.partition, snapshot.id, number))
            if pairs:
                after = pairs[-1][0]
                entries += len(pairs)
                store.fill(pairs)
                store.commit()
            breathe()
        if entries != snapshot.entries:
            raise Damaged(f"snapshot {snapshot.id} has {entries} entries, not {snapshot.entries}")
        store.put(meta_key(snapshot.partition), msgspec.msgpack.encode(snapshot.local))
        store.commit()

    def _downloaded(self, snapshot: StoreSnapshot, breathe: Breath) -> Iterator[bytes]:
        """Yield the data; each object is fetched while the one before it goes into the store."""

        def fetch(at: int) -> bytes:
            return self._fetch(self._chunk_name(snapshot.partition, snapshot.id, at), snapshot.chunks[at])

        with ThreadPoolExecutor(1, thread_name_prefix="snapshot-download") as downloads:
            coming: Future[bytes] | None = downloads.submit(fetch, 0) if snapshot.chunks else None
            for at in range(len(snapshot.chunks)):
                assert coming is not None  # noqa: S101
                raw = _awaited(coming, breathe)
                coming = downloads.submit(fetch, at + 1) if at + 1 < len(snapshot.chunks) else None
                yield raw

    def _fetch(self, name: str, chunk: _Chunk) -> bytes:
        data = self._backend.get(name, chunk.size)
        if len(data) != chunk.size or hashlib.sha256(data).hexdigest() != chunk.sha256:
            raise Damaged(f"{name} is not what was written")
        try:
            # The size in the frame decides how much memory is allocated, so it must equal the manifest's.
            if zstandard.get_frame_parameters(data).content_size != chunk.raw:
                raise Damaged(f"{name} has another size than its manifest says")
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError as error:
            raise Damaged(f"{name} cannot be decompressed: {error}") from error

    # --- names -------------------------------------------------------------------------------------

    def _folder(self, number: int) -> str:
        return f"{self._of}/{number}"

    def _manifest_name(self, number: int, snapshot_id: str) -> str:
        return f"{self._folder(number)}/{snapshot_id}.json"

    def _chunk_name(self, number: int, snapshot_id: str, at: int) -> str:
        return f"{self._folder(number)}/{snapshot_id}/{at:06d}"

    def _ids(self, number: int) -> list[str]:
        names = (name.rpartition("/")[2] for name in self._backend.names(self._folder(number)))
        return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def _made(snapshot_id: str) -> int:
    head = snapshot_id.partition("-")[0]
    return int(head) if head.isdigit() else 0


def _seal(snapshot: StoreSnapshot) -> bytes:
    manifest = msgspec.json.encode(snapshot)
    return msgspec.json.encode(_HashedManifest(msgspec.Raw(manifest), hashlib.sha256(manifest).hexdigest()))


def _chunks(view: View, number: int, rest: Breath) -> Iterator[tuple[bytearray, int]]:
    """Yield the pairs of a partition as data objects, each with its number of pairs."""
    # One array, because a list of small parts takes several times their size, and the process would keep that memory.
    raw, pairs = bytearray(), 0
    for kind in KINDS:
        prefix = kind + number.to_bytes(2, "big")
        for key, value in view.scan(prefix, prefix):
            raw += _HEAD.pack(len(key), len(value))
            raw += key
            raw += value
            pairs += 1
            if pairs % 64 == 0:
                rest()
            if len(raw) >= _RAW_BYTES:
                yield raw, pairs
                raw, pairs = bytearray(), 0
    if raw:
        yield raw, pairs


def _pairs(raw: bytes, number: int, after: bytes, name: str) -> list[tuple[bytes, bytes]]:
    """Return the pairs in a data object; raise Damaged if one is invalid or not after key `after`."""
    found: list[tuple[bytes, bytes]] = []
    place, at, end = number.to_bytes(2, "big"), 0, len(raw)
    unpack, head, check = _HEAD.unpack_from, _HEAD.size, check_entry
    try:
        while at < end:
            key_size, value_size = unpack(raw, at)
            split = at + head + key_size
            key, value = raw[at + head : split], raw[split : split + value_size]
            at = split + value_size
            if key <= after or key[1:3] != place or at > end:
                raise Damaged(f"{name} has a key out of place")
            check(key, value)
            found.append((key, value))
            after = key
    except (struct.error, ValueError, msgspec.DecodeError) as error:
        raise Damaged(f"{name} has an invalid entry: {error}") from error
    return found


def _awaited(coming: Future[bytes], breathe: Breath) -> bytes:
    while True:
        try:
            return coming.result(timeout=_LOOK_SECONDS)
        except NotYet:
            if coming.done():
                raise
            breathe()
