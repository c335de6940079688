"""The interface of a Kafka client library, in types of our own; its errors are in `errors.py`.

All code but this package works with these alone, so that another library needs an implementation and nothing else.
`kafka_python/` is the one that there is. Names are Kafka's own; only what is used is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import Batch, CommittedOffset, Partition, Positions

LOGGER: Final = "kafka"
"""Name of the logger that the client library writes to."""

# --- values ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupMetadata:
    """A consumer's membership as it was at one moment, for the producer that commits its offsets.

    Attributes
    ----------
    generation_id
        -1 where the consumer is no member.
    stable
        The group has agreed on an assignment, and this member has its part.
    handle
        The client's own form of it, which fences; `None` where no member commits.
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
        Another id is another topic, whatever its name.
    leaders
        By partition, the id of the broker that leads it; -1 where none does.
    error
        Why nothing more is known; `None` where the topic exists.
    """

    name: str
    id: str
    leaders: Mapping[int, int]
    error: KafkaError | None = None

    @property
    def exists(self) -> bool:
        """The topic is there, and the user may see it."""
        return self.error is None


@dataclass(frozen=True)
class NewTopic:
    """A topic to create; how many copies it has is up to the cluster."""

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class GroupMember:
    """A member of a group.

    Attributes
    ----------
    instance_id
        `None` where it is no static member.
    member_id
        Given by the coordinator each time that a process joins.
    host
        The address that it came from, as the broker saw it.
    """

    instance_id: str | None
    assigned: frozenset[Partition]
    member_id: str = ""
    host: str = ""


@dataclass(frozen=True)
class GroupDescription:
    """A group as its coordinator describes it.

    Attributes
    ----------
    stable
        Its members have agreed on an assignment.
    error
        Why nothing more is known; `None` where the group is there.
    """

    stable: bool
    members: Sequence[GroupMember]
    error: KafkaError | None = None


# --- consumers -------------------------------------------------------------------------------------


class Consumer(Protocol):
    """Reads ranges of partitions that it is told. Times in ms; `None` is the client's own limit."""

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions, and no others."""

    def assignment(self) -> set[Partition]:
        """Return the partitions that are read."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from an offset."""

    def seek_to_beginning(self, partitions: Iterable[Partition]) -> None:
        """Read on from the first offset that is there."""

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        """Return the next records, as the client made them; empty where none came in time.

        Raises
        ------
        NoOffsetError, OffsetOutOfRangeError, LogTruncatedError
            Where reading cannot go on at its offset.
        """

    def position(self, partition: Partition) -> int:
        """Return the next offset to read. KafkaTimeoutError where it is not known in time."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Read no more of these until they are resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Read these again, from where reading stands."""

    def paused(self) -> set[Partition]:
        """Return the partitions that are paused."""

    def beginning_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        """Return the first offset that is there, of each."""

    def end_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        """Return the offset after the last record that may be read, of each."""

    def offsets_for_times(
        self, times: Mapping[Partition, int], timeout_ms: int | None = None
    ) -> dict[Partition, int | None]:
        """Return the first offset at or after a time (ms since 1970), of each; `None` where there is none."""

    def topics(self) -> set[str]:
        """Ask the cluster for the names of all topics that the user may see."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic as the client last heard of them; empty where it did not."""

    def close(self, timeout_ms: int | None = None) -> None:
        """Let go of the connections; nothing is committed."""


class GroupConsumer(Consumer, Protocol):
    """Reads as a member of a group. A member commits through a transactional producer, never by itself."""

    def subscribe(self, topics: Iterable[str], on_rebalance: Callable[[], object]) -> None:
        """Join the group to read a part of these topics.

        `on_rebalance` is called whenever the assignment changes. It must be quick: heartbeats wait for it.
        """

    def group_metadata(self) -> GroupMetadata:
        """Return the membership as it is now."""

    def committed(self, partition: Partition, timeout_ms: int | None = None) -> CommittedOffset | None:
        """Return where the group stands in a partition, `None` where it never committed.

        Raises
        ------
        KafkaTimeoutError
            Where the coordinator has not said so in time, or a transaction holds it back.
        """

    def position_within(self, partition: Partition, timeout_ms: int) -> int | None:
        """Return the next offset to read; `None` where it is not known in time."""

    def wait_for_bytes(self, least: int, timeout_ms: int) -> None:
        """Have the broker wait for so many bytes, for so long, before it answers fetches that are yet to be sent."""

    def highwater(self, partition: Partition) -> int | None:
        """Return the end of a partition as the last fetch told it; `None` where none did."""

    def waiting(self) -> set[Partition]:
        """Return the partitions of which the client has records in hand that it has not begun to hand out."""

    def topic_ids(self, topics: Iterable[str]) -> dict[str, object | None]:
        """Return the topics' ids as the client last heard of them; only good to be compared. Asks nobody."""

    def wait_for_partitions(self, counts: Mapping[str, int], seconds: float) -> bool:
        """Wait until the client, subscribed, could share out so many partitions of each topic; tell whether it can."""

    def made_assignment(self) -> bool:
        """Tell whether this process has made the group's assignment, and makes another when topics grow."""

    def request_rejoin(self) -> None:
        """Join the group again at the next poll."""


