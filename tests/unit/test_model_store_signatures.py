"""Forged, swapped, replayed and damaged versions: refused, and no pickle looked at before (S3, F10)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faults_table import Tally

import model_store.store
from model_store import (
    BadSignature,
    Draft,
    FolderBackend,
    KeyProblem,
    Manifest,
    ModelStore,
    NotFound,
    Signer,
    StoreError,
    Trust,
    VersionId,
    VersionRefused,
    WrongLibraries,
    dumps,
)
from model_store.manifest import encode_manifest, seal, signed_bytes, unseal
from model_store.signing import key_id_of, open_signer, open_trust

ONE, TWO = VersionId("m", 1, 100), VersionId("m", 1, 200)
MODEL = {"weights": [0.5, 1.5], "seen": 100}


def draft(version: VersionId) -> Draft:
    return Draft(
        version=version,
        topic_id="topic",
        offset=version.examples,
        examples=version.examples,
        chain="00",
        fingerprint="ff",
        definition="d",
        contract="c",
        created_at_ms=1_000 * version.examples,
        metrics={"accuracy": 0.5, "nested": {"roc_auc": None}},
    )


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, signer: Signer) -> ModelStore:
    """Return a store with two versions."""
    store = ModelStore(FolderBackend(root), Trust.of(signer.public), signer)
    store.publish(draft(ONE), {"model": dumps(MODEL), "state": dumps({"lanes": {}})})
    store.publish(draft(TWO), {"model": dumps({**MODEL, "seen": 200}), "state": dumps({"lanes": {1: 2}})})
    return store


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every pickle that the store looks into."""
    looked: list[int] = []
    original = model_store.store.loads

    def loads(data: bytes, **options: Any) -> Any:
        looked.append(len(data))
        return original(data, **options)

    monkeypatch.setattr(model_store.store, "loads", loads)
    return looked


def place(root: Path, version: VersionId) -> Path:
    return root / version.model / "versions" / f"{version.epoch:06}" / f"{version.examples:015}.json"


def object_of(root: Path, manifest: Manifest, file: str = "model") -> Path:
    return root / manifest.version.model / "objects" / manifest.files[file].sha256


def load(store: ModelStore, version: VersionId) -> Any:
    return store.load(store.manifest(version), "model")


def forge(root: Path, version: VersionId, manifest: Manifest, signer: Signer, key_id: str | None = None) -> None:
    """Put a manifest at a version's place, signed by whomever."""
    body = encode_manifest(manifest)
    named = signer.key_id if key_id is None else key_id
    place(root, version).parent.mkdir(parents=True, exist_ok=True)
    place(root, version).write_bytes(seal(body, named, signer.sign(signed_bytes(body, named))))


def changed(manifest: Manifest, **fields: Any) -> Manifest:
    return Manifest(**{name: getattr(manifest, name) for name in Manifest.__struct_fields__} | fields)


def test_a_good_version_loads(store: ModelStore, unpickled: list[int]) -> None:
    assert load(store, ONE) == MODEL
    assert load(store, TWO)["seen"] == 200
    assert len(unpickled) == 2
    announced = store.manifest(ONE, sha256=store.manifest_sha256(ONE))
    assert announced.metrics == {"accuracy": 0.5, "nested": {"roc_auc": None}}


def _other_key(root: Path, store: ModelStore, signer: Signer) -> None:
    forge(root, ONE, store.manifest(ONE), Signer(Ed25519PrivateKey.generate()))


def _key_id_confusion(root: Path, store: ModelStore, signer: Signer) -> None:
    forge(root, ONE, store.manifest(ONE), Signer(Ed25519PrivateKey.generate()), key_id=signer.key_id)


def _no_key_id(root: Path, store: ModelStore, signer: Signer) -> None:
    forge(root, ONE, store.manifest(ONE), signer, key_id="")


def _another_models(root: Path, store: ModelStore, signer: Signer) -> None:
    other = VersionId("other", 1, 100)
    store.publish(draft(other), {"model": dumps(MODEL)})
    place(root, ONE).write_bytes(place(root, other).read_bytes())


