"""A disk that fails at the N-th call, for every N: no half version is seen, and all goes on when it works again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from store_parts import draft, store_on, version

from model_store import (
    FolderBackend,
    KeyProblem,
    ModelStore,
    Retention,
    StoreUnavailable,
    VersionExists,
    VersionId,
    dumps,
    libraries,
    open_store,
)

CALLS = (
    "open", "fdopen", "fsync", "link", "mkdir", "unlink", "fchmod", "fstat", "stat", "scandir", "listdir",
    "rename", "replace",
)  # fmt: skip


@pytest.fixture(autouse=True)
def not_really_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync nothing: what reaches the platter is not seen here, and takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Disk:
    """Counts what is asked of the operating system, and fails at one call, or from one call on."""

    def __init__(self, error: int, at: int, stays: bool) -> None:
        self._error, self._at, self._stays = error, at, stays
        self.calls = 0

    @property
    def failed(self) -> bool:
        return self.calls > self._at

    def may_fail(self) -> None:
        self.calls += 1
        if self.calls - 1 == self._at or (self._stays and self.calls > self._at):
            raise OSError(self._error, os.strerror(self._error))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            yield

    def _wrapped(self, name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "fdopen":
                return _Writing(whole(*args, **kwargs), self)
            self.may_fail()
            return whole(*args, **kwargs)

        return call


class _Writing:
    """An open file whose writes may find the disk full, after having written half."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes) -> None:
        try:
            self._disk.may_fail()
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        self._file.write(data)

    def flush(self) -> None:
        self._disk.may_fail()
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def failing(error: int, stays: bool) -> Iterator[Disk]:
    """Yield disks that fail later and later, until one is not asked often enough to fail."""
    for at in itertools.count():
        disk = Disk(error, at, stays)
        yield disk
        if not disk.failed:
            assert at > 0, "nothing was ever asked of the disk"
            return


def files(of: VersionId) -> dict[str, bytes]:
    return {"model": dumps({"n": of.examples, "epoch": of.epoch}), "state": dumps({"n": of.examples})}


def publish(store: ModelStore, of: VersionId) -> None:
    store.publish(draft(of), files(of))


def all_are_whole(root: Path) -> list[VersionId]:
    """Return the versions there are, each loaded by someone who has just come."""
    store = store_on(FolderBackend(root), None)
    there = store.versions("m")
    for of in there:
        manifest = store.manifest(of)
        assert store.load(manifest, "model") == {"n": of.examples, "epoch": of.epoch}
        assert store.load(manifest, "state") == {"n": of.examples}
    return there


every_failure = pytest.mark.parametrize(
    ("error", "stays"),
    [
        pytest.param(errno.ENOSPC, True, id="full"),
        pytest.param(errno.ENOSPC, False, id="full for a moment"),
        pytest.param(errno.EIO, False, id="one bad block"),
        pytest.param(errno.EROFS, True, id="read-only from now on"),
    ],
)


@every_failure
def test_a_version_is_there_whole_or_not_at_all(tmp_path: Path, error: int, stays: bool) -> None:
    refused = 0
    for number, disk in enumerate(failing(error, stays)):
        root = tmp_path / str(number)
        store = store_on(FolderBackend(root))
        if number % 2:
            publish(store, version(1, 0))
        before = all_are_whole(root)
        try:
            with disk.in_use():
                publish(store, version(1, 1))
        except StoreUnavailable as unavailable:
            refused += os.strerror(error) in str(unavailable)
        else:
            assert version(1, 1) in all_are_whole(root)
        assert set(all_are_whole(root)) - set(before) <= {version(1, 1)}
        goes_on(store, root)
    assert refused >= 10


def goes_on(store: ModelStore, root: Path) -> None:
    """The same learner, the disk being well again, writes the version once more and the next."""
    try:
        publish(store, version(1, 1))
        there = store.manifest(version(1, 1))
    except VersionExists as error:
        there = error.manifest
    assert there.chain == draft(version(1, 1)).chain
    publish(store, version(1, 2))
    assert all_are_whole(root)[-2:] == [version(1, 1), version(1, 2)]


@every_failure
def test_pruning_takes_from_no_version_that_stays(tmp_path: Path, error: int, stays: bool) -> None:
    for number, disk in enumerate(failing(error, stays)):
        root = tmp_path / str(number)
        store = store_on(FolderBackend(root))
        for examples in range(4):
            publish(store, version(1, examples))
        learner = store_on(FolderBackend(root))
        keep = Retention(last=1, hourly=0, daily=0)
        with contextlib.suppress(StoreUnavailable), disk.in_use():
            learner.prune("m", keep, ())
        left = all_are_whole(root)
        assert {version(1, 0), version(1, 3)} <= set(left)
        learner.prune("m", keep, ())
        assert all_are_whole(root) == [version(1, 0), version(1, 3)]


@every_failure
def test_reading_fails_with_the_stores_own_error_and_lists_all_or_nothing(
    tmp_path: Path, error: int, stays: bool
) -> None:
    """A list cut short would look like a store that lost its versions: a learner would begin anew."""
    there = [version(1, 0), version(1, 5), version(2, 0)]
    for of in there:
        publish(store_on(FolderBackend(tmp_path)), of)
    refused = 0
    for disk in failing(error, stays):
        store = store_on(FolderBackend(tmp_path), None)
        try:
            with disk.in_use():
                assert store.versions("m") == there
                manifest = store.manifest(version(1, 5))
                assert store.load(manifest, "state") == {"n": 5}
                store.manifest_sha256(version(1, 5))
                store.pinned("m")
        except StoreUnavailable:
            refused += 1
    assert refused >= 5


@every_failure
def test_opening_sweeping_and_making_keys_fail_with_the_stores_own_errors_and_work_afterwards(
    tmp_path: Path, error: int, stays: bool
) -> None:
    for number, disk in enumerate(failing(error, stays)):
        root, keys = tmp_path / str(number) / "models", tmp_path / str(number) / "keys"
        (root / ".tmp").mkdir(parents=True)
        left = root / ".tmp" / "left"
        left.write_bytes(b"half")
        os.utime(left, (1, 1))
        with contextlib.suppress(StoreUnavailable, KeyProblem), disk.in_use():
            open_store(root, keys, sign=True)
        store = open_store(root, keys, sign=True)
        publish(store, version(1, 0))
        reader = open_store(root, keys, sign=False)
        assert reader.load(reader.manifest(version(1, 0)), "state") == {"n": 0}
        assert not left.exists()


def test_pins_fail_with_the_stores_own_error(tmp_path: Path) -> None:
    for number, disk in enumerate(failing(errno.EIO, stays=False)):
        store = store_on(FolderBackend(tmp_path / str(number)))
        publish(store, version(1, 0))
        try:
            with disk.in_use():
                store.pin(version(1, 0))
                store.unpin(version(1, 0))
        except StoreUnavailable:
            store.pin(version(1, 0))
            assert store.pinned("m") == {version(1, 0)}
            store.unpin(version(1, 0))
        assert store.pinned("m") == set()


def test_a_disk_that_fails_later_hides_no_library() -> None:
    before = libraries()
    assert "unknown" not in {before[name] for name in ("river", "numpy", "scikit-learn", "python")}
    with Disk(errno.EMFILE, 0, stays=True).in_use():
        assert libraries() == before
