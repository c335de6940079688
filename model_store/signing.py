"""Ed25519 keys: a learner signs with a private one, everybody checks against the public ones they trust."""

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
REVOKED: Final = ".revoked"  # beside the public key, so that who copies the folder has both


class KeyProblem(StoreError):  # noqa: N818
    """A key file cannot be used; the message names it and what to do."""


def key_id_of(public: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of the public key's SHA-256."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


class Signer:
    """Holds a private key.

    Parameters
    ----------
    read_again
        Returns the key that signs now: one that was rotated is taken up without a restart.
    """

    def __init__(self, private: Ed25519PrivateKey, read_again: Callable[[], Signer] | None = None) -> None:
        self._private = private
        self._read_again = read_again
        self.key_id = key_id_of(private.public_key())

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that checks what this one signs."""
        return self._private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)

    def current(self) -> Signer:
        """Return what is to sign now.

        Raises
        ------
        KeyProblem
            Where that key has gone, or is not trusted any more: nobody would load what it signs.
        StoreUnavailable
            Where it cannot be read now.
        """
        return self if self._read_again is None else self._read_again()


@dataclass(frozen=True)
class PublicKeys:
    """Public keys by their ids, and the ids of those that are trusted no more, whatever else says so."""

    keys: Mapping[str, Ed25519PublicKey]
    revoked: frozenset[str] = frozenset()


class Trust:
    """The public keys whose signatures count.

    Parameters
    ----------
    read_again
        Asked before every check: a learner may make or rotate its key, and somebody may revoke one, while a
        predictor runs.
    """

    def __init__(self, keys: PublicKeys, read_again: Callable[[], PublicKeys] | None = None) -> None:
        self._keys = keys
        self._read_again = read_again

    @classmethod
    def of(cls, *keys: Ed25519PublicKey) -> Trust:
        """Return trust in these keys."""
        return cls(PublicKeys({key_id_of(key): key for key in keys}))

    def verify(self, key_id: str, signature: bytes, data: bytes) -> None:
        """Insist on a good signature by the trusted key of that id.

        Raises
        ------
        BadSignature
            Where the key is not trusted or the signature is not its; RevokedKey where it was trusted once.
        """
        if not self.is_of(key_id, signature, data):
            raise BadSignature(f"signed by key {key_id[:32]!r}, which is not trusted here")
        if key_id in self._keys.revoked:
            raise RevokedKey(f"signed by key {key_id}, which is revoked: `millstream keys list` says since when")

    def is_of(self, key_id: str, signature: bytes, data: bytes) -> bool:
        """Tell whether the key is known here, revoked or not. BadSignature where it is and did not sign this."""
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
    """Return trust in every public key under ``folder/trusted``, as keys are added and revoked there.

    Raises
    ------
    KeyProblem
        Where a file there is no Ed25519 public key, or the folder cannot be read or could be written by anyone.
    """
    return Trust(public_keys(folder), lambda: public_keys(folder))


def public_keys(folder: Path) -> PublicKeys:
    """Return what is under ``folder/trusted`` now. KeyProblem as in `open_trust`."""
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
        return None  # of a learner that started beside another and lets its own key go
    except (ValueError, UnsupportedAlgorithm, OSError) as error:
        raise KeyProblem(f"{path} is no public key in PEM ({error}); remove it or put the right one there") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path} is a public key of another kind; Ed25519 is used here")
    return key


def _insist_on_owner(path: Path) -> None:
    """Refuse trust that any user of the machine could have put there; where the mount is read-only, none could."""
    if path.stat().st_mode & stat.S_IWOTH and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise KeyProblem(f"{path} can be written by everybody, so nothing in it is to be trusted: chmod o-w {path}")


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
    """Return the private key in a file. OSError; KeyProblem where it is none, or others may read it."""
    if path.stat().st_mode & 0o077:
        raise KeyProblem(f"{path} can be read by others: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyProblem(f"{path} is no private key that can be made or read here: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is a private key of another kind; Ed25519 is used here")
    return key


def make_pair(folder: Path, path: Path) -> None:
    """Make a key pair, its private part at `path`, unless that is there already: then the one there counts."""
    key = Ed25519PrivateKey.generate()
    # The public key first: a private key that nobody trusts would sign versions that nobody loads.
    public_path = write_public(folder, key.public_key())
    try:
        write_new(path, private_pem(key), 0o600)
    except FileExistsError:
        public_path.unlink()  # two learners that start at once agree on the first one's key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return a private key as its file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_public(folder: Path, key: Ed25519PublicKey) -> Path:
    """Have a public key trusted, and return its file."""
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = trusted / f"{key_id_of(key)}{PUBLIC}"
    with contextlib.suppress(FileExistsError):
        write_new(
            path, key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644
        )
    return path


def write_new(path: Path, data: bytes, mode: int, *, over: bool = False) -> None:
    """Write a file whole or not at all: whoever looks meanwhile sees no half a key.

    Raises
    ------
    FileExistsError
        Where it is there and is not to be written `over`.
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
