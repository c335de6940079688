"""Metadata of committed offsets: one struct for each role, used by its writer and all readers.

It is JSON. During a rolling upgrade, older and newer processes are in one group and read each other's metadata: a
reader ignores unknown fields and uses the default for missing ones. So a new field needs a default, and no field may
change its name or its type.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self, TypeVar, cast

import msgspec

from runtime.exits import RoleRefused
from runtime.kafka_client import size_limits


class MetadataTooLong(RoleRefused):
    """The metadata of an offset is longer than Kafka accepts: every commit of the role would fail."""


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
    """Base class of the metadata; used itself by a role that has no fields."""

    role: ClassVar[str] = ""
    """Name of the role in `consumers.roles`."""
    counted: ClassVar[bool] = False
    """True if `done` gives the role's amount of work; otherwise its offsets do."""
    by_topic: ClassVar[bool] = False
    """True if the metadata differs by topic; otherwise partitions of one number have the same."""

    def done(self) -> int:
        """Return the amount of work done in the partition, or in all partitions."""
        return 0

    def but_for_clocks(self) -> OffsetMetadata:
        """Return the metadata without the fields that change merely because time passes."""
        return self

    def encode(self) -> str:
        """Return the metadata as text. Raises MetadataTooLong if Kafka would not accept it."""
        text = msgspec.json.encode(self).decode()
        if len(text) > size_limits.OFFSET_METADATA:
            raise MetadataTooLong(
                f"what the {self.role} writes beside its offset has {len(text)} characters, and Kafka takes "
                f"{size_limits.OFFSET_METADATA}; this is a defect in Millstream; please report it"
            )
        return text

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """Return the metadata of a text; `None` if another program wrote it, such as a tool that moved the offset."""
        try:
            return cast(Self, _DECODERS[cls].decode(text))
        except msgspec.DecodeError:
            return None
