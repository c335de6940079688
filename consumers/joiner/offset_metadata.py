"""What a joiner writes down of where one partition's join stands: beside the offsets, and in its local store."""

from __future__ import annotations

from typing import ClassVar, Final, Self

import msgspec

from consumers.joiner.join_state import JoinState
from consumers.loop.offset_metadata import OffsetMetadata
from consumers.roles import JOINER

KINDS: Final = (b"e", b"l", b"p", b"w")
"""What the keys of a partition's entries begin with, in their order; its number follows in two bytes."""


class JoinerMetadata(OffsetMetadata):
    """What rides in the offsets' metadata. `waiting` and `clock`: predictions, labels.

    `oldest` is the time of the oldest prediction whose wait has not been ended; 0 where none waits. `ids` stands for
    the ids of both topics, `each` for either's. `begin`: where the lane begins; what stands before is none of its own.
    `spread`: over so many partitions the stream's event ids are spread; 0 in what was written before that was noted.
    """

    role: ClassVar[str] = JOINER
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
        """Return how many examples were written."""
        return self.seq

    def but_for_clocks(self) -> Self:
        """Return it without the clocks: ticks move them for as long as an event waits for its label."""
        return msgspec.structs.replace(self, clock=(0, 0))


class LocalPlace(msgspec.Struct):
    """What the local store says of itself, for one partition. `offsets`: of predictions, of labels."""

    group: str
    epoch: str
    offsets: tuple[int, int]
    state: JoinState
    place: JoinerMetadata


read_local: Final = msgspec.msgpack.Decoder(LocalPlace).decode


def meta_key(number: int) -> bytes:
    """Return where the local store has a partition's `LocalPlace`."""
    return b"o" + number.to_bytes(2, "big")
