"""What a version says of itself, and the exact bytes that are signed.

The file of a version is one line of JSON: ``{"key_id", "manifest", "signature"}``. What is signed is a
domain prefix and the canonical JSON of the manifest: sorted keys, no white space, no NaN. Reading encodes
again and compares, so there is one spelling of a manifest and no key can stand in it twice.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import msgspec

from model_store.blobs import Blob
from model_store.errors import AlreadyExists, Damaged
from model_store.versions import VersionId

FORMAT: Final = 1
_DOMAIN: Final = b"millstream manifest v1\n"


class FileRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a version; it is stored under its sha256."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)]

    @classmethod
    def of(cls, data: bytes | Blob) -> FileRef:
        """Return the reference to a file with this content."""
        if isinstance(data, Blob):
            return cls(data.sha256, data.size)
        return cls(hashlib.sha256(data).hexdigest(), len(data))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What the maker of a version knows of it.

    Attributes
    ----------
    version, parent
        Its name, and the version it goes on from where it began an epoch.
    shard, topic_id, offset
        Of the examples log: the next offset to read.
    examples
        How many it has learned.
    chain, fingerprint
        Hex. Versions are the same where both are.
    definition, contract
        Hashes of what it was made from.
    metrics
        As the learner reports them; numbers unrounded, null where not defined.
    skipped
        Offsets that were left out because they break the model; as first and last where they are a run.
    labels_from_ms, labels_to_ms
        Broker times of the labels newly learned since the version before.
    reason
        Why it was made: ``start``, ``interval``, ``stop``.
    """

    version: VersionId
    parent: VersionId | None = None
    shard: int = 0
    topic_id: str
    offset: int
    examples: int
    chain: str
    fingerprint: str
    definition: str
    contract: str
    created_at_ms: int
    metrics: dict[str, Any] = {}
    skipped: list[int | tuple[int, int]] = []
    labels_from_ms: int | None = None
    labels_to_ms: int | None = None
    reason: str = ""
    cpu: str = ""
    extra: dict[str, Any] = {}


class Manifest(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft with what the store adds: the libraries it was made with, and its files."""

    format: int = FORMAT
    libraries: dict[str, str]
    files: dict[str, FileRef]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size for file in self.files.values())


class VersionExists(AlreadyExists):
    """The store has another version of this name, which `manifest` describes; it is never overwritten."""

    def __init__(self, message: str, manifest: Manifest) -> None:
        super().__init__(message)
        self.manifest = manifest


class _Format(msgspec.Struct, frozen=True):
    format: int


class _SignedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    manifest: msgspec.Raw
    signature: str


_encoder: Final = msgspec.json.Encoder(order="sorted")
# Made while the module is imported, by one thread, as everywhere here: msgspec 0.22 learns a type at its first use,
# and a second thread that decodes it meanwhile reads what is half learned, and crashes.
_read_format: Final = msgspec.json.Decoder(_Format).decode
_read_envelope: Final = msgspec.json.Decoder(_SignedManifest).decode
_read_manifest: Final = msgspec.json.Decoder(Manifest).decode


def signed_bytes(manifest: bytes, key_id: str) -> bytes:
    """Return what a signature is over: the domain, the key's id, and the canonical manifest."""
    return _DOMAIN + key_id.encode() + b"\n" + manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical JSON. NaN and infinity become null."""
    return _encoder.encode(manifest)


def seal(manifest: bytes, key_id: str, signature: bytes) -> bytes:
    """Return the file of a version."""
    return _encoder.encode(_SignedManifest(key_id, msgspec.Raw(manifest), signature.hex()))


def unseal(data: bytes) -> tuple[bytes, str, bytes]:
    """Return manifest, key id and signature of a version's file, none of it believed yet.

    Raises
    ------
    Damaged
        Where it is not exactly what `seal` writes.
    """
    try:
        envelope = _read_envelope(data)
        signature = bytes.fromhex(envelope.signature)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Damaged(f"not a version's file: {error}") from error
    manifest = bytes(envelope.manifest)
    if seal(manifest, envelope.key_id, signature) != data:
        raise Damaged("a version's file in another spelling than the one it is written in")
    return manifest, envelope.key_id, signature


def decode_manifest(data: bytes) -> Manifest:
    """Read the canonical JSON, after its signature has been checked.

    Raises
    ------
    Damaged
        Where it is of another format, or not canonical.
    """
    try:
        found = _read_format(data).format
        if found != FORMAT:
            raise Damaged(f"a manifest of format {found}; this program reads format {FORMAT}")
        manifest = _read_manifest(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Damaged(f"not a manifest: {error}") from error
    if encode_manifest(manifest) != data:
        raise Damaged("a manifest that is not in canonical form")
    return manifest


def as_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    return plain
