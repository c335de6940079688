"""Ed25519 keys: a learner signs with a private one, everybody checks against the public ones they trust."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from model_store.errors import BadSignature, StoreError

PRIVATE_NAME: Final = "signing.pem"
TRUSTED: Final = "trusted"


class KeyProblem(StoreError):  # noqa: N818
    """A key file cannot be used; the message names it and what to do."""


def key_id_of(public: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of the public key's SHA-256."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


class Signer:
    """Holds a private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key_id = key_id_of(private.public_key())

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that checks what this one signs."""
        return self._private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


class Trust:
    """The public keys whose signatures count.

    Parameters
    ----------
    read_again
        Asked when a key is not known: a learner may make its key after a predictor has started.
    """

    def __init__(
        self,
        keys: Mapping[str, Ed25519PublicKey],
        read_again: Callable[[], Mapping[str, Ed25519PublicKey]] | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._read_again = read_again

    @classmethod
    def of(cls, *keys: Ed25519PublicKey) -> Trust:
        """Return trust in these keys."""
        return cls({key_id_of(key): key for key in keys})

    def verify(self, key_id: str, signature: bytes, data: bytes) -> None:
        """Insist on a good signature by the trusted key of that id.

        Raises
        ------
        BadSignature
            Where the key is not trusted or the signature is not its.
        """
        if key_id not in self._keys and self._read_again is not None:
            self._keys = dict(self._read_again())
        key = self._keys.get(key_id)
        if key is None:
            raise BadSignature(f"signed by key {key_id[:32]!r}, which is not trusted here")
        try:
            key.verify(signature, data)
        except InvalidSignature:
            raise BadSignature(f"the signature is not one of key {key_id}") from None


def open_trust(folder: Path) -> Trust:
    """Return trust in every public key under ``folder/trusted``, now and as keys are added.

    Raises
    ------
    KeyProblem
        Where a file there is no Ed25519 public key, or the folder cannot be read.
    """
    return Trust(_trusted(folder), lambda: _trusted(folder))


def _trusted(folder: Path) -> dict[str, Ed25519PublicKey]:
    keys = {}
    trusted = folder / TRUSTED
    try:
        names = sorted(name for name in os.listdir(trusted) if name.endswith(".pem") and not name.startswith("."))
    except FileNotFoundError:
        names = []  # no learner has started yet
    except OSError as error:
        raise KeyProblem(f"{trusted} cannot be read: {error.strerror}") from error
    for path in (trusted / name for name in names):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except FileNotFoundError:
            continue  # of a learner that started beside another and lets its own key go
        except (ValueError, UnsupportedAlgorithm, OSError) as error:
            raise KeyProblem(
                f"{path} is no public key in PEM ({error}); remove it or put the right one there"
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyProblem(f"{path} is a public key of another kind; Ed25519 is used here")
        keys[key_id_of(key)] = key
    return keys


def open_signer(folder: Path) -> Signer:
    """Return the private key in `folder`, made at the first call together with trust in it.

    Raises
    ------
    KeyProblem
        Where it cannot be made or read, is no Ed25519 key, others may read it, or its public key is not
        trusted: nobody would load what it signs.
    """
    path = folder / PRIVATE_NAME
    try:
        if not path.exists():
            _make(folder, path)
        if path.stat().st_mode & 0o077:
            raise KeyProblem(f"{path} can be read by others: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise KeyProblem(f"{path} is no private key that can be made or read here: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is a private key of another kind; Ed25519 is used here")
    signer = Signer(key)
    if signer.key_id not in _trusted(folder):
        raise KeyProblem(
            f"{path} is key {signer.key_id}, which is not under {folder / TRUSTED}: put its public key there, "
            f"or remove {path} to have a new pair made"
        )
    return signer


def _make(folder: Path, path: Path) -> None:
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True, mode=0o755)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The public key first: a private key that nobody trusts would sign versions that nobody loads.
    public_path = trusted / f"{key_id_of(key.public_key())}.pem"
    _write_new(public_path, public, 0o644)
    try:
        _write_new(path, private, 0o600)
    except FileExistsError:
        public_path.unlink()  # two learners that start at once agree on the first one's key


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all: whoever looks meanwhile sees no half a key. FileExistsError."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
