"""Operations on the keys of a folder: create, prepare, rotate, revoke and list.

``signing.pem`` is the signing key. ``next.pem`` will be after the next rotation; its public key is trusted already, so
that it can be copied to other machines before anything is signed with it. ``trusted/<id>.pem`` is trusted unless
``trusted/<id>.revoked`` exists.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_store.errors import InvalidObjectName
from model_store.signing import (
    PRIVATE_NAME,
    PUBLIC,
    REVOKED,
    TRUSTED,
    KeyProblem,
    key_id_of,
    make_pair,
    private_pem,
    public_keys,
    read_private,
    write_new,
    write_public,
)

NEXT_NAME: Final = "next.pem"
PRIVATE_FILES: Final = (PRIVATE_NAME, NEXT_NAME)
"""Names of the files from which a version can be signed."""
_LOCK: Final = ".lock"
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
KeyState = Literal["signs", "next", "trusted", "revoked"]


class InvalidKeyId(InvalidObjectName):
    """The text is not a key's id: `millstream keys list` shows the existing ones."""


class Revocation(msgspec.Struct, frozen=True):
    """Time (ms), user and reason of a key's revocation; empty if the file cannot be read."""

    at: int = 0
    by: str = ""
    why: str = ""


_read_revocation: Final = msgspec.json.Decoder(Revocation).decode


@dataclass(frozen=True)
class Key:
    """A public key of a folder.

    Attributes
    ----------
    since_ms
        Time at which its file was written.
    """

    key_id: str
    state: KeyState
    since_ms: int
    revocation: Revocation | None = None


def check_key_id(text: str) -> str:
    """Return the text if it is a key's id; raise InvalidKeyId otherwise."""
    if not _KEY_ID.fullmatch(text):
        raise InvalidKeyId(f"{text[:100]!r} is no key's id: those are 16 of 0-9 and a-f; see `millstream keys list`")
    return text


def listed(folder: Path) -> list[Key]:
    """Return the keys of a folder, oldest first. Raises KeyProblem if one of them cannot be read."""
    public = public_keys(folder)
    private = {_private_id(folder / NEXT_NAME): "next", _private_id(folder / PRIVATE_NAME): "signs"}
    found = []
    for key_id in public.keys.keys() | public.revoked:
        revoked = key_id in public.revoked
        state: KeyState = "revoked" if revoked else private.get(key_id, "trusted")  # type: ignore[assignment]
        found.append(Key(key_id, state, _since(folder, key_id), _revocation(folder, key_id) if revoked else None))
    return sorted(found, key=lambda key: (key.since_ms, key.key_id))


def init(folder: Path) -> str:
    """Create a key pair and return its id. Raises KeyProblem if one exists, or the folder cannot be written."""
    with _changing(folder):
        path = folder / PRIVATE_NAME
        if path.exists():
            raise KeyProblem(
                f"{path} is there already, as key {_private_id(path)}; `millstream keys rotate` makes a new one"
            )
        make_pair(folder, path)
        return key_id_of(read_private(path).public_key())


def prepare(folder: Path) -> str:
    """Create the key for the next rotation, trusted from now on, and return its id.

    If one is already prepared, return its id.
    """
    with _changing(folder):
        _insist_on_private(folder)
        path = folder / NEXT_NAME
        if not path.exists():
            make_pair(folder, path)
        return key_id_of(read_private(path).public_key())


def rotate(folder: Path) -> tuple[str, str]:
    """Make a new key the signing key, the prepared one or one created now; return the old and the new id.

    The old private key is deleted; the old public key stays trusted.
    """
    with _changing(folder):
        old = _insist_on_private(folder)
        path, ready = folder / PRIVATE_NAME, folder / NEXT_NAME
        new = read_private(ready) if ready.exists() else Ed25519PrivateKey.generate()
        new_id = key_id_of(new.public_key())
        if new_id in public_keys(folder).revoked:
            raise KeyProblem(f"{ready} is key {new_id}, which is revoked: remove it to have a new one made")
        write_public(folder, new.public_key())
        write_new(path, private_pem(new), 0o600, over=True)
        ready.unlink(missing_ok=True)
        return old, new_id


def revoke(folder: Path, key_id: str, revocation: Revocation) -> None:
    """Revoke a key for every later reader of this folder; a second call changes nothing.

    Raises
    ------
    KeyProblem
        If there is no such key, or it is the signing key here.
    """
    revocable(folder, key_id)
    with _changing(folder):
        path = folder / TRUSTED / f"{key_id}{REVOKED}"
        if not path.exists():
            write_new(path, msgspec.json.encode(revocation) + b"\n", 0o644)
        if _private_id(folder / NEXT_NAME) == key_id:
            (folder / NEXT_NAME).unlink()


def revocable(folder: Path, key_id: str) -> None:
    """Raise KeyProblem unless the key can be revoked, as in `revoke`."""
    public = public_keys(folder)
    if check_key_id(key_id) not in public.keys and key_id not in public.revoked:
        raise KeyProblem(
            f"there is no key {key_id} under {folder / TRUSTED}: `millstream keys list` shows those there are"
        )
    if _private_id(folder / PRIVATE_NAME) == key_id:
        raise KeyProblem(
            f"key {key_id} signs here, and its next versions could not be loaded: run `millstream keys rotate` first"
        )


def _insist_on_private(folder: Path) -> str:
    key_id = _private_id(folder / PRIVATE_NAME)
    if key_id is None:
        raise KeyProblem(
            f"there is no {folder / PRIVATE_NAME}: rotate where the learner runs, or make a pair with "
            "`millstream keys init`"
        )
    return key_id


def _private_id(path: Path) -> str | None:
    try:
        return key_id_of(read_private(path).public_key())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read: {error.strerror}") from error


def _since(folder: Path, key_id: str) -> int:
    for ending in (PUBLIC, REVOKED):
        try:
            return (folder / TRUSTED / f"{key_id}{ending}").stat().st_mtime_ns // 1_000_000
        except OSError:
            continue  # a user may have given the public key's file another name
    return 0


def _revocation(folder: Path, key_id: str) -> Revocation:
    try:
        return _read_revocation((folder / TRUSTED / f"{key_id}{REVOKED}").read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Revocation()  # the file's existence is enough


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Allow one change at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
            _sync(folder)
    except OSError as error:
        raise KeyProblem(f"the keys in {folder} cannot be changed: {error.strerror or error}") from error


def _sync(folder: Path) -> None:
    for each in (folder / TRUSTED, folder):
        handle = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
