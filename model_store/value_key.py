"""Secret key of the hashes that stand for the values of private features.

All monitors of a stream need the same one: hashes of two keys cannot be compared. It is in the environment, or in the
file ``private-values.key`` beside the signing key; both hold 64 hexadecimal digits, 256 random bits.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from model_store.signing import KeyProblem, write_new

VARIABLE: Final = "MILLSTREAM_PRIVATE_VALUES_KEY"
FILE: Final = "private-values.key"
_BYTES: Final = 32
_TEXT: Final = re.compile(rf"[0-9a-fA-F]{{{2 * _BYTES}}}")


def make_value_key(folder: Path) -> bool:
    """Create the key's file, unless there is one; return whether it was created. Raises KeyProblem."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_new(path, f"{secrets.token_hex(_BYTES)}\n".encode(), 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyProblem(f"{path} cannot be made here: {error.strerror}") from error
    return True


def value_key(folder: Path, stream: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """Return the key of a stream's hashes, empty if there is no secret: then there can be no hashes.

    Each stream has its own, made of the secret and its name: so nobody can tell that two streams have the same value.

    Raises
    ------
    KeyProblem
        If the secret is no key, or its file can be read by others; the message does not show it.
    """
    path = folder / FILE
    text, place = environ.get(VARIABLE, ""), VARIABLE
    if not text:
        if not path.exists():
            return b""
        text, place = _read(path), str(path)
    if _TEXT.fullmatch(text.strip()) is None:
        raise KeyProblem(f"{place} is no key: it must be {2 * _BYTES} hexadecimal digits, as of `openssl rand -hex 32`")
    secret = bytes.fromhex(text.strip())
    return hashlib.blake2b(stream.encode(), key=secret, digest_size=_BYTES).digest()


def _read(path: Path) -> str:
    """Return the content of the file. A file of root may be readable by its group, as of `read_private`."""
    try:
        found = path.stat()
        mounted = found.st_uid == 0 and os.geteuid() != 0
        if found.st_mode & (0o037 if mounted else 0o077):
            raise KeyProblem(f"{path} can be read by others: chmod 600 {path}")
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read: {error.strerror}") from error
