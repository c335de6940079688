"""That one topic is a copy of another, record for record at the same offsets: said and signed by who made the copy.

Versions name the log they learned from by its topic id, which is another in another cluster. With this said, what
was learned from the one is known to be learned from the other.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from model_store.errors import Damaged

_DOMAIN: Final = b"millstream log copy v1\n"


class LogCopy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topic `copy` has what `original` had, at the same offsets, from `begin` up to `end`. Ids, not names."""

    model: str
    copy: str
    original: str
    begin: Annotated[int, msgspec.Meta(ge=0)]
    end: Annotated[int, msgspec.Meta(ge=0)]
    made_at_ms: int


def copy_bytes(copy: LogCopy) -> bytes:
    """Return the canonical JSON."""
    return msgspec.json.encode(copy, order="sorted")


def copy_signed_bytes(body: bytes, key_id: str) -> bytes:
    """Return what a signature is over: a domain of its own, so that no manifest can pass for this."""
    return _DOMAIN + key_id.encode() + b"\n" + body


def read_copy(body: bytes) -> LogCopy:
    """Read the canonical JSON, after its signature has been checked. Damaged."""
    try:
        found = msgspec.json.decode(body, type=LogCopy)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Damaged(f"not the record of a log's copy: {error}") from error
    if copy_bytes(found) != body:
        raise Damaged("the record of a log's copy is not in canonical form")
    return found
