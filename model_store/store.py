"""Versions: written whole or not at all, never changed, and loaded only after every check.

Places: ``<model>/versions/<epoch>/<examples>.json``, ``<model>/objects/<sha256>``, ``<model>/pins/…``.
A version's file is put last and create-only: it *is* the version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from model_store.backends import Backend, FolderBackend
from model_store.errors import AlreadyExists, BadSignature, Damaged, NotFound, StoreError
from model_store.libraries import check_libraries, libraries
from model_store.manifest import (
    Draft,
    FileRef,
    Manifest,
    decode_manifest,
    encode_manifest,
    seal,
    signed_bytes,
    unseal,
)
from model_store.restricted import Global, loads
from model_store.retention import Retention, to_delete
from model_store.signing import Signer, Trust, open_signer, open_trust
from model_store.versions import VersionId

_MOST_MANIFEST_BYTES: Final = 16 << 20
_MOST_MODEL_BYTES: Final = 1 << 30
_VERSION_PLACE: Final = re.compile(r"([a-z0-9-]+)/versions/(\d{6})/(\d{15})\.json")


@dataclass(frozen=True)
class Pruned:
    """What a pruning removed."""

    versions: tuple[VersionId, ...]
    objects: int


class ModelStore:
    """Signed versions on a backend.

    Parameters
    ----------
    trust
        Whose signatures count.
    signer
        Needed to publish; predictors have none.
    cap_bytes
        No file of a version larger than this is read.
    """

    def __init__(
        self, backend: Backend, trust: Trust, signer: Signer | None = None, *, cap_bytes: int = _MOST_MODEL_BYTES
    ) -> None:
        self._backend = backend
        self._trust = trust
        self._signer = signer
        self._cap = cap_bytes
        self._made: dict[VersionId, int] = {}
        self._objects: dict[VersionId, frozenset[str]] = {}

    # --- writing -----------------------------------------------------------------------------------

    def publish(self, draft: Draft, files: Mapping[str, bytes]) -> Manifest:
        """Store a version and return its manifest.

        Raises
        ------
        AlreadyExists
            Where the version is there, with its manifest: compare it, nothing was changed.
        StoreUnavailable
            Where it could not be written: nothing of it is visible.
        """
        if self._signer is None:
            raise StoreError("this process has no signing key and publishes nothing")
        refs = {name: FileRef(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
        manifest = Manifest(
            **{name: getattr(draft, name) for name in Draft.__struct_fields__}, libraries=libraries(), files=refs
        )
        for name, data in files.items():
            self._put_object(draft.version.model, refs[name].sha256, data)
        body = encode_manifest(manifest)
        key_id = self._signer.key_id
        sealed = seal(body, key_id, self._signer.sign(signed_bytes(body, key_id)))
        try:
            self._backend.put_new(_place(draft.version), sealed)
        except AlreadyExists as error:
            raise AlreadyExists(str(error), self.manifest(draft.version)) from error
        self._note(manifest)
        return manifest

    def _put_object(self, model: str, sha256: str, data: bytes) -> None:
        name = _object(model, sha256)
        try:
            self._backend.put_new(name, data)
        except AlreadyExists:
            # Named by its content: the same bytes, unless the disk changed them since.
            if hashlib.sha256(self._backend.get(name, self._cap)).hexdigest() != sha256:
                self._backend.delete(name)
                self._backend.put_new(name, data)

    # --- reading -----------------------------------------------------------------------------------

    def versions(self, model: str, epoch: int | None = None) -> list[VersionId]:
        """Return the versions of a model, oldest first; only those that are completely there."""
        prefix = f"{model}/versions" if epoch is None else f"{model}/versions/{epoch:06d}"
        found = []
        for name in self._backend.names(prefix):
            match = _VERSION_PLACE.fullmatch(name)
            if match:
                found.append(VersionId(match[1], int(match[2]), int(match[3])))
        return found

    def manifest(self, version: VersionId, sha256: str | None = None) -> Manifest:
        """Return what a version says of itself, its signature checked.

        Parameters
        ----------
        version
            Its name; the manifest must carry the same.
        sha256
            What an announcement said the file hashes to.

        Raises
        ------
        NotFound, Refused
        """
        data = self._backend.get(_place(version), _MOST_MANIFEST_BYTES)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged(f"version {version} is not the one that was announced")
        body, key_id, signature = unseal(data)
        self._trust.verify(key_id, signature, signed_bytes(body, key_id))
        manifest = decode_manifest(body)
        if manifest.version != version:
            raise BadSignature(f"what stands at {version} was signed as version {manifest.version}")
        return manifest

    def manifest_sha256(self, version: VersionId) -> str:
        """Return the hash of a version's file, as announcements carry it."""
        return hashlib.sha256(self._backend.get(_place(version), _MOST_MANIFEST_BYTES)).hexdigest()

    def read(self, manifest: Manifest, file: str) -> bytes:
        """Return the bytes of a file of a version, size and hash checked. NotFound; Damaged."""
        ref = manifest.files.get(file)
        if ref is None:
            raise NotFound(f"version {manifest.version} has no file {file!r}")
        if ref.size > self._cap:
            raise Damaged(f"file {file!r} of version {manifest.version} has {ref.size} bytes; at most {self._cap}")
        data = self._backend.get(_object(manifest.version.model, ref.sha256), self._cap)
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise Damaged(f"file {file!r} of version {manifest.version} is not what its manifest says")
        return data

    def load(
        self,
        manifest: Manifest,
        file: str,
        *,
        extra_allowed: frozenset[Global] = frozenset(),
        check: Callable[[Any], None] | None = None,
    ) -> Any:
        """Return the object in a file of a version.

        In this order: size cap, hash and size, signature (again: a manifest made by hand is none), library
        versions, and only then the restricted unpickling, and `check`.

        Raises
        ------
        Refused
            With the first thing that is wrong.
        """
        data = self.read(manifest, file)
        if self.manifest(manifest.version) != manifest:
            raise BadSignature(f"the manifest of version {manifest.version} is not the one in the store")
        check_libraries(manifest.libraries, str(manifest.version))
        loaded = loads(data, extra=extra_allowed)
        if check is not None:
            check(loaded)
        return loaded

    # --- keeping and forgetting --------------------------------------------------------------------

    def pin(self, version: VersionId) -> None:
        """Keep a version whatever the retention says. NotFound where there is none."""
        self.manifest(version)
        try:
            self._backend.put_new(_pin(version), b"")
        except AlreadyExists:
            return

    def unpin(self, version: VersionId) -> None:
        """Leave a version to the retention again."""
        self._backend.delete(_pin(version))

    def pinned(self, model: str) -> set[VersionId]:
        """Return the pinned versions."""
        names = [name.rpartition("/")[2].split("-") for name in self._backend.names(f"{model}/pins")]
        return {VersionId(model, int(epoch), int(examples)) for epoch, examples in names}

    def prune(self, model: str, retention: Retention, keep: Collection[VersionId]) -> Pruned:
        """Delete what the retention lets go of: versions first, then objects that no version has."""
        versions = self.versions(model)
        going = to_delete([(v, self._made_at(v)) for v in versions], retention, {*keep, *self.pinned(model)})
        if not going:
            return Pruned((), 0)
        gone = set(going)
        stays = set().union(*(self._objects_of(version) for version in versions if version not in gone))
        orphans = set().union(*(self._objects_of(version) for version in going)) - stays
        for version in going:
            self._backend.delete(_place(version))
            self._made.pop(version, None)
            self._objects.pop(version, None)
        for sha256 in orphans:
            self._backend.delete(_object(model, sha256))
        return Pruned(tuple(going), len(orphans))

    def _made_at(self, version: VersionId) -> int:
        self._know(version)
        return self._made[version]

    def _objects_of(self, version: VersionId) -> frozenset[str]:
        self._know(version)
        return self._objects[version]

    def _know(self, version: VersionId) -> None:
        """Read a manifest once: a learner prunes for weeks, and versions never change."""
        if version in self._made:
            return
        try:
            self._note(self.manifest(version))
        except StoreError:
            # Not ours to judge here: it is counted by age 0 and goes with the old ones.
            self._made[version], self._objects[version] = 0, frozenset()

    def _note(self, manifest: Manifest) -> None:
        self._made[manifest.version] = manifest.created_at_ms
        self._objects[manifest.version] = frozenset(ref.sha256 for ref in manifest.files.values())


def _place(version: VersionId) -> str:
    return f"{version.model}/versions/{version.epoch:06d}/{version.examples:015d}.json"


def _pin(version: VersionId) -> str:
    return f"{version.model}/pins/{version.epoch:06d}-{version.examples:015d}"


def _object(model: str, sha256: str) -> str:
    return f"{model}/objects/{sha256}"


def open_store(address: str | Path, keys: Path, *, sign: bool) -> ModelStore:
    """Return the store at a folder (a path or ``file://``), with the keys in folder `keys`.

    Raises
    ------
    StoreError
        Where the address is of a kind that is not supported, or a key cannot be used.
    """
    text = str(address)
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise StoreError(f"model store {text!r}: only folders are supported, as a path or file:///path")
        text = unquote(parts.path)
    signer = open_signer(keys) if sign else None
    return ModelStore(FolderBackend(Path(text)), open_trust(keys), signer)


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    return plain
