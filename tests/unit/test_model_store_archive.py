"""Versions that move: exported, imported, taken over as they were signed; large ones without being in memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from store_parts import OTHER, SIGNER, draft, publish, store_on, version

from model_store import (
    AlreadyExists,
    BadSignature,
    Blob,
    LogCopy,
    MemoryBackend,
    ModelStore,
    NotFound,
    StoreError,
    Trust,
    VersionRefused,
    dump,
    dumps,
)
from model_store.blobs import LARGE
from model_store.version_archive import export_version, import_version

COPY = LogCopy("m", "new-id", "topic", 0, 100, 1)


@pytest.fixture
def store() -> ModelStore:
    return store_on(MemoryBackend())


@pytest.fixture
def file(store: ModelStore, tmp_path: Path) -> Path:
    publish(store, version(1, 10))
    export_version(store, version(1, 10), tmp_path / "version.tar")
    return tmp_path / "version.tar"


def test_a_version_moves_with_its_signature(store: ModelStore, file: Path) -> None:
    other = store_on(MemoryBackend(), None)
    manifest, new = import_version(other, "m", file)
    assert new
    assert manifest == store.manifest(version(1, 10))
    assert other.sealed(version(1, 10)) == store.sealed(version(1, 10))
    assert other.load(manifest, "state") == {"n": 10}
    assert import_version(other, "m", file) == (manifest, False)


def test_neither_a_file_nor_a_version_is_overwritten(store: ModelStore, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(StoreError, match="is there already: nothing is overwritten"):
        export_version(store, version(1, 10), file)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    other = store_on(MemoryBackend())
    publish(other, version(1, 10), chain="0" * 64)
    theirs = other.sealed(version(1, 10))
    with pytest.raises(AlreadyExists, match="is another version"):
        import_version(other, "m", file)
    assert other.sealed(version(1, 10)) == theirs


def test_an_unknown_key_is_refused_with_the_way_out_and_nothing_is_written(file: Path) -> None:
    backend = MemoryBackend()
    with pytest.raises(BadSignature, match=r"not trusted here: if you trust who made it, copy that key's file"):
        import_version(store_on(backend, None, Trust.of(OTHER.public)), "m", file)
    assert backend.names("m") == []


def test_a_version_of_a_named_model_is_taken_over_by_its_stream(store: ModelStore, tmp_path: Path) -> None:
    named, other = version(1, 10, "m.forest"), store_on(MemoryBackend(), None)
    publish(store, named)
    export_version(store, named, tmp_path / "forest.tar")
    manifest, new = import_version(other, "m", tmp_path / "forest.tar")
    assert (manifest.version, new) == (named, True)
    assert other.versions("m.forest") == [named]
    with pytest.raises(StoreError, match="holds a version of m, not of other"):
        import_version(other, "other", tmp_path / "forest.tar")


def test_a_version_of_another_stream_is_refused(file: Path) -> None:
    with pytest.raises(StoreError, match="holds a version of m, not of other"):
        import_version(store_on(MemoryBackend()), "other", file)


def rewritten(file: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write a tar again with some of its members changed, or left out."""
    with tarfile.open(file) as tar:
        members = [(each.name, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]
    with tarfile.open(file, "w") as tar:
        for name, data in filter(None, (change(*member) for member in members)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


CHANGES: dict[str, Callable[[str, bytes], tuple[str, bytes] | None]] = {
    "an object's bytes": lambda name, data: (name, data[:-1] + b"!") if name.startswith("objects/") else (name, data),
    "an object short": lambda name, data: (name, data[:-1]) if name.startswith("objects/") else (name, data),
    "no objects": lambda name, data: None if name.startswith("objects/") else (name, data),
    "no version": lambda name, data: None if name == "version.json" else (name, data),
    "the manifest": lambda name, data: (name, data.replace(b'"offset":10', b'"offset":11')),
    "a way out of the folder": lambda name, data: (f"../{name}", data),
    "an absolute name": lambda name, data: (f"/etc/{name}", data),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_refused_and_nothing_of_it_is_written(file: Path, change: str) -> None:
    rewritten(file, CHANGES[change])
    backend = MemoryBackend()
    with pytest.raises(VersionRefused):
        import_version(store_on(backend), "m", file)
    assert backend.names("m") == []


def test_every_cut_of_a_file_is_refused(file: Path) -> None:
    data, backend = file.read_bytes(), MemoryBackend()
    for length in [0, 1, 511, 512, 700, 1024, *range(1500, len(data) - 10_240, 997)]:
        file.write_bytes(data[:length])
        with pytest.raises(VersionRefused):
            import_version(store_on(backend), "m", file)
    assert backend.names("m") == []
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        import_version(store_on(backend), "m", file.with_name("nobody.tar"))


# --- large ones ------------------------------------------------------------------------------------


def test_a_large_version_is_in_a_file_and_never_in_memory_whole(store: ModelStore) -> None:
    numbers = {number: float(number) for number in range(3_000_000)}
    with dump(numbers) as blob:
        assert blob.size > LARGE
        assert blob.path is not None
        assert blob.path.stat().st_size == blob.size
        manifest = store.publish(draft(version(1, 3)), {"model": blob})
        path = blob.path
    assert not path.exists()
    assert store.load(manifest, "model") == numbers
    with store.blob(manifest, "model") as read:
        assert read.path is not None


def test_a_full_disk_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    blob = Blob(large=10)
    blob.write(b"123456789")
    with pytest.raises(StoreError, match="No such file or directory; name a folder with room for it with TMPDIR"):
        blob.write(b"0123456789")


def test_small_and_large_pickles_are_the_same_bytes() -> None:
    thing = {"a": [1.5, None, "x"] * 50}
    with dump(thing) as small:
        assert bytes(small.contents()) == dumps(thing)
        assert small.path is None


# --- copies of a log -------------------------------------------------------------------------------


def test_a_version_knows_its_log_in_a_copy_and_in_a_copy_of_that(store: ModelStore) -> None:
    learned = publish(store, version(1, 10))
    beyond = publish(store, version(1, 101))
    assert store.is_log(learned, "topic")
    assert not store.is_log(learned, "new-id")
    store.note_copy(COPY)
    store.note_copy(LogCopy("m", "newest-id", "new-id", 0, 200, 1))
    assert store.is_log(learned, "new-id")
    assert store.is_log(learned, "newest-id")
    assert not store.is_log(beyond, "new-id"), "it had learned more than was copied"
    assert not store.is_log(learned, "another")
    assert not store.is_log(learned, "../no/name")


def test_what_is_said_of_a_log_is_believed_by_its_signature_alone() -> None:
    backend = MemoryBackend()
    store_on(backend, OTHER, Trust.of(OTHER.public)).note_copy(COPY)
    mine = store_on(backend)
    with pytest.raises(BadSignature):
        mine.is_log(publish(mine, version(1, 10)), "new-id")
    backend = MemoryBackend()
    store_on(backend).note_copy(COPY)
    backend.put_new("m/logs/third-id.json", backend.get("m/logs/new-id.json", 10_000))
    with pytest.raises(BadSignature, match="signed for another"):
        store_on(backend).log_copy("m", "third-id")


def test_a_manifest_is_no_record_of_a_log() -> None:
    backend = MemoryBackend()
    store = store_on(backend, SIGNER)
    publish(store, version(1, 10))
    backend.put_new("m/logs/new-id.json", store.sealed(version(1, 10)))
    with pytest.raises(BadSignature):
        store.log_copy("m", "new-id")
    with pytest.raises(NotFound):
        store.manifest(version(1, 99))
