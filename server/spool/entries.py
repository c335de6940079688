"""Entries of the spool: one answer or one label each, with the Kafka records that it gives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import Final

import msgspec

_HEAD: Final = Struct("<IIQ")
"""Length of the body, CRC-32 of sequence number and body, sequence number."""
HEAD_BYTES: Final = _HEAD.size
_SEQUENCE: Final = Struct("<Q")
_LOOKED_AHEAD: Final = 64  # entries that one torn write may have lost before an intact one


class SpooledRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record for Kafka. `kind` is the kind of its topic, see `schemas.topics.KINDS`, or `consumers.roles.WHOLE`."""

    kind: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Remembered(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a later request with the same id is compared with, and answered with.

    Attributes
    ----------
    key, digest
        Hashes of the id and of the request's content, 16 bytes each.
    final
        False for an error answer: a corrected request with the same id is answered anew.
    answer
        The answer as it was sent.
    """

    key: bytes
    digest: bytes
    final: bool
    answer: bytes


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One entry, without its sequence number: records that go onto Kafka together. `at_ms` is the wall clock."""

    at_ms: int
    records: tuple[SpooledRecord, ...]
    remembered: Remembered | None = None


class InvalidEntry(ValueError):  # noqa: N818
    """The bytes are no entry with the expected sequence number."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def encode(sequence: int, entry: Entry) -> bytes:
    """Return the bytes of an entry: length, CRC-32, sequence number, and the fields as MessagePack arrays."""
    body = _encode(entry)
    crc = zlib.crc32(body, zlib.crc32(_SEQUENCE.pack(sequence)))
    return _HEAD.pack(len(body), crc, sequence) + body


def read(data: bytes | memoryview, at: int, sequence: int) -> tuple[Entry, int] | None:
    """Return the entry at `at`, and its end; `None` if the data end before it does.

    Raises
    ------
    InvalidEntry
        If it has another sequence number, or the CRC is wrong.
    """
    if at + HEAD_BYTES > len(data):
        return None
    length, crc, found = _HEAD.unpack_from(data, at)
    begin, end = at + HEAD_BYTES, at + HEAD_BYTES + length
    if found != sequence:
        raise InvalidEntry(f"entry {sequence} was expected, and number {found} is there")
    if end > len(data):
        return None
    body = data[begin:end]
    if zlib.crc32(body, zlib.crc32(_SEQUENCE.pack(sequence))) != crc:
        raise InvalidEntry(f"the CRC of entry {sequence} is wrong")
    try:
        return _decode(body), end
    except msgspec.DecodeError as error:
        raise InvalidEntry(f"entry {sequence} is none of this version's: {error}") from error


def read_all(data: bytes | memoryview, at: int, sequence: int) -> Iterator[tuple[Entry, int]]:
    """Yield each complete entry from `at` on, and its end. Raises InvalidEntry."""
    while (found := read(data, at, sequence)) is not None:
        yield found
        at, sequence = found[1], sequence + 1


def is_torn(data: bytes, at: int, sequence: int) -> bool:
    """Return whether the rest of the last segment is an interrupted write: no intact entry follows."""
    for later in range(sequence, sequence + _LOOKED_AHEAD):
        wanted = _SEQUENCE.pack(later)
        place = data.find(wanted, at)
        while place >= 0:
            begin = place - HEAD_BYTES + _SEQUENCE.size
            try:
                if begin >= at and read(data, begin, later) is not None:
                    return False
            except InvalidEntry:
                pass
            place = data.find(wanted, place + 1)
    return True
