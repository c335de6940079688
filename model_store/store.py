"""The model store: versions are written atomically, never changed, and loaded only after every check.

Keys: ``<model>/versions/<epoch>/<examples>.json``, ``<model>/objects/<sha256>``, ``<model>/pins/…``. A version's file
is written last and create-only: it *is* the version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

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
from model_store.signing import Signer, Trust
from model_store.version_index import Content, VersionIndex
from model_store.versions import VersionId, check_model
from runtime.failpoints import failpoint
from schemas.model_names import stream_of

_MOST_MANIFEST_BYTES: Final = 16 << 20
_MOST_MODEL_BYTES: Final = 1 << 30
_BEFORE_MANIFEST: Final = failpoint("store.manifest.before")
_AFTER_MANIFEST: Final = failpoint("store.manifest.after")


class ModelStore:
    """Signed versions in a backend.

    Parameters
    ----------
    trust
        The keys whose signatures are trusted.
    signer
        Needed for publishing; predictors have none.
    cap_bytes
        Larger files of a version are not read.
    """

    def __init__(
        self, backend: Backend, trust: Trust, signer: Signer | None = None, *, cap_bytes: int = _MOST_MODEL_BYTES
    ) -> None:
        self._backend = backend
        self._trust = trust
        self._signer = signer
        self._cap = cap_bytes
        self._index = VersionIndex(backend, self._content)
        self._put_last: frozenset[str] = frozenset()  # keys of the objects of the last published version
        self._copies = LogCopies(backend, trust)

    @property
    def trust(self) -> Trust:
        """Return the keys whose signatures are trusted."""
        return self._trust

    # --- writing -----------------------------------------------------------------------------------

    def publish(self, draft: Draft, files: Mapping[str, bytes | Blob]) -> Manifest:
        """Store a version and return its manifest. Files are bytes, or blobs that `dump` has written.

        Raises
        ------
        AlreadyExists
            If the version exists; the error has its manifest for a comparison. Nothing was changed.
        StoreUnavailable
            If the result is uncertain: all of it is visible, or nothing. Publish it again.
        VersionRefused
            If the name is taken by a file that no trusted key signed.
        """
        if self._signer is None:
            raise StoreError("this process has no signing key and publishes nothing")
        refs = {name: FileRef.of(data) for name, data in files.items()}
        manifest = Manifest(
            **{name: getattr(draft, name) for name in Draft.__struct_fields__}, libraries=libraries(), files=refs
        )
        body = encode_manifest(manifest)
        manifest = decode_manifest(body)  # checked as readers will read it, before anything is written
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
        # These objects are kept with the version, so one that is used again, such as the code, need not be checked.
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
                # The existing version's key was revoked, so the newly learned version may replace it.
                self._backend.delete(name)
                self._backend.put_new(name, sealed)
                return
            raise VersionExists(str(error), there) from error

    def _put_object(self, model: str, sha256: str, data: bytes | Blob) -> None:
        name = object_place(model, sha256)
        try:
            self._put(name, data)
        except AlreadyExists:
            # The name is the content's hash, so the bytes are equal, unless the disk has damaged them.
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
        """Copy a version from another store with its signature; return whether it is new here.

        The signature, and size and hash of all files, are checked before anything is written.

        Raises
        ------
        VersionRefused
            If one of these checks fails.
        AlreadyExists
            If another version has this name; nothing was changed.
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

    def models(self, stream: str) -> list[str]:
        """Return the ids of a stream's models that have anything in the store, its own first."""
        return [each for each in self._backend.folders() if stream_of(each) == stream]

    def versions(self, model: str, epoch: int | None = None) -> list[VersionId]:
        """Return the complete versions of a model, oldest first."""
        check_model(model)
        prefix = f"{model}/versions" if epoch is None else f"{model}/versions/{epoch:06d}"
        return [each for name in self._backend.names(prefix) if (each := version_at(name))]

    def manifest(self, version: VersionId, sha256: str | None = None) -> Manifest:
        """Return a version's manifest after checking its signature.

        Parameters
        ----------
        version
            Its name; the manifest must have the same.
        sha256
            The hash of the file in an announcement.

        Raises
        ------
        NotFound, VersionRefused
        """
        data = self.sealed(version)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged(f"version {version} is not the one that was announced")
        return self._verified(version, data)

    def sealed(self, version: VersionId) -> bytes:
        """Return a version's file without any check. Raises NotFound."""
        try:
            return self._backend.get(version_place(version), _MOST_MANIFEST_BYTES)
        except NotFound:
            raise NotFound(
                f"model {version.model} has no version {version}; `millstream models list` shows those there are"
            ) from None

    def opened(self, data: bytes) -> Manifest:
        """Return the manifest in an external version file after checking its signature. Raises VersionRefused."""
        body, key_id, signature = unseal(data)
        self._trust.verify(key_id, signature, signed_bytes(body, key_id))
        return decode_manifest(body)

    def _verified(self, version: VersionId, data: bytes) -> Manifest:
        manifest = self.opened(data)
        if manifest.version != version:
            signed = f"{manifest.version} of model {manifest.version.model}"
            raise BadSignature(f"the file of version {version} of model {version.model} was signed as {signed}")
        return manifest

    def signed_by(self, version: VersionId) -> str:
        """Return the id of the key that signed a version, trusted here or not.

        Raises
        ------
        NotFound, VersionRefused
            VersionRefused if the key is known here and did not sign it.
        """
        body, key_id, signature = unseal(self.sealed(version))
        self._trust.is_of(key_id, signature, signed_bytes(body, key_id))
        return key_id

    def manifest_sha256(self, version: VersionId) -> str:
        """Return the hash of a version's file, as in announcements."""
        return hashlib.sha256(self.sealed(version)).hexdigest()

    def read(self, manifest: Manifest, file: str) -> bytes:
        """Return the bytes of a version's file after checking size and hash. Raises NotFound, Damaged."""
        with self.blob(manifest, file) as blob:
            return bytes(blob.contents())

    def blob(self, manifest: Manifest, file: str) -> Blob:
        """Return a version's file as a blob after checking size and hash. Raises NotFound, Damaged."""
        blob = Blob()
        self._fetch(manifest, file, blob.write)
        return blob

    def check(self, manifest: Manifest, file: str) -> None:
        """Raise NotFound or Damaged unless a version's file matches its manifest; the content is not kept."""
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

        `find` looks up the names in `extra_allowed`; if it is missing they are imported.

        The checks come in this order: size limit, hash and size, signature (again, because a caller could have made the
        manifest), library versions, and only then the restricted unpickling, and `check`.

        Raises
        ------
        VersionRefused
            With the first check that fails.
        """
        with self.believed(manifest, file) as blob:
            loaded = loads(blob.contents(), extra=extra_allowed, find=find, breath=breath)
        if check is not None:
            check(loaded)
        return loaded

    def load_estimator(self, manifest: Manifest, file: str) -> Any:
        """Return the scikit-learn estimator in a version's file after the checks of `load`. Raises VersionRefused."""
        with self.believed(manifest, file, estimator=True) as blob:
            return loads_estimator(bytes(blob.contents()), cap_bytes=self._cap)

    @contextlib.contextmanager
    def believed(self, manifest: Manifest, file: str, *, estimator: bool = False) -> Iterator[Blob]:
        """Yield a version's file after all checks that do not read its content. Raises VersionRefused."""
        with self.blob(manifest, file) as blob:
            if self.manifest(manifest.version) != manifest:
                raise BadSignature(f"the manifest of version {manifest.version} is not the one in the store")
            check_libraries(manifest.libraries, str(manifest.version), estimator=estimator)
            yield blob

    # --- logs --------------------------------------------------------------------------------------

    def note_copy(self, copy: LogCopy) -> None:
        """Write a signed record that a topic is a copy of another. Raises StoreError, StoreUnavailable."""
        if self._signer is None:
            raise StoreError("this process has no signing key and cannot write records of logs")
        self._copies.note(copy, self._signer.current())

    def log_copy(self, model: str, topic_id: str) -> LogCopy | None:
        """Return the verified record of a topic that is a copy; `None` if it is not one. Raises VersionRefused."""
        check_model(model)
        return self._copies.get(model, topic_id)

    def is_log(self, manifest: Manifest, topic_id: str) -> bool:
        """Return whether a topic holds, at the same offsets, the log of a version's stream. Raises VersionRefused."""
        return self.is_copy(stream_of(manifest.version.model), topic_id, manifest.topic_id, manifest.offset)

    def is_copy(self, stream: str, topic_id: str, original: str, offset: int) -> bool:
        """Return whether a topic holds, at the same offsets, a log's records before `offset`. Raises VersionRefused."""
        return self._copies.has(stream, topic_id, original, offset)

    def copy_marks(self, target: ModelStore, model: str) -> None:
        """Copy a model's pins and its records of copied logs."""
        for folder in ("pins", "logs"):
            for name in self._backend.names(f"{model}/{folder}"):
                with contextlib.suppress(AlreadyExists, NotFound):
                    target._backend.put_new(name, self._backend.get(name, _MOST_MANIFEST_BYTES))

    # --- pins and pruning --------------------------------------------------------------------------

    def pin(self, version: VersionId) -> None:
        """Protect a version from retention. Raises NotFound if it does not exist."""
        self.manifest(version)
        with contextlib.suppress(AlreadyExists):
            self._backend.put_new(pin_place(version), b"")

    def unpin(self, version: VersionId) -> None:
        """End the protection of a version from retention."""
        self._backend.delete(pin_place(version))

    def pinned(self, model: str) -> set[VersionId]:
        """Return the pinned versions."""
        check_model(model)
        return {each for name in self._backend.names(f"{model}/pins") if (each := pinned_at(name))}

    def prune(self, model: str, retention: Retention, keep: Collection[VersionId], *, trained: bool = False) -> Pruned:
        """Delete versions by the retention rule, then objects that no version has.

        Only the model's learner calls this, or the trainer for one that it has `trained`. Versions that cannot be
        verified stay.

        Raises
        ------
        StoreUnavailable
            If the store cannot be read or written now; the remaining versions are complete.
        """
        contents = self._index.contents(self.versions(model))
        made = [(version, content.made_ms) for version, content in contents.items() if content.made_ms is not None]
        going = to_delete(made, retention, {*keep, *self.pinned(model)}, trained=trained)
        return self._index.delete(model, going, contents)

    def _content(self, version: VersionId) -> Content:
        data = self.sealed(version)
        try:
            return Content.of(self._verified(version, data))
        except VersionRefused:
            return Content.refused(data)