# --- producers -------------------------------------------------------------------------------------


class Acknowledged(Protocol):
    """What the broker said of a record that it took."""

    @property
    def offset(self) -> int:
        """Where the record stands."""


class Delivery(Protocol):
    """What becomes of one record that was sent."""

    @property
    def is_done(self) -> bool:
        """It is known what became of it."""

    @property
    def exception(self) -> BaseException | None:
        """Why it was not delivered; `None` where it was, or that is not known yet."""

    def get(self, timeout: float | None = None) -> Acknowledged:
        """Wait up to `timeout` seconds for it to be delivered. KafkaError where it was not."""


class Producer(Protocol):
    """Sends records, each to a partition that is named. Times in seconds."""

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Put a record into the next batch.

        Raises
        ------
        ValueError
            Where the topic has no such partition.
        """

    def flush(self, timeout: float | None = None) -> None:
        """Send all that was put in, and wait for what becomes of it."""

    def close(self, timeout: float | None = None) -> None:
        """Send what was put in, and let go of the connections."""

    def abandon(self, timeout: float) -> None:
        """Throw the producer away: nothing it holds is sent any more. Returns at once, and raises nothing.

        `timeout` is how long its sender may take to end, in a thread of its own.
        """


class TransactionalProducer(Producer, Protocol):
    """Sends records and commits offsets, together or not at all. Any call can block: hold it to a time."""

    def init_transactions(self) -> None:
        """Fence whoever used the transactional id before, and abort what they left open."""

    def begin_transaction(self) -> None: ...

    def send_offsets_to_transaction(self, offsets: Mapping[Partition, CommittedOffset], group: GroupMetadata) -> None:
        """Commit these offsets of a group with the transaction."""

    def commit_transaction(self) -> None: ...

    def abort_transaction(self) -> None: ...


# --- administration --------------------------------------------------------------------------------


class Admin(Protocol):
    """Looks at, and changes, topics and groups."""

    def describe_topics(self, topics: Iterable[str]) -> list[TopicDescription]:
        """Return one description for each topic, also for those that are not there."""

    def create_topics(self, topics: Iterable[NewTopic], timeout_ms: int) -> dict[str, KafkaError | None]:
        """Create topics, and return by name why one was not created, `None` where it was."""

    def delete_topics(self, topics: Iterable[str]) -> None: ...

    def create_partitions(self, topic: str, count: int) -> None:
        """Have a topic grow to so many partitions."""

    def delete_records(self, before: Positions) -> None:
        """Delete the records before these offsets."""

    def topic_configs(self, topics: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return these settings of each topic, also those that are the cluster's defaults."""

    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        """Change one setting, and leave the others."""

    def describe_group(self, group: str) -> GroupDescription:
        """Return a group; one that is not there has no members, and an `error`."""

    def list_group_offsets(self, group: str) -> dict[Partition, CommittedOffset]:
        """Return where a group stands, of each partition that it has committed."""

    def remove_group_members(self, group: str, instance_ids: Iterable[str]) -> dict[str, KafkaError | None]:
        """Take static members out of a group, so that their partitions go to others.

        Returns by instance why one was not taken out, `None` where it was.
        """

    def delete_group(self, group: str) -> bool:
        """Delete a group, and tell whether that has been done: one with members stays."""

    def close(self) -> None: ...


# --- a library -------------------------------------------------------------------------------------


class Library(Protocol):
    """A client library: makes clients.

    `options` are what a user has set, each for those clients that know it; `settings` are the caller's. Both are by
    the names of kafka-python, which are Kafka's with underscores. KafkaError where no broker can be worked with.
    """

    def consumer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> GroupConsumer:
        """Return a consumer that reads committed records, commits nothing and jumps nowhere by itself."""

    def producer(
        self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> TransactionalProducer:
        """Return a producer that creates no topics."""

    def admin(self, bootstrap: str, options: Mapping[str, Any]) -> Admin:
        """Return an admin client."""
