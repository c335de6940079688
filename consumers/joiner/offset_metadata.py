"""State of one partition's join as stored with the committed offsets and in the local store."""

from __future__ import annotations

from typing import ClassVar, Final, Self

import msgspec

from consumers.joiner.join_state import JoinState
from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import JOINER

KINDS: Final = (b"e", b"l", b"p", b"w")
"""Key prefixes of a partition's entries, in their order; the partition number follows in two bytes."""


class JoinMetadata(OffsetMetadata):
    """The metadata of the committed offsets of a joiner or a judge.

    `waiting` and `clock` are pairs: of predictions, of labels. `oldest` is the time of the oldest prediction whose wait
    has not ended; 0 if none waits. `ids` stands for the ids of both topics together, `each` for those of each topic.
    `begin` holds the offsets at which the lane begins; earlier records do not belong to it. `spread` is the number of
    partitions that event ids are spread over; 0 in metadata older than this field.
    """

    counted: ClassVar[bool] = True

    seq: int
    epoch: str
    ids: str
    counts: dict[str, int]
    waiting: tuple[int, int] = (0, 0)
    clock: tuple[int, int] = (0, 0)
    examined: int = 0
    oldest: int = 0
    each: tuple[str, str] = ("", "")
    begin: tuple[int, int] = (0, 0)
    spread: int = 0

    def done(self) -> int:
        """Return how many examples or comparisons were written."""
        return self.seq

    def but_for_clocks(self) -> Self:
        """Return it without the clocks: ticks move them for as long as an event waits for its label."""
        return msgspec.structs.replace(self, clock=(0, 0))


@decodable
class JoinerMetadata(JoinMetadata):
    """The metadata of a joiner's committed offsets; a judge writes and reads the same."""

    role: ClassVar[str] = JOINER


class LocalPlace(msgspec.Struct):
    """The local store's own record of one partition. `offsets` is a pair: of predictions, of labels."""

    group: str
    epoch: str
    offsets: tuple[int, int]
    state: JoinState
    place: JoinerMetadata


read_local: Final = msgspec.msgpack.Decoder(LocalPlace).decode


def meta_key(number: int) -> bytes:
    """Return the local store's key of a partition's `LocalPlace`."""
    return b"o" + number.to_bytes(2, "big")
