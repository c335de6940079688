"""Dead letters: records that a role could not take, with the reason."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas import codec

PRIVATE: Final = "millstream-private"
"""Header of a dead letter whose record may have values of private features: whoever shows it shows no value."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that could not be used, unchanged, with its topic, partition and offset and the reason."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    stage: str
    code: str
    reason: str
    at: int

    def encode(self) -> bytes:
        fields = msgspec.structs.asdict(self)
        fields["headers"] = [{"name": name, "value": value} for name, value in self.headers]
        return codec.DEAD_LETTER.encode(fields)


def read_dead_letter(data: bytes) -> DeadLetter:
    """Read a DeadLetter. Raises CodecError if it is not one."""
    fields = codec.DEAD_LETTER.decode(data)
    fields["headers"] = [(header["name"], header["value"]) for header in fields["headers"]]
    return DeadLetter(**fields)
