"""Interface of a Kafka client library; its errors are in `errors.py`.

All code outside this package uses only these types, so another library needs an implementation and no other change.
`kafka_python/` and `librdkafka/` implement it. Names are Kafka's own; the interface has only what is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions

LOGGER: Final = "kafka"
"""Name of the logger that the client library writes to."""

# --- values ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupMetadata:
    """A consumer's membership at one moment, for the producer that commits its offsets.

    Attributes
    ----------
    generation_id
        -1 if the consumer is not a member.
    stable
        The group has agreed on an assignment, and this member has its partitions.
    handle
        The client's own object, which fences; `None` if the committer is not a member.
    """

    group_id: str
    generation_id: int = -1
    stable: bool = False
    handle: object = field(default=None, compare=False)


@dataclass(frozen=True)
class TopicDescription:
    """A topic as the cluster describes it.

    Attributes
    ----------
    id
        A different id means a different topic, even under the same name.
    leaders
        By partition, the id of the broker that leads it; -1 if there is no leader.
    error
        Reason why nothing more is known; `None` if the topic exists.
    """

    name: str
    id: str
    leaders: Mapping[int, int]
    error: KafkaError | None = None

    @property
    def exists(self) -> bool:
        """True if the topic exists and the user may see it."""
        return self.error is None


@dataclass(frozen=True)
class NewTopic:
    """A topic to create; the cluster's default sets the number of replicas."""

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class GroupMember:
    """A member of a group.

    Attributes
    ----------
    instance_id
        `None` unless the member is static.
    member_id
        Given by the coordinator each time that a process joins.
    host
        The address that it came from, as the broker saw it.
    client
        Name and version of its client library, such as ``librdkafka 2.16.1``; empty if it did not tell, as in releases
        with one library, or while the group rebalances.
    """

    instance_id: str | None
    assigned: frozenset[Partition]
    member_id: str = ""
    host: str = ""
    client: str = ""


@dataclass(frozen=True)
class GroupDescription:
    """A group as its coordinator describes it.

    Attributes
    ----------
    stable
        Its members have agreed on an assignment.
    error
        Reason why nothing more is known; `None` if the group exists.
    """

    stable: bool
    members: Sequence[GroupMember]
    error: KafkaError | None = None


# --- consumers -------------------------------------------------------------------------------------


class Consumer(Protocol):
    """Reads the partitions that the caller assigns. Times in ms; `None` is the client's own limit."""

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions, and no others."""

    def assignment(self) -> set[Partition]:
        """Return the assigned partitions."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue reading at an offset."""

    def seek_to_beginning(self, partitions: Iterable[Partition]) -> None:
        """Continue reading at the first offset of the log."""

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        """Return the next records, as the client made them; empty if none arrived in time.

        Raises
        ------
        NoOffsetError, OffsetOutOfRangeError, LogTruncatedError
            If reading cannot continue at its offset.
        """

    def position(self, partition: Partition) -> int:
        """Return the next offset to read. Raises KafkaTimeoutError if it is not known in time."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop reading these partitions until they are resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Continue to read these partitions, at their current position."""

    def paused(self) -> set[Partition]:
        """Return the partitions that are paused."""

    def beginning_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        """Return the first offset of each partition."""

    def end_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        """Return the offset after the last readable record of each partition."""

    def offsets_for_times(
        self, times: Mapping[Partition, int], timeout_ms: int | None = None
    ) -> dict[Partition, int | None]:
        """Return each partition's first offset at or after a time (ms since 1970); `None` if there is none."""

    def topics(self) -> set[str]:
        """Ask the cluster for the names of all topics that the user may see."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic that the client knows; empty if it knows none."""

    def close(self, timeout_ms: int | None = None) -> None:
        """Close the connections; commits nothing."""


class GroupConsumer(Consumer, Protocol):
    """Reads as a member of a group. Its offsets are committed by a transactional producer, never by itself."""

    def subscribe(self, topics: Iterable[str], on_rebalance: Callable[[], object]) -> None:
        """Join the group to read some partitions of these topics.

        The client calls `on_rebalance` whenever the assignment changes. It must be quick: heartbeats wait for it.
        """

    def group_metadata(self) -> GroupMetadata:
        """Return the current membership."""

    def committed(self, partition: Partition, timeout_ms: int | None = None) -> CommittedOffset | None:
        """Return the group's committed offset in a partition, `None` if it never committed.

        Raises
        ------
        KafkaTimeoutError
            If the coordinator has not answered in time, or an open transaction holds the offset back.
        """

    def position_within(self, partition: Partition, timeout_ms: int) -> int | None:
        """Return the next offset to read; `None` if it is not known in time."""

    def wait_for_bytes(self, least: int, timeout_ms: int) -> None:
        """Make the broker wait for `least` bytes, or `timeout_ms`, before it answers fetches sent from now on."""

    def highwater(self, partition: Partition) -> int | None:
        """Return the end of a partition according to the last fetch; `None` if there was none."""

    def waiting(self) -> set[Partition]:
        """Return the partitions with fetched records that the client has not begun to return."""

    def topic_ids(self, topics: Iterable[str]) -> dict[str, object | None]:
        """Return the topics' ids that the client knows, without a request. Use them only for comparison."""

    def wait_for_partitions(self, counts: Mapping[str, int], seconds: float) -> bool:
        """Wait until the subscribed client knows `counts` partitions of each topic; return whether it does."""

    def made_assignment(self) -> bool:
        """Return whether this process made the group's assignment, and so makes another when topics grow."""

    def request_rejoin(self) -> None:
        """Join the group again at the next poll."""