def _older_under_a_newer_name(root: Path, store: ModelStore, signer: Signer) -> None:
    place(root, TWO).write_bytes(place(root, ONE).read_bytes())


def _without_domain(root: Path, store: ModelStore, signer: Signer) -> None:
    body = encode_manifest(store.manifest(ONE))
    place(root, ONE).write_bytes(seal(body, signer.key_id, signer.sign(body)))


def _rewrite(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, ModelStore, Signer], None]:
    def attack(root: Path, store: ModelStore, signer: Signer) -> None:
        envelope = json.loads(place(root, ONE).read_bytes())
        change(envelope)
        place(root, ONE).write_text(json.dumps(envelope, separators=(",", ":")))

    return attack


def _replace(old: bytes, new: bytes) -> Callable[[Path, ModelStore, Signer], None]:
    def attack(root: Path, store: ModelStore, signer: Signer) -> None:
        data = place(root, ONE).read_bytes()
        assert old in data
        place(root, ONE).write_bytes(data.replace(old, new, 1))

    return attack


def _swapped_signature(root: Path, store: ModelStore, signer: Signer) -> None:
    body, key_id, _ = unseal(place(root, ONE).read_bytes())
    place(root, ONE).write_bytes(seal(body, key_id, unseal(place(root, TWO).read_bytes())[2]))


ATTACKS = {
    "another key": _other_key,
    "another key under the id of a trusted one": _key_id_confusion,
    "no key id": _no_key_id,
    "another model's": _another_models,
    "an older one under a newer name": _older_under_a_newer_name,
    "signed without its domain": _without_domain,
    "another version's signature": _swapped_signature,
    "no signature": _rewrite(lambda envelope: envelope.update(signature="")),
    "half a signature": _rewrite(lambda envelope: envelope.update(signature=envelope["signature"][:64])),
    "signature in capitals": _rewrite(lambda envelope: envelope.update(signature=envelope["signature"].upper())),
    "signature with spaces": _rewrite(lambda envelope: envelope.update(signature=" " + envelope["signature"])),
    "signature that is no text": _rewrite(lambda envelope: envelope.update(signature=None)),
    "no manifest": _rewrite(lambda envelope: envelope.pop("manifest")),
    "a field beside it": _rewrite(lambda envelope: envelope.update(z=1)),
    "another number": _rewrite(lambda envelope: envelope["manifest"].update(offset=7)),
    "another file": _rewrite(lambda envelope: envelope["manifest"]["files"]["model"].update(sha256="0" * 64)),
    "white space inside": _replace(b'"offset":100', b'"offset": 100'),
    "white space before": _replace(b'{"key_id"', b' {"key_id"'),
    "white space between": _replace(b',"manifest"', b', "manifest"'),
    "another spelling of a number": _replace(b'"offset":100', b'"offset":1e2'),
    "another spelling of a letter": _replace(b'"topic_id"', b'"t\\u006fpic_id"'),
    "a key twice in the manifest": _replace(b'"offset":100', b'"offset":100,"offset":100'),
    "a key twice around it": _replace(b'{"key_id"', b'{"key_id":"x","key_id"'),
    "two manifests": _replace(b',"manifest":', b',"manifest":{},"manifest":'),
    "another order": _rewrite(lambda envelope: envelope.update(key_id=envelope.pop("key_id"))),
    "something after it": _replace(b'"}', b'"}\n'),
    "NaN": _replace(b"0.5", b"NaN"),
    "nested without end": _replace(b'"manifest":', b'"manifest":' + b"[" * 100_000),
}


@pytest.mark.fault("F10")
@pytest.mark.parametrize("name", ATTACKS)
def test_what_no_trusted_key_signed_is_refused(
    name: str, root: Path, store: ModelStore, signer: Signer, unpickled: list[int]
) -> None:
    genuine = {version: store.manifest(version) for version in (ONE, TWO)}
    ATTACKS[name](root, store, signer)
    refused = 0
    for version, manifest in genuine.items():
        try:
            assert load(store, version) is not None
            assert place(root, version).exists()
            assert store.manifest(version) == manifest
        except (VersionRefused, NotFound):
            refused += 1
    assert refused
    assert len(unpickled) == 2 - refused


