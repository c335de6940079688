"""Path tricks in every name that reaches the store from outside: refused in one line, nothing touched (S4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_store import (
    Backend,
    FileRef,
    FolderBackend,
    InvalidObjectName,
    InvalidVersion,
    MemoryBackend,
    ModelStore,
    Signer,
    StoreError,
    StoreUnavailable,
    Trust,
    VersionId,
    VersionRefused,
    open_store,
)
from model_store.restricted_pickle import dumps

TRICKS = [
    "", ".", "..", "/", "//", "./m", "../m", "../../etc/passwd", "m/..", "m/../../n", "m/./n", "/etc/passwd", "m//n",
    "..\\m", "..\\..\\m", "m\\n", "C:\\m", "c:m", "\\\\host\\share", "//host/share", "%2e%2e", "%2e%2e%2fm", "%2f",
    "..%2fm", "%252e%252e", "%00", "m\0", "\0", "m\0.json", "m\n", "\nm", "m\r\nX: y", "m\t", " m", "m ", "m\u2028",
    "m\x1b[2J", "m\x7f", "\u2024\u2024/m", "\uff0e\uff0e/m", "\u2215etc", "\uff0fetc", "m\u200b", "\u202em", "\u043c",
    "M", "\u0131", "\u212a", "m\u0301", "\u0661", "file:///etc", "file://m", "http://x/m", "s3://m", "#", "m#n", "?",
    "m?n",
    "~", "~root",
    "$HOME", "${HOME}", "$(id)", "`id`", "m;id", "m|id", "m&id", "m*", "m'", 'm"', "-m", "-", "_m", "m.",
    ".m", ".tmp", "m:n", "con:", "a" * 64, "a" * 5000, "\ud800", "\U0001f600",
]  # fmt: skip


@pytest.fixture
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.json").write_text("outside")
    return tmp_path / "store"


@pytest.fixture(params=["memory", "folder"])
def backend(request: pytest.FixtureRequest, root: Path) -> Backend:
    return MemoryBackend() if request.param == "memory" else FolderBackend(root)


def test_there_are_enough_tricks() -> None:
    assert len(set(TRICKS)) == len(TRICKS) >= 60


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_is_a_model_or_a_version(trick: str, backend: Backend, signer: Signer) -> None:
    store = ModelStore(backend, Trust.of(signer.public), signer)
    for ask in (
        lambda: VersionId(trick, 1, 1),
        lambda: VersionId.parse(trick, "m"),
        lambda: VersionId.parse(f"1/{trick}", "m"),
        lambda: VersionId.parse("1/1", trick),
        lambda: store.versions(trick),
        lambda: store.versions(trick, epoch=1),
        lambda: store.pinned(trick),
    ):
        with pytest.raises(InvalidVersion) as caught:
            ask()
        assert isinstance(caught.value, (StoreError, ValueError))
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_is_an_objects_name(trick: str, backend: Backend, root: Path) -> None:
    before = sorted(root.parent.rglob("*"))
    allowed = {"-m", "-", "a" * 64}  # harmless as parts of an object's name: they are plain letters and dashes
    for name in {trick, f"m/{trick}", f"m/{trick}/x"} if trick not in allowed else ():
        for ask in (
            lambda name=name: backend.put_new(name, b"x"),
            lambda name=name: backend.get(name, 100),
            lambda name=name: backend.names(name),
            lambda name=name: backend.delete(name),
        ):
            with pytest.raises(InvalidObjectName):
                ask()
    assert sorted(root.parent.rglob("*")) == before
    assert (root.parent / "secret.json").read_text() == "outside"


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_is_a_file_of_a_version(trick: str, backend: Backend, signer: Signer) -> None:
    """File names are keys of the manifest, and never lead anywhere."""
    from test_model_store_retention import publish

    store = ModelStore(backend, Trust.of(signer.public), signer)
    manifest = store.manifest(publish(store, 1, dumps("mine")))
    with pytest.raises(StoreError, match="has no file"):
        store.read(manifest, trick)
    forged = type(manifest)(
        **{name: getattr(manifest, name) for name in manifest.__struct_fields__ if name != "files"},
        files={"model": FileRef(trick, 7)},
    )
    with pytest.raises((VersionRefused, StoreError)):
        store.load(forged, "model")


@pytest.mark.parametrize("epoch", [-1, 10**6, 10**30])
@pytest.mark.parametrize("examples", [0, -1, 10**15])
def test_numbers_out_of_range_are_no_versions(epoch: int, examples: int) -> None:
    with pytest.raises(InvalidVersion, match="out of range"):
        VersionId("m", epoch, examples)


@pytest.mark.parametrize(
    "version", [VersionId("m", 0, 0), VersionId("a-b-0", 999_999, 10**15 - 1), VersionId("0", 1, 1250)]
)
def test_a_version_is_read_as_it_is_written(version: VersionId) -> None:
    assert VersionId.parse(str(version), version.model) == version
    assert sorted([VersionId("m", 2, 0), VersionId("m", 1, 100), VersionId("m", 1, 99)])[-1].epoch == 2


NO_STORES = [
    "s4://bucket/x", "s3:///x", "s3://key:secret@bucket/x", "s3://bucket/x?region=y", "s3://bucket/../x",
    "http://host/x", "http://key:secret@host/x", "file://host/x", "gs://", "az:///", "://x", "file://", "", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("address", NO_STORES)
def test_an_address_of_another_kind_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"folder|write s3://|environment|elsewhere") as refused:
        open_store(address, tmp_path / "keys", sign=False)
    assert "secret" not in str(refused.value)


def test_a_folder_is_opened_by_path_or_file_address(tmp_path: Path) -> None:
    from test_model_store_retention import publish

    place = tmp_path / "with space"
    version = publish(open_store(f"file://{tmp_path}/with%20space", tmp_path / "keys", sign=True), 5, b"x")
    assert open_store(place, tmp_path / "keys", sign=False).versions("m") == [version]
    with pytest.raises(StoreError, match="no signing key"):
        publish(open_store(str(place), tmp_path / "keys", sign=False), 6, b"x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        open_store(tmp_path / "file", tmp_path / "keys", sign=False)