# --- producers -------------------------------------------------------------------------------------


class Acknowledged(Protocol):
    """The broker's acknowledgement of a record."""

    @property
    def offset(self) -> int:
        """Offset of the record."""


class Delivery(Protocol):
    """Delivery of one record that was sent."""

    @property
    def is_done(self) -> bool:
        """True if the outcome is known."""

    @property
    def exception(self) -> BaseException | None:
        """Reason why it was not delivered; `None` if it was delivered or the outcome is not known yet."""

    def get(self, timeout: float | None = None) -> Acknowledged:
        """Wait up to `timeout` seconds for the delivery. Raises KafkaError if it fails."""


class Producer(Protocol):
    """Sends records, each to an explicit partition. Times in seconds."""

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Add a record to the next batch.

        Raises
        ------
        ValueError
            If the topic has no such partition.
        """

    def send_all(self, outputs: Sequence[Output], timeout: float) -> None:
        """Send records and wait up to `timeout` seconds until all are acknowledged.

        Raises KafkaError if one is not. In a transaction, a client may leave that to `commit_transaction`.
        """

    def send_for_offsets(self, outputs: Sequence[Output], timeout: float) -> list[int]:
        """Send records as `send_all`, and return the offset of each."""

    def flush(self, timeout: float | None = None) -> None:
        """Send all records and wait for their outcome."""

    def close(self, timeout: float | None = None) -> None:
        """Send all records and close the connections."""

    def abandon(self, timeout: float) -> None:
        """Discard the producer and the records it still holds. Returns immediately and raises nothing.

        `timeout` limits how long its sender may take to end, in a separate thread.
        """


class TransactionalProducer(Producer, Protocol):
    """Sends records and commits offsets, together or not at all. Any call can block: set a deadline."""

    def init_transactions(self) -> None:
        """Fence earlier producers with the transactional id, and abort their open transaction."""

    def begin_transaction(self) -> None: ...

    def send_offsets_to_transaction(self, offsets: Mapping[Partition, CommittedOffset], group: GroupMetadata) -> None:
        """Commit these offsets of a group with the transaction."""

    def commit_transaction(self) -> None: ...

    def abort_transaction(self) -> None: ...


# --- administration --------------------------------------------------------------------------------


class Admin(Protocol):
    """Inspects and changes topics and groups."""

    def describe_topics(self, topics: Iterable[str]) -> list[TopicDescription]:
        """Return one description for each topic, also for topics that do not exist."""

    def create_topics(self, topics: Iterable[NewTopic], timeout_ms: int) -> dict[str, KafkaError | None]:
        """Create topics; return by name the error, `None` for each topic that was created."""

    def delete_topics(self, topics: Iterable[str]) -> None: ...

    def create_partitions(self, topic: str, count: int) -> None:
        """Increase a topic's number of partitions to `count`."""

    def delete_records(self, before: Positions) -> None:
        """Delete the records before these offsets."""

    def topic_configs(self, topics: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return these settings of each topic, including the cluster's defaults."""

    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        """Change one setting and keep the others."""

    def describe_group(self, group: str) -> GroupDescription:
        """Return a group; one that does not exist has no members, and an `error`."""

    def list_group_offsets(self, group: str) -> dict[Partition, CommittedOffset]:
        """Return a group's committed offset of each partition."""

    def remove_group_members(self, group: str, instance_ids: Iterable[str]) -> dict[str, KafkaError | None]:
        """Remove static members from a group, so that their partitions go to other members.

        Returns the error by instance, `None` for each member that was removed.
        """

    def delete_group(self, group: str) -> bool:
        """Delete a group and return whether it was deleted; a group with members stays."""

    def close(self) -> None: ...


# --- a library -------------------------------------------------------------------------------------


class Library(Protocol):
    """A client library, which makes clients.

    `options` are set by the user, each for the clients that know it; `settings` are set by the calling code. Both use
    the names of kafka-python, which are Kafka's with underscores. Raises KafkaError if no broker is usable.
    """

    @property
    def name(self) -> str:
        """Name of the library in the settings, one of `library_names.LibraryName`."""

    def consumer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Consumer:
        """Return a consumer that reads only committed records, never commits and never resets its offset.

        It is a `GroupConsumer` if `settings` has a `group_id`.
        """

    def producer(
        self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> TransactionalProducer:
        """Return a producer that creates no topics."""

    def admin(self, bootstrap: str, options: Mapping[str, Any]) -> Admin:
        """Return an admin client."""