@pytest.mark.parametrize(("attack", "victim"), [(_another_models, ONE), (_older_under_a_newer_name, TWO)])
def test_a_version_counts_only_where_it_was_signed_to_stand(
    attack: Callable[[Path, ModelStore, Signer], None], victim: VersionId, root: Path, store: ModelStore, signer: Signer
) -> None:
    attack(root, store, signer)
    with pytest.raises(BadSignature, match="was signed as 1/100 of model"):
        store.manifest(victim)


def test_a_manifest_made_by_hand_loads_nothing(store: ModelStore, unpickled: list[int]) -> None:
    forged = changed(store.manifest(ONE), files=store.manifest(TWO).files)
    with pytest.raises(BadSignature, match="not the one in the store"):
        store.load(forged, "model")
    assert unpickled == []


def test_a_signed_manifest_of_nonsense_is_refused(root: Path, store: ModelStore, signer: Signer) -> None:
    manifest = store.manifest(ONE)
    for body in (
        encode_manifest(manifest).replace(b'"format":1', b'"format":2'),
        encode_manifest(manifest).replace(b'"examples":100', b'"examples":-1'),
        encode_manifest(manifest).replace(manifest.files["model"].sha256.encode(), b"../../etc/passwd"),
        encode_manifest(manifest).replace(b'"model":"m"', b'"model":"../m"'),
        encode_manifest(manifest)[:-1] + b',"zzz":1}',
        b"[]",
        b"",
    ):
        sealed = b'{"key_id":"%s","manifest":%s,"signature":"%s"}' % (
            signer.key_id.encode(),
            body,
            signer.sign(signed_bytes(body, signer.key_id)).hex().encode(),
        )
        place(root, ONE).write_bytes(sealed)
        with pytest.raises(VersionRefused):
            store.manifest(ONE)


def test_an_announcement_names_the_very_bytes(store: ModelStore) -> None:
    with pytest.raises(VersionRefused, match="announced"):
        store.manifest(ONE, sha256=store.manifest_sha256(TWO))


@pytest.mark.parametrize("name", ["river", "scikit-learn", "numpy", "python"])
def test_other_libraries_are_refused_with_the_way_out(
    name: str, root: Path, store: ModelStore, signer: Signer, unpickled: list[int]
) -> None:
    manifest = store.manifest(ONE)
    forge(root, ONE, changed(manifest, libraries={**manifest.libraries, name: "0.1.7"}), signer)
    with pytest.raises(WrongLibraries, match=rf"{name} 0\.1\.7 \(here .*--new-epoch replay"):
        load(store, ONE)
    major, minor, *_ = manifest.libraries[name].split(".")
    forge(root, ONE, changed(manifest, libraries={**manifest.libraries, name: f"{major}.{minor}.999"}), signer)
    assert load(store, ONE) == MODEL
    assert len(unpickled) == 1


