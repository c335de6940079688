"""Ids of events that were sent without one, and the keys under which answers are remembered."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Final

_TIME: Final = 12  # hexadecimal digits
_TIME_BYTES: Final = 6
_RANDOM: Final = 8  # bytes
_LENGTH: Final = _TIME + 2 * _RANDOM
KEY: Final = 16
"""Bytes of a key."""


def made_id(now_ms: int) -> str:
    """Return a new id: the time, and 64 random bits, in hexadecimal digits.

    >>> made_id(1_700_000_000_000)[:12], len(made_id(0))
    ('018bcfe56800', 28)
    """
    return made_ids(now_ms, 1)[0]


def made_ids(now_ms: int, number: int) -> list[str]:
    """Return several new ids with one system call for their random bytes: each call releases the GIL.

    >>> [len(each) for each in made_ids(0, 2)]
    [28, 28]
    """
    time, random = f"{now_ms:012x}", os.urandom(_RANDOM * number).hex()
    return [time + random[begin : begin + 2 * _RANDOM] for begin in range(0, 2 * _RANDOM * number, 2 * _RANDOM)]


def key_of(event_id: str) -> bytes:
    """Return the key of an event's answer, a hash of its id.

    That of an id made here begins with its time: keys of one time are then neighbours in the index, so that a commit
    of some hundred ids changes a few of its pages, and not one for each.

    >>> key_of(made_id(1_700_000_000_000)).hex()[:12], len(key_of("a"))
    ('018bcfe56800', 16)
    """
    text = b"event " + event_id.encode()
    if len(event_id) == _LENGTH:
        try:
            time = bytes.fromhex(event_id[:_TIME])
        except ValueError:
            time = b""
        if len(time) == _TIME_BYTES:
            return time + blake2b(text, digest_size=KEY - _TIME_BYTES).digest()
    return blake2b(text, digest_size=KEY).digest()
