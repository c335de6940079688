"""Ed25519 keys: a learner signs with a private key, readers verify with the public keys they trust."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from model_store.errors import BadSignature, RevokedKey, StoreError, StoreUnavailable

PRIVATE_NAME: Final = "signing.pem"
TRUSTED: Final = "trusted"
PUBLIC: Final = ".pem"
REVOKED: Final = ".revoked"  # beside the public key, so that a copy of the folder has both


class KeyProblem(StoreError):  # noqa: N818
    """A key file cannot be used; the message names the file and the solution."""


def key_id_of(public: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of the public key's SHA-256."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


class Signer:
    """Signs data with a private key.

    Parameters
    ----------
    read_again
        Returns the current signing key, so that a rotated key is used without a restart.
    """

    def __init__(self, private: Ed25519PrivateKey, read_again: Callable[[], Signer] | None = None) -> None:
        self._private = private
        self._read_again = read_again
        self.key_id = key_id_of(private.public_key())

    @property
    def public(self) -> Ed25519PublicKey:
        """Return the public key that verifies this key's signatures."""
        return self._private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)

    def current(self) -> Signer:
        """Return the current signer.

        Raises
        ------
        KeyProblem
            If the key is missing or no longer trusted, so that no reader would accept its signature.
        StoreUnavailable
            If the key cannot be read now.
        """
        return self if self._read_again is None else self._read_again()


@dataclass(frozen=True)
class PublicKeys:
    """Public keys by their ids, and the ids of revoked keys, which take precedence."""

    keys: Mapping[str, Ed25519PublicKey]
    revoked: frozenset[str] = frozenset()


class Trust:
    """The public keys whose signatures are trusted.

    Parameters
    ----------
    read_again
        Called before every check, because keys may be created, rotated or revoked while a predictor runs.
    """

    def __init__(self, keys: PublicKeys, read_again: Callable[[], PublicKeys] | None = None) -> None:
        self._keys = keys
        self._read_again = read_again

    @classmethod
    def of(cls, *keys: Ed25519PublicKey) -> Trust:
        """Return a `Trust` with these keys."""
        return cls(PublicKeys({key_id_of(key): key for key in keys}))

    def verify(self, key_id: str, signature: bytes, data: bytes) -> None:
        """Raise BadSignature unless the trusted key of that id made the signature.

        Raises
        ------
        BadSignature
            If the key is not trusted or the signature is invalid; RevokedKey if the key was revoked.
        """
        if not self.is_of(key_id, signature, data):
            raise BadSignature(f"signed by key {key_id[:32]!r}, which is not trusted here")
        if key_id in self._keys.revoked:
            raise RevokedKey(f"signed by key {key_id}, which is revoked: `millstream keys list` says since when")

    def is_of(self, key_id: str, signature: bytes, data: bytes) -> bool:
        """Return whether the key is known here, revoked or not. Raises BadSignature if a known key did not sign."""
        if self._read_again is not None:
            self._keys = self._read_again()
        key = self._keys.keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, data)
        except InvalidSignature:
            raise BadSignature(f"the signature is not one of key {key_id}") from None
        return True


def open_trust(folder: Path) -> Trust:
    """Return a `Trust` in the public keys under ``folder/trusted``; it follows additions and revocations.

    Raises
    ------
    KeyProblem
        If a file there is not an Ed25519 public key, or the folder is unreadable or writable by everybody.
    """
    return Trust(public_keys(folder), lambda: public_keys(folder))


def public_keys(folder: Path) -> PublicKeys:
    """Return the current keys under ``folder/trusted``. Raises KeyProblem like `open_trust`."""
    trusted = folder / TRUSTED
    try:
        names = sorted(name for name in os.listdir(trusted) if not name.startswith("."))
        _insist_on_owner(trusted)
    except FileNotFoundError:
        names = []  # no learner has started yet
    except OSError as error:
        raise KeyProblem(f"{trusted} cannot be read: {error.strerror}") from error
    keys = [_public(trusted / name) for name in names if name.endswith(PUBLIC)]
    revoked = frozenset(name.removesuffix(REVOKED) for name in names if name.endswith(REVOKED))
    return PublicKeys({key_id_of(key): key for key in keys if key is not None}, revoked)


