"""Text of a token: how it is made, taken apart and hashed."""

from __future__ import annotations

import secrets
import string
from hashlib import sha256
from typing import Final

BEGIN: Final = "ms_"
"""First letters of every token, so that programs which look for leaked secrets can find one."""
_ID_DIGITS: Final = 12
_SECRET_LETTERS: Final = 43
"""43 letters of 62 are 256 random bits; so a plain hash, without salt and rounds, cannot be reversed by guessing."""
_LETTERS: Final = string.ascii_letters + string.digits
_ID_END: Final = len(BEGIN) + _ID_DIGITS


def new_token() -> str:
    """Return a new token: ``ms_``, 12 hex digits that are its id, ``_``, and 43 random letters and digits."""
    secret = "".join(secrets.choice(_LETTERS) for _ in range(_SECRET_LETTERS))
    return f"{BEGIN}{secrets.token_hex(_ID_DIGITS // 2)}_{secret}"


def id_of(token: str) -> str:
    """Return the id in a token, which is no secret; of any other text, some part of it.

    >>> id_of("ms_0123456789ab_secret")
    '0123456789ab'
    """
    return token[len(BEGIN) : _ID_END]


def hash_of(token: str) -> bytes:
    """Return the SHA-256 of a whole token."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
