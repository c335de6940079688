"""A disk that fails at the N-th call, for every N: a version is there whole or not at all (F11)."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faults_table import Tally

from model_store import (
    Draft,
    FolderBackend,
    ModelStore,
    Retention,
    Signer,
    StoreUnavailable,
    Trust,
    VersionExists,
    VersionId,
    dumps,
)

FULL, BROKEN, READ_ONLY = errno.ENOSPC, errno.EIO, errno.EROFS
_CALLS = ("open", "fsync", "link", "mkdir", "fchmod", "close", "unlink")
_MOST_CALLS = 200


class FailingDisk:
    """Lets `after` calls through, and fails every one from then on until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int, after: int) -> None:
        self._code, self._left, self._patch = code, after, monkeypatch
        self.failed = False
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name), harmless=name in ("close", "unlink")))
        monkeypatch.setattr(tempfile, "mkstemp", self._failing(tempfile.mkstemp))
        original = os.fdopen

        def fdopen(*arguments: Any, **options: Any) -> Any:
            file = original(*arguments, **options)
            return _FailingFile(file, self) if "w" in str(arguments[1:]) else file

        monkeypatch.setattr(os, "fdopen", fdopen)

    def _failing(self, original: Callable[..., Any], harmless: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if harmless:  # a broken disk still closes, and what is unlinked late is swept
                return original(*arguments, **options)
            self.count()
            return original(*arguments, **options)

        return call

    def count(self) -> None:
        """Count a call, and fail if it is one of those."""
        if self._left == 0:
            self.failed = True
            raise OSError(self._code, os.strerror(self._code))
        self._left -= 1


class _FailingFile:
    """Writes half of what it is given when the disk fails."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes) -> int:
        try:
            self._disk.count()
        except OSError:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        return int(self._file.write(data))

    def __enter__(self) -> _FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


def draft(examples: int) -> Draft:
    return Draft(
        version=VersionId("m", 1, examples),
        topic_id="t",
        offset=examples,
        examples=examples,
        chain=f"{examples:02x}",
        fingerprint="ff",
        definition="d",
        contract="c",
        created_at_ms=examples,
    )


def open_at(root: Path, signer: Signer) -> ModelStore:
    return ModelStore(FolderBackend(root), Trust.of(signer.public), signer)


def every_visible_version_is_whole(store: ModelStore) -> list[int]:
    versions = store.versions("m")
    for version in versions:
        assert store.load(store.manifest(version), "model") == {"examples": version.examples}
    return [version.examples for version in versions]


@pytest.mark.fault("F11")
@pytest.mark.parametrize("code", [FULL, BROKEN, READ_ONLY], ids=["full", "broken", "read-only"])
@pytest.mark.parametrize("first", [True, False], ids=["new store", "store in use"])
def test_a_publish_that_fails_at_any_call_leaves_no_half_version(
    code: int, first: bool, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """And once the disk is mended, publishing again gives the version, by itself or by adopting it."""
    for after in range(_MOST_CALLS):
        root = tmp_path / str(after)
        store = open_at(root, signer)
        if not first:
            store.publish(draft(1), {"model": dumps({"examples": 1})})
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, code, after)
            problem = publish_second(store)
        seen = every_visible_version_is_whole(open_at(root, signer))
        assert first or 1 in seen
        if not disk.failed:
            assert 2 in seen
            assert after > 5
            tally.row(after, 0, 0)
            return
        assert problem is None or (str(root) in problem and os.strerror(code) in problem)
        assert problem is not None or 2 in seen
        assert publish_second(store) is None
        assert 2 in every_visible_version_is_whole(open_at(root, signer))
    pytest.fail("it never succeeded")


def publish_second(store: ModelStore) -> str | None:
    """Publish the second version, or adopt it as a learner would; return why it could not be done."""
    wanted = draft(2)
    try:
        there = store.publish(wanted, {"model": dumps({"examples": 2}), "state": b"s"})
    except VersionExists as error:
        there = error.manifest or pytest.fail("the version that is there should be shown")
    except StoreUnavailable as error:
        return str(error)
    assert (there.chain, there.fingerprint) == (wanted.chain, wanted.fingerprint)
    return None


def test_a_prune_that_fails_at_any_delete_leaves_whole_versions(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.unlink
    for after in range(_MOST_CALLS):
        store = open_at(tmp_path / str(after), signer)
        for examples in range(6):
            store.publish(draft(examples), {"model": dumps({"examples": examples})})
        left = [after]

        def unlink(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError(BROKEN, os.strerror(BROKEN))
            left[0] -= 1
            original(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            try:
                store.prune("m", Retention(latest_only=True), set())
                done = True
            except StoreUnavailable:
                done = False
        stays = every_visible_version_is_whole(open_at(tmp_path / str(after), signer))
        assert {0, 5} <= set(stays)
        if done:
            assert stays == [0, 5]
            assert after >= 8
            return
        store.prune("m", Retention(latest_only=True), set())
        assert every_visible_version_is_whole(store) == [0, 5]
    pytest.fail("it never succeeded")


def test_a_store_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a learner would begin again from nothing."""
    store = open_at(tmp_path, signer)
    store.publish(draft(1), {"model": dumps({"examples": 1})})

    def scandir(path: Any) -> Any:
        raise OSError(BROKEN, os.strerror(BROKEN))

    monkeypatch.setattr(os, "scandir", scandir)
    for ask in (store.versions, store.pinned):
        with pytest.raises(StoreUnavailable, match="cannot be listed"):
            ask("m")


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        FolderBackend(tmp_path / "file" / "store")
