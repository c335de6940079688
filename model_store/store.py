"""Versions: written whole or not at all, never changed, and loaded only after every check.

Places: ``<model>/versions/<epoch>/<examples>.json``, ``<model>/objects/<sha256>``, ``<model>/pins/…``.
A version's file is put last and create-only: it *is* the version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from model_store.address import open_backend
from model_store.backends import Backend
from model_store.blobs import Blob
from model_store.copied_logs import LogCopies, LogCopy
from model_store.errors import AlreadyExists, BadSignature, Damaged, NotFound, RevokedKey, StoreError, VersionRefused
from model_store.estimators import loads_estimator
from model_store.gil_pause import Breath, no_breath
from model_store.libraries import check_libraries, libraries
from model_store.manifest import (
    Draft,
    FileRef,
    Manifest,
    VersionExists,
    decode_manifest,
    encode_manifest,
    seal,
    signed_bytes,
    unseal,
)
from model_store.object_keys import object_place, pin_place, pinned_at, version_at, version_place
from model_store.restricted_pickle import Find, Global, loads
from model_store.retention import Pruned, Retention, to_delete
from model_store.signing import Signer, Trust, open_signer, open_trust
from model_store.version_index import Content, VersionIndex
from model_store.versions import VersionId, check_model
from runtime.failpoints import failpoint

_MOST_MANIFEST_BYTES: Final = 16 << 20
_MOST_MODEL_BYTES: Final = 1 << 30
_BEFORE_MANIFEST: Final = failpoint("store.manifest.before")
_AFTER_MANIFEST: Final = failpoint("store.manifest.after")


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
        self._index = VersionIndex(backend, self._content)
        self._put_last: frozenset[str] = frozenset()  # places of the objects of the version published last
        self._copies = LogCopies(backend, trust)

    @property
    def trust(self) -> Trust:
        """Whose signatures count."""
        return self._trust

    # --- writing -----------------------------------------------------------------------------------

    def publish(self, draft: Draft, files: Mapping[str, bytes | Blob]) -> Manifest:
        """Store a version and return its manifest. Its files come as they are, or as `dump` has written them.

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
        refs = {name: FileRef.of(data) for name, data in files.items()}
        manifest = Manifest(
            **{name: getattr(draft, name) for name in Draft.__struct_fields__}, libraries=libraries(), files=refs
        )
        body = encode_manifest(manifest)
        manifest = decode_manifest(body)  # as everyone will read it, before anything is written
        for name, data in files.items():
            size = refs[name].size
            if size > self._cap:
                raise StoreError(f"file {name!r} of version {draft.version} has {size} bytes; at most {self._cap}")
            if object_place(draft.version.model, refs[name].sha256) not in self._put_last:
                self._put_object(draft.version.model, refs[name].sha256, data)
        signer = self._signer.current()
        _BEFORE_MANIFEST()
        self._put_sealed(draft.version, seal(body, signer.key_id, signer.sign(signed_bytes(body, signer.key_id))))
        _AFTER_MANIFEST()
        # The version keeps its objects: one that comes again, as code does, need not be read to see that it is there.
        self._put_last = frozenset(object_place(draft.version.model, ref.sha256) for ref in refs.values())
        self._index.add(manifest)
        return manifest

    def _put_sealed(self, version: VersionId, sealed: bytes) -> None:
        name = version_place(version)
        try:
            self._backend.put_new(name, sealed)
        except AlreadyExists as error:
            try:
                there = self.manifest(version)
            except RevokedKey:
                # Somebody has said that it is no version: what was learned again in its place is one.
                self._backend.delete(name)
                self._backend.put_new(name, sealed)
                return
            raise VersionExists(str(error), there) from error

    def _put_object(self, model: str, sha256: str, data: bytes | Blob) -> None:
        name = object_place(model, sha256)
        try:
            self._put(name, data)
        except AlreadyExists:
            # Named by its content: the same bytes, unless the disk changed them since.
            if not self._is_whole(name, sha256):
                self._backend.delete(name)
                self._put(name, data)

    def _put(self, name: str, data: bytes | Blob) -> None:
        if isinstance(data, Blob) and data.path is not None:
            self._backend.put_file(name, data.path)
        else:
            self._backend.put_new(name, data if isinstance(data, bytes) else bytes(data.contents()))

    def _is_whole(self, name: str, sha256: str) -> bool:
        found = hashlib.sha256()
        try:
            self._backend.fetch(name, self._cap, found.update)
        except (Damaged, NotFound):
            return False
        return found.hexdigest() == sha256

    def adopt(self, sealed: bytes, blobs: Callable[[FileRef], Blob]) -> bool:
        """Take over a version that another store has, as it was signed; tell whether it was not here before.

        Its signature, and size and hash of all its files, are checked before anything is written.

        Raises
        ------
        Refused
            Where one of them is not right.
        AlreadyExists
            Where another version has this name; nothing was changed.
        """
        manifest = self.opened(sealed)
        place = version_place(manifest.version)
        if self._has(place, sealed):
            return False
        found = {name: blobs(ref) for name, ref in manifest.files.items()}
        for name, blob in found.items():
            ref = manifest.files[name]
            if ref.size > self._cap or (blob.size, blob.sha256) != (ref.size, ref.sha256):
                raise Damaged(f"file {name!r} of version {manifest.version} is not what its manifest says")
        for blob in found.values():
            self._put_object(manifest.version.model, blob.sha256, blob)
        try:
            self._backend.put_new(place, sealed)
        except AlreadyExists:
            self._has(place, sealed)
            return False
        return True

    def _has(self, place: str, sealed: bytes) -> bool:
        try:
            there = self._backend.get(place, _MOST_MANIFEST_BYTES)
        except NotFound:
            return False
        if there != sealed:
            raise AlreadyExists(f"{place} is there already and is another version: nothing is overwritten")
        return True

    # --- reading -----------------------------------------------------------------------------------

    def versions(self, model: str, epoch: int | None = None) -> list[VersionId]:
        """Return the versions of a model, oldest first; only those that are completely there."""
        check_model(model)
        prefix = f"{model}/versions" if epoch is None else f"{model}/versions/{epoch:06d}"
        return [each for name in self._backend.names(prefix) if (each := version_at(name))]

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
        data = self.sealed(version)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged(f"version {version} is not the one that was announced")
        return self._verified(version, data)

    def sealed(self, version: VersionId) -> bytes:
        """Return the file of a version as it is, nothing of it checked. NotFound."""
        try:
            return self._backend.get(version_place(version), _MOST_MANIFEST_BYTES)
        except NotFound:
            raise NotFound(
                f"model {version.model} has no version {version}; `millstream models list` shows those there are"
            ) from None

    def opened(self, data: bytes) -> Manifest:
        """Return the manifest in a version's file that came from elsewhere, its signature checked. Refused."""
        body, key_id, signature = unseal(data)
        self._trust.verify(key_id, signature, signed_bytes(body, key_id))
        return decode_manifest(body)

    def _verified(self, version: VersionId, data: bytes) -> Manifest:
        manifest = self.opened(data)
        if manifest.version != version:
            signed = f"{manifest.version} of model {manifest.version.model}"
            raise BadSignature(f"what stands at version {version} of model {version.model} was signed as {signed}")
        return manifest

    def signed_by(self, version: VersionId) -> str:
        """Return the id of the key that a version is signed by, trusted here or not.

        Raises
        ------
        NotFound, Refused
            Refused where the key is known here and did not sign it.
        """
        body, key_id, signature = unseal(self.sealed(version))
        self._trust.is_of(key_id, signature, signed_bytes(body, key_id))
        return key_id

    def manifest_sha256(self, version: VersionId) -> str:
        """Return the hash of a version's file, as announcements carry it."""
        return hashlib.sha256(self.sealed(version)).hexdigest()

    def read(self, manifest: Manifest, file: str) -> bytes:
        """Return the bytes of a file of a version, size and hash checked. NotFound; Damaged."""
        with self.blob(manifest, file) as blob:
            return bytes(blob.contents())

    def blob(self, manifest: Manifest, file: str) -> Blob:
        """Return a file of a version, size and hash checked; a large one is not in memory. NotFound; Damaged."""
        blob = Blob()
        self._fetch(manifest, file, blob.write)
        return blob

    def check(self, manifest: Manifest, file: str) -> None:
        """Insist on a file of a version being what its manifest says; nothing of it is kept. NotFound; Damaged."""
        self._fetch(manifest, file, lambda piece: None)

    def _fetch(self, manifest: Manifest, file: str, into: Callable[[bytes], object]) -> None:
        ref = manifest.files.get(file)
        if ref is None:
            raise NotFound(f"version {manifest.version} has no file {file!r}")
        if ref.size > self._cap:
            raise Damaged(f"file {file!r} of version {manifest.version} has {ref.size} bytes; at most {self._cap}")
        found, size = hashlib.sha256(), 0

        def take(piece: bytes) -> None:
            nonlocal size
            found.update(piece)
            size += len(piece)
            into(piece)

        self._backend.fetch(object_place(manifest.version.model, ref.sha256), self._cap, take)
        if size != ref.size or found.hexdigest() != ref.sha256:
            raise Damaged(f"file {file!r} of version {manifest.version} is not what its manifest says")

    def load(
        self,
        manifest: Manifest,
        file: str,
        *,
        extra_allowed: frozenset[Global] = frozenset(),
        find: Find | None = None,
        check: Callable[[Any], None] | None = None,
        breath: Breath = no_breath,
    ) -> Any:
        """Return the object in a file of a version. `breath` is called often meanwhile: see `model_store.gil_pause`.

        `find` looks up the names in `extra_allowed`; without it they are imported.

        In this order: size cap, hash and size, signature (again: a manifest made by hand is none), library
        versions, and only then the restricted unpickling, and `check`.

        Raises
        ------
        Refused
            With the first thing that is wrong.
        """
        with self._believed(manifest, file) as blob:
            loaded = loads(blob.contents(), extra=extra_allowed, find=find, breath=breath)
        if check is not None:
            check(loaded)
        return loaded

    def load_estimator(self, manifest: Manifest, file: str) -> Any:
        """Return the scikit-learn estimator in a file of a version, after the same checks as `load`. Refused."""
        with self._believed(manifest, file) as blob:
            return loads_estimator(bytes(blob.contents()), cap_bytes=self._cap)

    @contextlib.contextmanager
    def _believed(self, manifest: Manifest, file: str) -> Iterator[Blob]:
        """Lend a file once all is checked that can be without looking into it."""
        with self.blob(manifest, file) as blob:
            if self.manifest(manifest.version) != manifest:
                raise BadSignature(f"the manifest of version {manifest.version} is not the one in the store")
            check_libraries(manifest.libraries, str(manifest.version))
            yield blob

    # --- logs --------------------------------------------------------------------------------------

    def note_copy(self, copy: LogCopy) -> None:
        """Write, signed, that a topic is a copy of another. Again is fine. StoreError; StoreUnavailable."""
        if self._signer is None:
            raise StoreError("this process has no signing key and says nothing about logs")
        self._copies.note(copy, self._signer.current())

    def log_copy(self, model: str, topic_id: str) -> LogCopy | None:
        """Return what a topic is a copy of, its signature checked; `None` where it is none. Refused."""
        check_model(model)
        return self._copies.get(model, topic_id)

    def is_log(self, manifest: Manifest, topic_id: str) -> bool:
        """Tell whether a topic has, at the same offsets, all that a version had learned. Refused."""
        return self._copies.has(manifest.version.model, topic_id, manifest.topic_id, manifest.offset)

    def copy_marks(self, target: ModelStore, model: str) -> None:
        """Copy what is said of a model beside its versions: pins, and what logs are copies of."""
        for folder in ("pins", "logs"):
            for name in self._backend.names(f"{model}/{folder}"):
                with contextlib.suppress(AlreadyExists, NotFound):
                    target._backend.put_new(name, self._backend.get(name, _MOST_MANIFEST_BYTES))

    # --- keeping and forgetting --------------------------------------------------------------------

    def pin(self, version: VersionId) -> None:
        """Keep a version whatever the retention says. NotFound where there is none."""
        self.manifest(version)
        with contextlib.suppress(AlreadyExists):
            self._backend.put_new(pin_place(version), b"")

    def unpin(self, version: VersionId) -> None:
        """Leave a version to the retention again."""
        self._backend.delete(pin_place(version))

    def pinned(self, model: str) -> set[VersionId]:
        """Return the pinned versions."""
        check_model(model)
        return {each for name in self._backend.names(f"{model}/pins") if (each := pinned_at(name))}

    def prune(self, model: str, retention: Retention, keep: Collection[VersionId]) -> Pruned:
        """Delete what the retention lets go of: versions first, then objects that no version has.

        Only the learner of the model calls this. What cannot be verified is left where it is.

        Raises
        ------
        StoreUnavailable
            Where the store cannot be read or written now: nothing that stays has lost anything.
        """
        contents = self._index.contents(self.versions(model))
        made = [(version, content.made_ms) for version, content in contents.items() if content.made_ms is not None]
        going = to_delete(made, retention, {*keep, *self.pinned(model)})
        return self._index.delete(model, going, contents)

    def _content(self, version: VersionId) -> Content:
        data = self.sealed(version)
        try:
            return Content.of(self._verified(version, data))
        except VersionRefused:
            return Content.refused(data)


def open_store(address: str | Path, keys: Path, *, sign: bool) -> ModelStore:
    """Return the store at an address, with the keys in folder `keys`. StoreError; KeyProblem."""
    backend = open_backend(address)
    signer = open_signer(keys) if sign else None
    return ModelStore(backend, open_trust(keys), signer)
