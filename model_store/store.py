"""Versions: written whole or not at all, never changed, and loaded only after every check.

Places: ``<model>/versions/<epoch>/<examples>.json``, ``<model>/objects/<sha256>``, ``<model>/pins/…``.
A version's file is put last and create-only: it *is* the version.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from model_store.address import open_backend
from model_store.backends import Backend
from model_store.breath import Breath, no_breath
from model_store.contents import Content, Leftovers, objects_of
from model_store.errors import AlreadyExists, BadSignature, Damaged, NotFound, Refused, StoreError
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
from model_store.versions import VersionId, check_model

_MOST_MANIFEST_BYTES: Final = 16 << 20
_MOST_MODEL_BYTES: Final = 1 << 30
_VERSION_PLACE: Final = re.compile(r"([a-z0-9-]+)/versions/([0-9]{6})/([0-9]{15})\.json")
_PIN_PLACE: Final = re.compile(r"[a-z0-9-]+/pins/([0-9]{6})-([0-9]{15})")


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
        self._known: dict[VersionId, Content] = {}
        self._leftovers = Leftovers()

    # --- writing -----------------------------------------------------------------------------------

    def publish(self, draft: Draft, files: Mapping[str, bytes]) -> Manifest:
        """Store a version and return its manifest.

        Raises
        ------
        AlreadyExists
            Where the version is there, with its manifest: compare it, nothing was changed.
        StoreUnavailable
            Where it could not be written for certain: nothing of it is visible, or all. Publish it again.
        Refused
            Where the name is taken by what no trusted key signed.
        """
        if self._signer is None:
            raise StoreError("this process has no signing key and publishes nothing")
        refs = {name: FileRef(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
        manifest = Manifest(
            **{name: getattr(draft, name) for name in Draft.__struct_fields__}, libraries=libraries(), files=refs
        )
        body = encode_manifest(manifest)
        manifest = decode_manifest(body)  # as everyone will read it, before anything is written
        for name, data in files.items():
            if len(data) > self._cap:
                raise StoreError(f"file {name!r} of version {draft.version} has {len(data)} bytes; at most {self._cap}")
            self._put_object(draft.version.model, refs[name].sha256, data)
        key_id = self._signer.key_id
        sealed = seal(body, key_id, self._signer.sign(signed_bytes(body, key_id)))
        try:
            self._backend.put_new(_place(draft.version), sealed)
        except AlreadyExists as error:
            raise AlreadyExists(str(error), self.manifest(draft.version)) from error
        self._known[manifest.version] = Content.of(manifest)
        return manifest

    def _put_object(self, model: str, sha256: str, data: bytes) -> None:
        name = _object(model, sha256)
        try:
            self._backend.put_new(name, data)
        except AlreadyExists:
            # Named by its content: the same bytes, unless the disk changed them since.
            if not self._is_whole(name, sha256):
                self._backend.delete(name)
                self._backend.put_new(name, data)

    def _is_whole(self, name: str, sha256: str) -> bool:
        try:
            return hashlib.sha256(self._backend.get(name, self._cap)).hexdigest() == sha256
        except (Damaged, NotFound):
            return False

    # --- reading -----------------------------------------------------------------------------------

    def versions(self, model: str, epoch: int | None = None) -> list[VersionId]:
        """Return the versions of a model, oldest first; only those that are completely there."""
        check_model(model)
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
        data = self._sealed(version)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged(f"version {version} is not the one that was announced")
        return self._verified(version, data)

    def _sealed(self, version: VersionId) -> bytes:
        try:
            return self._backend.get(_place(version), _MOST_MANIFEST_BYTES)
        except NotFound:
            raise NotFound(f"model {version.model} has no version {version}") from None

    def _verified(self, version: VersionId, data: bytes) -> Manifest:
        body, key_id, signature = unseal(data)
        self._trust.verify(key_id, signature, signed_bytes(body, key_id))
        manifest = decode_manifest(body)
        if manifest.version != version:
            signed = f"{manifest.version} of model {manifest.version.model}"
            raise BadSignature(f"what stands at version {version} of model {version.model} was signed as {signed}")
        return manifest

    def manifest_sha256(self, version: VersionId) -> str:
        """Return the hash of a version's file, as announcements carry it."""
        return hashlib.sha256(self._sealed(version)).hexdigest()

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
        breath: Breath = no_breath,
    ) -> Any:
        """Return the object in a file of a version. `breath` is called often meanwhile: see `model_store.breath`.

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
        loaded = loads(data, extra=extra_allowed, breath=breath)
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
        check_model(model)
        matches = map(_PIN_PLACE.fullmatch, self._backend.names(f"{model}/pins"))
        return {VersionId(model, int(match[1]), int(match[2])) for match in matches if match}

    def prune(self, model: str, retention: Retention, keep: Collection[VersionId]) -> Pruned:
        """Delete what the retention lets go of: versions first, then objects that no version has.

        Only the learner of the model calls this. What cannot be verified is left where it is.

        Raises
        ------
        StoreUnavailable
            Where the store cannot be read or written now: nothing that stays has lost anything.
        """
        contents = self._contents(model)
        made = [(version, content.made_ms) for version, content in contents.items() if content.made_ms is not None]
        going = to_delete(made, retention, {*keep, *self.pinned(model)})
        gone = set(going)
        used = objects_of(content for version, content in contents.items() if version not in gone)
        orphans = set(objects_of(contents[version] for version in going) - used)
        for version in going:
            self._backend.delete(_place(version))
            self._known.pop(version, None)
        if self._leftovers.due(model):
            there = [name.rpartition("/")[2] for name in self._backend.names(f"{model}/objects")]
            orphans |= self._leftovers.look(model, there, used | orphans)
        for sha256 in orphans:
            self._backend.delete(_object(model, sha256))
        return Pruned(tuple(going), len(orphans))

    def _contents(self, model: str) -> dict[VersionId, Content]:
        contents = {}
        for version in self.versions(model):
            if version not in self._known:
                with contextlib.suppress(NotFound):  # deleted since it was listed
                    self._known[version] = self._content(version)
            if version in self._known:
                contents[version] = self._known[version]
        return contents

    def _content(self, version: VersionId) -> Content:
        data = self._sealed(version)
        try:
            return Content.of(self._verified(version, data))
        except Refused:
            return Content.refused(data)


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
    signer = open_signer(keys) if sign else None
    return ModelStore(open_backend(address), open_trust(keys), signer)


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    return plain
