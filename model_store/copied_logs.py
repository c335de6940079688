"""Signed records that one topic is a copy of another, with the same records at the same offsets.

A version names its log by the topic id, which differs in another cluster. With this record, versions that learned from
the original are accepted for the copy.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Final

import msgspec

from model_store.backends import Backend
from model_store.errors import (
    AlreadyExists,
    BadSignature,
    Damaged,
    InvalidObjectName,
    NotFound,
    RevokedKey,
    VersionRefused,
)
from model_store.manifest import seal, unseal
from model_store.signing import Signer, Trust

_MOST_BYTES: Final = 1 << 20
_MOST_COPIES: Final = 100  # in a chain of copies of copies
_DOMAIN: Final = b"millstream log copy v1\n"


class LogCopy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topic `copy` holds the records of `original`, at the same offsets, from `begin` up to `end`. Both are ids."""

    model: str
    copy: str
    original: str
    begin: Annotated[int, msgspec.Meta(ge=0)]
    end: Annotated[int, msgspec.Meta(ge=0)]
    made_at_ms: int


_decode: Final = msgspec.json.Decoder(LogCopy).decode


class LogCopies:
    """The records of copied logs in a store: ``<model>/logs/<topic id>.json``, signed like a version's file."""

    def __init__(self, backend: Backend, trust: Trust) -> None:
        self._backend = backend
        self._trust = trust

    def note(self, copy: LogCopy, signer: Signer) -> None:
        """Write the record of a copy; an existing record of the topic stays, unless its key was revoked."""
        body = msgspec.json.encode(copy, order="sorted")
        sealed = seal(body, signer.key_id, signer.sign(_signed_bytes(body, signer.key_id)))
        name = _place(copy.model, copy.copy)
        with contextlib.suppress(AlreadyExists):
            self._backend.put_new(name, sealed)
            return
        if self._is_revoked(name):
            self._backend.delete(name)
            self._backend.put_new(name, sealed)

    def _is_revoked(self, name: str) -> bool:
        """Return whether the existing record was signed by a key that was revoked later."""
        try:
            self._body(name)
        except RevokedKey:
            return True
        except (VersionRefused, NotFound):
            return False  # reading it raises the error
        return False

    def _body(self, name: str) -> bytes:
        """Return the record's body. Raises NotFound, InvalidObjectName, VersionRefused."""
        body, key_id, signature = unseal(self._backend.get(name, _MOST_BYTES))
        self._trust.verify(key_id, signature, _signed_bytes(body, key_id))
        return body

    def get(self, model: str, topic_id: str) -> LogCopy | None:
        """Return the record of a copy; `None` if there is none or its key was revoked. Raises VersionRefused."""
        try:
            copy = _read(self._body(_place(model, topic_id)))
        except (NotFound, InvalidObjectName, RevokedKey):
            return None
        if (copy.model, copy.copy) != (model, topic_id):
            raise BadSignature(f"the record of log {topic_id} was signed for another log")
        return copy

    def has(self, model: str, topic_id: str, original: str, offset: int) -> bool:
        """Return whether a topic holds the records of `original` before `offset`, as a direct or indirect copy.

        Raises VersionRefused.
        """
        for _ in range(_MOST_COPIES):
            if topic_id == original:
                return True
            copy = self.get(model, topic_id)
            if copy is None or offset > copy.end:
                return False
            topic_id = copy.original
        return False


def _place(model: str, topic_id: str) -> str:
    return f"{model}/logs/{topic_id}.json"


def _signed_bytes(body: bytes, key_id: str) -> bytes:
    """Return the signed bytes; they begin with their own domain, so that a manifest's signature is not valid here."""
    return _DOMAIN + key_id.encode() + b"\n" + body


def _read(body: bytes) -> LogCopy:
    try:
        found = _decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Damaged(f"not the record of a log's copy: {error}") from error
    if msgspec.json.encode(found, order="sorted") != body:
        raise Damaged("the record of a log's copy is not in canonical form")
    return found
