"""Adapter of librdkafka's consumer to `client.Consumer`, with guards for its faults.

The client never joins a group. Partitions are assigned with explicit offsets; one that is paused or sought leaves the
client's assignment and returns at its new offset. So a record that was read ahead is dropped by the client and read
again, and no record of the time before can be returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, Message, TopicPartition
from confluent_kafka import KafkaError as TheirError

from runtime.kafka_client.errors import KafkaError, KafkaTimeoutError, NoOffsetError
from runtime.kafka_client.librdkafka.errors import of_exception, translated, translating
from runtime.kafka_client.librdkafka.handle import Handle
from runtime.kafka_client.records import Batch, Partition, PlainRecord, Record

_STOP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.0005
_RETRY_SECONDS: Final = 0.05
_READ_AHEAD: Final = 200_000
"""More records than the client reads ahead."""
_INTERNAL: Final = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
# The client continues after these by itself, or they concern the group that it never joins.
_PASSING: Final = frozenset(
    {
        TheirError._ALL_BROKERS_DOWN,
        TheirError._PARTITION_EOF,
        TheirError._TRANSPORT,
        TheirError._UNKNOWN_PARTITION,
        TheirError._UNKNOWN_TOPIC,
        TheirError.GROUP_AUTHORIZATION_FAILED,
        TheirError.LEADER_NOT_AVAILABLE,
        TheirError.NOT_LEADER_FOR_PARTITION,
        TheirError.UNKNOWN_TOPIC_ID,
        TheirError.UNKNOWN_TOPIC_OR_PART,
    }
)


class LibrdkafkaConsumer:
    """A `Consumer`, and the fetching half of `LibrdkafkaGroupConsumer`.

    Parameters
    ----------
    request_ms
        Time limit of a request, if the call has none.
    most_records
        Maximum number of records of a poll, if the call has none.
    """

    def __init__(self, handle: Handle, *, request_ms: int, most_records: int) -> None:
        self._handle = handle
        self._client: Any = handle.client
        self._request_ms = request_ms
        self._most_records = most_records
        self._places: dict[Partition, int | None] = {}  # assigned partitions, each with the offset to continue at
        self._paused: set[Partition] = set()
        self._fetched: set[Partition] = set()  # the client's own assignment
        self._moved: set[Partition] = set()  # to be assigned to the client again
        self._failed: dict[Partition | None, KafkaError] = {}
        self._least_bytes = 1
        self._wait_ms = 0
        self._returned = 0
        self._returned_at: dict[Partition, int] = {}  # count of returned records when a partition's last one was
        self._more = False  # the last poll returned as many records as it might: others may wait

    # --- what is read ------------------------------------------------------------------------------

    @translating
    def assign(self, partitions: Iterable[Partition]) -> None:
        self._places = {each: self._place(each) for each in partitions}
        self._paused &= self._places.keys()
        if not self._places and self._fetched:  # nothing may be polled any more, and the client would fetch on
            self._moved.clear()
            self._stop(list(self._fetched))

    def assignment(self) -> set[Partition]:
        return set(self._places)

    def unplaced(self) -> list[Partition]:
        """Return the assigned partitions without an offset to read at."""
        return [each for each, offset in self._places.items() if offset is None]

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._places:
            raise ValueError(f"{partition} is not assigned")
        self._places[partition] = offset
        self._moved.add(partition)
        self._failed.pop(partition, None)

    def seek_to_beginning(self, partitions: Iterable[Partition]) -> None:
        for partition, offset in self.beginning_offsets(partitions).items():
            self.seek(partition, offset)

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        self._handle.check()
        try:
            self._apply()
            if self._failed:
                raise self._failed.pop(next(iter(self._failed)))
            messages = self._messages(timeout_ms, max_records or self._most_records)
        except KafkaException as error:
            raise of_exception(error) from error
        batch = self._batch(messages)
        if not batch and self._failed:
            raise self._failed.pop(next(iter(self._failed)))
        return batch

    def _messages(self, timeout_ms: int, most: int) -> list[Message]:
        # consume(n, t) waits all of t unless n records come, so one is waited for, and the others taken with it.
        first = self._client.poll(timeout_ms / 1000)
        if first is None:
            self._more = False
            return []
        messages = [first, *self._client.consume(most - 1, 0)] if most > 1 else [first]
        if self._least_bytes > 1 and len(messages) < most and _size(messages) < self._least_bytes:
            messages += self._client.consume(most - len(messages), self._wait_ms / 1000)
        self._more = len(messages) >= most
        return messages

    def _batch(self, messages: Sequence[Any]) -> Batch:
        """Return the records by partition, and keep the errors, which the client returns as records."""
        batch: dict[Partition, list[Record]] = {}
        fetched = self._fetched
        make = tuple.__new__
        at: Partition | None = None
        records: list[Record] = []
        for each in messages:
            if each.error() is not None:
                self._keep_error(each)
                continue
            topic, partition = each.topic(), each.partition()
            if at is None or partition != at[1] or topic != at[0]:
                at = Partition(topic, partition)
                if at not in fetched:  # it left the assignment while the record was on its way
                    at = None
                    continue
                records = batch.setdefault(at, [])
            records.append(
                make(
                    PlainRecord,
                    (
                        topic,
                        partition,
                        each.offset(),
                        each.timestamp()[1],
                        each.key(),
                        each.value(),
                        each.headers() or [],
                    ),
                )
            )
        self._returned += len(messages)
        self._returned_at.update(dict.fromkeys(batch, self._returned))
        return batch

    def _keep_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None  # noqa: S101 - checked by the caller
        if error.code() in _PASSING:
            return
        topic, number = message.topic(), message.partition()
        at = None if topic is None or number is None else Partition(topic, number)
        if at is not None:
            if at not in self._fetched:
                return
            # The client does not fetch it any more: another poll begins again at the same offset, and fails again.
            self._places[at] = self._place(at)
            self._moved.add(at)
        self._failed[at] = translated(error)

    def _apply(self) -> None:
        """Give the client the partitions to fetch, each at its offset."""
        wanted = self._places.keys() - self._paused
        leaving = [each for each in self._fetched if each in self._moved or each not in wanted]
        if leaving:
            self._stop(leaving)
        self._moved.clear()
        if unplaced := self.unplaced():
            raise NoOffsetError(f"no offset to read {unplaced[0]} at")
        entering = [each for each in wanted if each not in self._fetched]
        if entering:
            self._client.incremental_assign([TopicPartition(*each, cast(int, self._places[each])) for each in entering])
            self._fetched.update(entering)
            self._returned_at.update(dict.fromkeys(entering, self._returned))

    def _stop(self, leaving: list[Partition]) -> None:
        """Take partitions from the client, and wait until it has forgotten their positions."""
        theirs = [TopicPartition(*each) for each in leaving]
        self._client.incremental_unassign(theirs)
        self._fetched.difference_update(leaving)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(each.offset >= 0 for each in self._client.position(theirs)):
            if time.monotonic() > deadline:
                raise KafkaTimeoutError(f"the client does not stop reading {leaving[0]}")
            time.sleep(_LOOK_SECONDS)  # its own thread does it, within a millisecond

    def _place(self, partition: Partition) -> int | None:
        """Return the next offset to read, past the transaction markers that the client has skipped."""
        place = self._places.get(partition)
        if partition not in self._fetched or partition in self._moved:
            return place
        [found] = self._client.position([TopicPartition(*partition)])
        return int(found.offset) if found.offset >= 0 else place

    @translating
    def position(self, partition: Partition) -> int:
        found = self._place(partition)
        if found is None:
            raise KafkaTimeoutError(f"the position in {partition} is not known")
        return found

    @translating
    def position_within(self, partition: Partition, timeout_ms: int) -> int | None:
        """Return the next offset to read, known without a request."""
        return self._place(partition)

    @translating
    def pause(self, partitions: Iterable[Partition]) -> None:
        for each in partitions:
            self._places[each] = self._place(each)
            self._paused.add(each)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._paused.difference_update(partitions)

    def paused(self) -> set[Partition]:
        return set(self._paused)

    def waiting(self) -> set[Partition]:
        """Return the partitions whose records may wait in the client.

        It returns records in the order of their arrival, and does not tell which ones it has. A partition whose last
        record is further back than the client reads ahead has none waiting.
        """
        if not self._more:
            return set()
        return {each for each in self._fetched if self._returned - self._returned_at[each] < _READ_AHEAD}

    def wait_for_bytes(self, least: int, timeout_ms: int) -> None:
        """Let a poll that found fewer bytes wait for more: the client cannot change what a fetch waits for."""
        self._least_bytes, self._wait_ms = least, timeout_ms

    # --- what there is -----------------------------------------------------------------------------

    def beginning_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return self._offsets(dict.fromkeys(partitions, OFFSET_BEGINNING), timeout_ms)

    def end_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return self._offsets(dict.fromkeys(partitions, OFFSET_END), timeout_ms)

    def offsets_for_times(
        self, times: Mapping[Partition, int], timeout_ms: int | None = None
    ) -> dict[Partition, int | None]:
        found = self._offsets(times, timeout_ms)
        return {partition: None if offset < 0 else offset for partition, offset in found.items()}

    def _offsets(self, asked: Mapping[Partition, int], timeout_ms: int | None) -> dict[Partition, int]:
        """Return offsets by time, or by the protocol's two special times for the beginning and the end."""
        self._handle.check()
        if not asked:
            return {}
        seconds = (timeout_ms or self._request_ms) / 1000
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._ask_offsets(asked, max(0.0, deadline - time.monotonic()))
            except KafkaError as error:
                # For a moment after a topic has grown, or a broker has started, no broker leads the partition.
                if not error.retriable or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_SECONDS)

    @translating
    def _ask_offsets(self, asked: Mapping[Partition, int], seconds: float) -> dict[Partition, int]:
        theirs = [TopicPartition(*partition, at) for partition, at in asked.items()]
        found = self._client.offsets_for_times(theirs, timeout=seconds)
        for each in found:
            if each.error is not None:
                raise translated(each.error)
        return {Partition(each.topic, each.partition): int(each.offset) for each in found}

    @translating
    def highwater(self, partition: Partition) -> int | None:
        _, end = self._client.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return None if end < 0 else int(end)

    def topic_id(self, topic: str) -> str | None:
        """Return the id of the topic that is read, if the client tells it."""
        return self._handle.topic_ids.get(topic)

    @translating
    def topics(self) -> set[str]:
        self._handle.check()
        return set(self._client.list_topics(timeout=self._request_ms / 1000).topics) - _INTERNAL

    @translating
    def partitions_for_topic(self, topic: str) -> set[int]:
        self._handle.check()
        found: Any = self._client.list_topics(topic, timeout=self._request_ms / 1000).topics.get(topic)
        return set() if found is None else set(found.partitions)

    def close(self, timeout_ms: int | None = None) -> None:
        """Close the connections. The client's own close commits nothing here, and waits for no broker."""
        self._client.close()


def _size(messages: Iterable[Message]) -> int:
    return sum(len(each.value() or b"") for each in messages)