def _public(path: Path) -> Ed25519PublicKey | None:
    try:
        _insist_on_owner(path)
        key = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        return None  # another learner that started at the same time has deleted its own key
    except (ValueError, UnsupportedAlgorithm, OSError) as error:
        raise KeyProblem(f"{path} is no public key in PEM ({error}); remove it or put the right one there") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path} is a public key of another kind; Ed25519 is used here")
    return key


def _insist_on_owner(path: Path) -> None:
    """Raise KeyProblem if any user of the machine could add keys; a read-only mount prevents that."""
    if path.stat().st_mode & stat.S_IWOTH and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise KeyProblem(f"{path} can be written by everybody, so nothing in it is to be trusted: chmod o-w {path}")


def open_signer(folder: Path) -> Signer:
    """Return the private key in `folder`; the first call creates it, and trusts its public key.

    Raises
    ------
    KeyProblem
        If the key cannot be created or read, is not an Ed25519 key, is readable by others, or its public key is not
        trusted, so that no reader would accept its signatures.
    """
    path = folder / PRIVATE_NAME
    try:
        if not path.exists():
            make_pair(folder, path)
        return _signer(folder)
    except OSError as error:
        raise KeyProblem(f"{path} is no private key that can be made or read here: {error}") from error


def _signer(folder: Path) -> Signer:
    path = folder / PRIVATE_NAME
    signer = Signer(read_private(path), lambda: _signer_again(folder))
    public = public_keys(folder)
    if signer.key_id in public.revoked:
        raise KeyProblem(f"{path} is key {signer.key_id}, which is revoked: `millstream keys rotate` makes a new one")
    if signer.key_id not in public.keys:
        raise KeyProblem(
            f"{path} is key {signer.key_id}, which is not under {folder / TRUSTED}: put its public key there, "
            f"or remove {path} to have a new pair made"
        )
    return signer


def _signer_again(folder: Path) -> Signer:
    try:
        return _signer(folder)
    except FileNotFoundError as error:
        raise KeyProblem(
            f"{error.filename} has gone, and nothing can be signed: put it back, or make a new pair with "
            "`millstream keys init`"
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"the signing key in {folder} cannot be read now: {error.strerror}") from error


def read_private(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file. Raises OSError, and KeyProblem if it is invalid or readable by others.

    A file of root may be readable by its group, as PostgreSQL's clients allow: so a Secret of Kubernetes is mounted.
    """
    found = path.stat()
    mounted = found.st_uid == 0 and os.geteuid() != 0
    if found.st_mode & (0o037 if mounted else 0o077):
        raise KeyProblem(f"{path} can be read by others: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyProblem(f"{path} is no private key that can be made or read here: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is a private key of another kind; Ed25519 is used here")
    return key


def make_pair(folder: Path, path: Path) -> None:
    """Create a key pair with its private part at `path`; if that file exists, its key is used."""
    key = Ed25519PrivateKey.generate()
    # The public key comes first: a private key that is not trusted would sign versions that cannot be loaded.
    public_path = write_public(folder, key.public_key())
    try:
        write_new(path, private_pem(key), 0o600)
    except FileExistsError:
        public_path.unlink()  # two learners that start at the same time agree on the first one's key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return a private key in the format of its file."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_public(folder: Path, key: Ed25519PublicKey) -> Path:
    """Write a public key to the trusted ones, and return its file."""
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = trusted / f"{key_id_of(key)}{PUBLIC}"
    with contextlib.suppress(FileExistsError):
        write_new(
            path, key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644
        )
    return path


def write_new(path: Path, data: bytes, mode: int, *, over: bool = False) -> None:
    """Write a file atomically, so that no reader sees half a key.

    Raises
    ------
    FileExistsError
        If the file exists and `over` is false.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if over:
            os.replace(scratch, path)
        else:
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
