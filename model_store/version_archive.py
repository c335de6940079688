"""Archive of one version, to move it between stores: a tar of the version's file and its data objects."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from model_store.blobs import Blob
from model_store.errors import BadSignature, Damaged, StoreError
from model_store.manifest import FileRef, Manifest
from model_store.store import ModelStore
from model_store.versions import VersionId
from schemas.model_names import stream_of

_VERSION: Final = "version.json"
_OBJECT: Final = re.compile(r"objects/([0-9a-f]{64})")
_MOST_BYTES: Final = 16 << 20
_PIECE: Final = 1 << 20


def export_version(store: ModelStore, version: VersionId, file: Path) -> Manifest:
    """Write a version into a new archive, checking each of its parts.

    Raises
    ------
    NotFound, VersionRefused
        If the version does not exist, or does not match its manifest.
    StoreError
        If the archive exists or cannot be written; a failure never leaves half a file.
    """
    sealed = store.sealed(version)
    manifest = store.opened(sealed)
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as out:
            _write(store, manifest, sealed, out)
            out.flush()
            os.fchmod(out.fileno(), 0o644)  # signed and not secret
            os.fsync(out.fileno())
            os.link(out.name, file)  # fails if the name is taken
    except FileExistsError as error:
        raise StoreError(f"{file} is there already: nothing is overwritten") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from error
    return manifest


def _write(store: ModelStore, manifest: Manifest, sealed: bytes, out: IO[bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_member(_VERSION, len(sealed)), io.BytesIO(sealed))
        for name, ref in manifest.files.items():
            with store.blob(manifest, name) as blob, blob.reader() as source:
                tar.addfile(_member(f"objects/{ref.sha256}", ref.size), source)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def import_version(store: ModelStore, stream: str, file: Path) -> tuple[Manifest, bool]:
    """Copy a version from an archive into the store; return it, and whether it is new there.

    Signature, sizes and hashes are checked before anything is written.

    Raises
    ------
    VersionRefused
        If `export_version` did not write the file, or no trusted key signed the version.
    StoreError
        If it is a version of another stream, or the file cannot be read.
    AlreadyExists
        If another version has its name.
    """
    with _opened(file) as (sealed, blobs):
        manifest = trusted(store, sealed)
        if stream_of(manifest.version.model) != stream:
            raise StoreError(f"{file} holds a version of {stream_of(manifest.version.model)}, not of {stream}")

        def blob(ref: FileRef) -> Blob:
            if ref.sha256 not in blobs:
                raise Damaged(f"{file} is no whole version: object {ref.sha256[:12]} is not in it")
            return blobs[ref.sha256]

        return manifest, store.adopt(sealed, blob)


def trusted(store: ModelStore, sealed: bytes) -> Manifest:
    """Return the manifest in an external version file; if no trusted key signed it, the error gives the solution."""
    try:
        return store.opened(sealed)
    except BadSignature as error:
        raise BadSignature(
            f"{error}: if you trust who made it, copy that key's file from their MILLSTREAM_HOME/keys/trusted "
            "into your own"
        ) from error


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[bytes, dict[str, Blob]]]:
    blobs: dict[str, Blob] = {}
    sealed = b""
    try:
        opened = file.open("rb")
    except (OSError, ValueError) as error:  # missing, or an invalid file name
        raise StoreError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        with opened, tarfile.open(fileobj=opened, mode="r:") as tar:
            for member in tar:
                named = _OBJECT.fullmatch(member.name)
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or (named is None) != (member.name == _VERSION):
                    raise Damaged(f"{file} holds {member.name[:100]!r}, which no exported version has")
                if named is None and member.size <= _MOST_BYTES:
                    sealed = source.read(member.size)
                elif named is not None:
                    blobs[named[1]] = blob = Blob()
                    while piece := source.read(_PIECE):
                        blob.write(piece)
        yield sealed, blobs
    except (tarfile.TarError, EOFError) as error:
        raise Damaged(f"{file} is no exported version: {error}") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror or error}") from error
    finally:
        for blob in blobs.values():
            blob.close()
