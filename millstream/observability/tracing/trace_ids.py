"""Trace ids derived from the event's id alone, so that no stage has to pass them on to the next.

The same event has the same ids in every process, and a record that is read again gives the same spans.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, NamedTuple

from schemas.codec import HEADER_BYTES

_LARGEST: Final = 1 << 64
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST: Final = 256


class Ids(NamedTuple):
    """The ids of one event's trace and of its spans."""

    trace: int
    predict: int
    join: int
    learn: int


class Sampler:
    """Chooses the events to trace; every process with the same ratio chooses the same ones.

    Parameters
    ----------
    stream
        The stream's name with its prefix, because another stream may use the same event ids.
    ratio
        From 0 to 1.

    >>> Sampler("fraud", 1.0).ids(b"e2") == Sampler("fraud", 0.5).ids(b"e2") != None
    True
    >>> sum(Sampler("fraud", 0.25).ids(b"e%d" % number) is not None for number in range(4000))
    999
    """

    def __init__(self, stream: str, ratio: float) -> None:
        self._seed = sha256(f"{stream}\0".encode())
        self._bound = int(ratio * _LARGEST)

    def ids(self, event_id: bytes) -> Ids | None:
        """Return the ids of an event's trace, `None` if it is not traced."""
        hashed = self._seed.copy()
        hashed.update(event_id)
        digest = hashed.digest()
        # OpenTelemetry's own ratio sampler decides in the same way, by the lower half of the trace id.
        if int.from_bytes(digest[8:16]) >= self._bound:
            return None
        more = digest[16:] + sha256(digest).digest()[:8]
        predict, join, learn = (int.from_bytes(more[start : start + 8]) or 1 for start in (0, 8, 16))
        return Ids(int.from_bytes(digest[:16]) or 1, predict, join, learn)


def id_of(value: bytes) -> bytes:
    """Return the event id of a prediction or example of Millstream, its first field; empty if it has none.

    For any other record the id and its trace are meaningless, without further consequences.
    """
    length, shift, place = 0, 0, HEADER_BYTES
    while place < len(value):
        byte = value[place]
        length |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            break
        shift += 7
    return value[place : place + (length >> 1)]


def traceparent(headers: object) -> tuple[int, int, int] | None:
    """Return trace, span and flags of a record's W3C `traceparent` header, `None` without a valid one.

    >>> traceparent([("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")])[2]
    1
    """
    if not isinstance(headers, (list, tuple)):
        return None
    for name, value in headers:
        if name.lower() == "traceparent" and value is not None and len(value) <= _LONGEST:
            found = _TRACEPARENT.fullmatch(value)
            if found and not value.startswith((b"ff",)):
                trace, span = int(found[1], 16), int(found[2], 16)
                return (trace, span, int(found[3], 16)) if trace and span else None
    return None
