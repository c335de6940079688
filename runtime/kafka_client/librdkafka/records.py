"""A record that librdkafka has read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class ReadRecord(NamedTuple):
    """A `Record`. Made once for each record of the hot path: a tuple costs a third of an object with properties."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
