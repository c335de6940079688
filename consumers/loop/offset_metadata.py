"""The text beside a committed offset, as one struct a role: who writes it and who reads it use the same one.

It is JSON. In a rolling upgrade older and newer processes are in one group, and each reads what the other has written:
a field that is not known is passed over, and one that is missing has its default. So a field may be added, with a
default; none may change its name or its type.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self, TypeVar, cast

import msgspec

from runtime.exits import RoleRefused
from runtime.kafka_client import size_limits


class MetadataTooLong(RoleRefused):
    """The text beside an offset is longer than Kafka takes: every commit of the role would fail."""


M = TypeVar("M")
_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


def decodable(kind: type[M]) -> type[M]:
    """Make the decoder of a class while its module is imported.

    msgspec 0.22 learns a type at its first use, and crashes when two threads do so at once.
    """
    _DECODERS[kind] = msgspec.json.Decoder(kind)
    return kind


@decodable
class OffsetMetadata(msgspec.Struct):
    """Base of what a role writes; by itself, what a role writes that has nothing to say."""

    role: ClassVar[str] = ""
    """Whose it is, by `consumers.roles`."""
    counted: ClassVar[bool] = False
    """Whether `done` says how much the role has done; else its offsets do."""

    def done(self) -> int:
        """Return how much the role has done in the partition, or in all of them."""
        return 0

    def but_for_clocks(self) -> OffsetMetadata:
        """Return what is equal while nothing happens but that time passes."""
        return self

    def encode(self) -> str:
        """Return the text. MetadataTooLong where Kafka would not take it."""
        text = msgspec.json.encode(self).decode()
        if len(text) > size_limits.OFFSET_METADATA:
            raise MetadataTooLong(
                f"what the {self.role} writes beside its offset has {len(text)} characters, and Kafka takes "
                f"{size_limits.OFFSET_METADATA}; this is a defect in Millstream; please report it"
            )
        return text

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """Return what a text says; `None` where it is none of this role's, as of a tool that has moved the offset."""
        try:
            return cast(Self, _DECODERS[cls].decode(text))
        except msgspec.DecodeError:
            return None