def _damage(path: Path, kind: str, number: int) -> bytes:
    data = path.read_bytes()
    rng = random.Random(number)
    if kind == "cut":
        return data[: len(data) * number // 64]
    if kind == "zeroed":
        keep = len(data) * number // 8
        return data[:keep] + bytes(len(data) - keep)
    flipped = bytearray(data)
    flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


@pytest.mark.fault("F10")
@pytest.mark.parametrize(("kind", "times"), [("cut", 64), ("flipped", 200), ("zeroed", 8)])
@pytest.mark.parametrize("what", ["manifest", "model"])
def test_a_damaged_version_is_refused_and_the_one_before_serves(
    kind: str, times: int, what: str, root: Path, store: ModelStore, unpickled: list[int], tally: Tally
) -> None:
    manifest = store.manifest(TWO)
    path = place(root, TWO) if what == "manifest" else object_of(root, manifest)
    whole = path.read_bytes()
    for number in range(times):
        path.write_bytes(whole)
        path.write_bytes(_damage(path, kind, number))
        with pytest.raises(VersionRefused):
            load(store, TWO)
        with pytest.raises(VersionRefused):
            store.load(manifest, "model")
    assert unpickled == []
    assert load(store, ONE) == MODEL
    tally.row(times, 0, 0)


@pytest.mark.fault("F10", times=3)
def test_swapped_and_missing_files_are_refused(root: Path, store: ModelStore, unpickled: list[int]) -> None:
    one, two = store.manifest(ONE), store.manifest(TWO)
    object_of(root, two).write_bytes(object_of(root, one).read_bytes())
    with pytest.raises(VersionRefused, match="not what its manifest says"):
        load(store, TWO)
    object_of(root, two).unlink()
    with pytest.raises(NotFound):
        load(store, TWO)
    with pytest.raises(NotFound, match="has no file 'weights'"):
        store.load(one, "weights")
    place(root, ONE).unlink()
    with pytest.raises(NotFound, match="no version 1/100"):
        load(store, ONE)
    assert store.versions("m") == [TWO]
    assert unpickled == []


def test_a_file_over_the_cap_is_neither_written_nor_read(root: Path, store: ModelStore, signer: Signer) -> None:
    small = ModelStore(FolderBackend(root), Trust.of(signer.public), signer, cap_bytes=10)
    with pytest.raises(VersionRefused, match="at most 10"):
        load(small, ONE)
    with pytest.raises(StoreError, match="at most 10"):
        small.publish(draft(VersionId("m", 1, 300)), {"model": bytes(11)})
    assert small.versions("m") == [ONE, TWO]


def test_the_check_is_asked_last_and_can_refuse(store: ModelStore) -> None:
    def check(model: Any) -> None:
        assert model == MODEL
        raise VersionRefused("not finite on the probe")

    with pytest.raises(VersionRefused, match="probe"):
        store.load(store.manifest(ONE), "model", check=check)


# --- keys --------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    first, second = open_signer(tmp_path / "keys"), open_signer(tmp_path / "keys")
    assert first.key_id == second.key_id
    assert (tmp_path / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600
    open_trust(tmp_path / "keys").verify(first.key_id, second.sign(b"x"), b"x")
    assert [path.name for path in (tmp_path / "keys").iterdir() if path.name.startswith(".")] == []


def test_a_new_key_is_trusted_beside_the_old_one(tmp_path: Path, root: Path) -> None:
    keys = tmp_path / "keys"
    trust = open_trust(keys)  # a predictor that starts before any key is there
    old = open_signer(keys)
    ModelStore(FolderBackend(root), trust, old).publish(draft(ONE), {"model": dumps(MODEL)})
    (keys / "signing.pem").unlink()
    new = open_signer(keys)
    ModelStore(FolderBackend(root), trust, new).publish(draft(TWO), {"model": dumps(MODEL)})
    assert old.key_id != new.key_id
    reader = ModelStore(FolderBackend(root), trust)
    assert load(reader, ONE) == load(reader, TWO) == MODEL
    (keys / "trusted" / f"{old.key_id}.pem").unlink()
    with pytest.raises(BadSignature, match="not trusted here"):
        load(ModelStore(FolderBackend(root), open_trust(keys)), ONE)


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    signer = open_signer(keys)
    private, public = keys / "signing.pem", keys / "trusted" / f"{signer.key_id}.pem"
    private.chmod(0o644)
    with pytest.raises(KeyProblem, match="chmod 600"):
        open_signer(keys)
    private.chmod(0o600)
    public.rename(keys / "elsewhere.pem")
    with pytest.raises(KeyProblem, match="put its public key there"):
        open_signer(keys)
    (keys / "elsewhere.pem").rename(public)
    private.write_text("nonsense")
    with pytest.raises(KeyProblem, match=r"signing\.pem is no private key"):
        open_signer(keys)
    public.write_text("nonsense")
    with pytest.raises(KeyProblem, match="is no public key"):
        open_trust(keys)
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyProblem, match="file"):
        open_signer(tmp_path / "file" / "keys")


def test_key_ids_are_of_the_key() -> None:
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(10)]
    assert len({key_id_of(key) for key in keys}) == 10
