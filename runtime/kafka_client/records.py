"""Records as read, records to send, partitions and offsets, of Kafka or of a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias


class Record(Protocol):
    """One record as read. `timestamp` in ms, set by the broker or the sender, as the topic is configured."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class PlainRecord(NamedTuple):
    """A `Record` by its fields. Made once for each record that is read: a tuple costs a third of other objects."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Partition(NamedTuple):
    """One partition of a topic; equal to, and hashed like, kafka-python's TopicPartition."""

    topic: str
    partition: int


class Output(NamedTuple):
    """One record to send. `partition` is always explicit, so that the client never hashes keys.

    `timestamp` in ms; `None` is the current time.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int | None = None


Batch: TypeAlias = Mapping[Partition, Sequence[Record]]
Positions: TypeAlias = Mapping[Partition, int]


@dataclass(frozen=True)
class CommittedOffset:
    """A group's committed offset in a partition: the next offset to read, and the metadata committed with it."""

    offset: int
    metadata: str
