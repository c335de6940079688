"""Adapter of kafka-python's consumer to `client.GroupConsumer`, with guards against its faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import MemberState

from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.errors import KafkaTimeoutError
from runtime.kafka_client.kafka_python.errors import translating
from runtime.kafka_client.kafka_python.rebalance_listener import RebalanceListener
from runtime.kafka_client.records import Batch, CommittedOffset, Partition

_LOOK_SECONDS: Final = 0.02
_ASK_SECONDS: Final = 0.25


class KafkaPythonConsumer:
    """A `GroupConsumer`. The client requires its own partition type, which is equal to `Partition`."""

    def __init__(self, client: KafkaConsumer) -> None:
        self._client = client

    # --- what is read ------------------------------------------------------------------------------

    @translating
    def assign(self, partitions: Iterable[Partition]) -> None:
        self._client.assign(_theirs(partitions))

    @translating
    def assignment(self) -> set[Partition]:
        return {Partition(*each) for each in self._client.assignment()}

    @translating
    def seek(self, partition: Partition, offset: int) -> None:
        self._client.seek(TopicPartition(*partition), offset)

    @translating
    def seek_to_beginning(self, partitions: Iterable[Partition]) -> None:
        self._client.seek_to_beginning(*_theirs(partitions))

    @translating
    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        # No conversion: the client's records have the fields of `Record`, its partitions are equal to `Partition`.
        return cast(Batch, self._client.poll(timeout_ms=timeout_ms, max_records=max_records))

    @translating
    def position(self, partition: Partition) -> int:
        found = self._client.position(TopicPartition(*partition))
        if found is None:
            raise KafkaTimeoutError(f"the position in {partition} is not known")
        return int(found)

    @translating
    def position_within(self, partition: Partition, timeout_ms: int) -> int | None:
        return cast("int | None", self._client.position(TopicPartition(*partition), timeout_ms=timeout_ms))

    @translating
    def pause(self, partitions: Iterable[Partition]) -> None:
        self._client.pause(*_theirs(partitions))

    @translating
    def resume(self, partitions: Iterable[Partition]) -> None:
        """Continue to read these partitions.

        When a partition is paused, the client sets its fetched records aside. It fetches nothing more of the partition
        while they are there, and returns them only when it has no other records at all: never, while other partitions
        have some. So this method drops those records, and they are fetched again from the current position.
        """
        wanted = _theirs(partitions)
        self._client.resume(*wanted)
        for each in wanted:
            self._client._fetcher._paused_partition_records.pop(each, None)

    @translating
    def paused(self) -> set[Partition]:
        return {Partition(*each) for each in self._client.paused()}

    @translating
    def waiting(self) -> set[Partition]:
        # A copy, because the client's IO thread adds to it at the same time.
        fetched = self._client._fetcher._completed_fetches.copy()
        return {Partition(*each.topic_partition) for each in fetched}

    def wait_for_bytes(self, least: int, timeout_ms: int) -> None:
        self._client._fetcher.config.update(fetch_min_bytes=least, fetch_max_wait_ms=timeout_ms)

    def stop_fetching(self) -> None:
        """Read nothing from now on: this client then only keeps the membership, and another one reads.

        Paused partitions would do, too, but each rebalance returns them unpaused.
        """
        self._client._fetcher.send_fetches = list

    # --- what there is -----------------------------------------------------------------------------

    @translating
    def beginning_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return _ours(self._client.beginning_offsets(_theirs(partitions), timeout_ms=timeout_ms))

    @translating
    def end_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return _ours(self._client.end_offsets(_theirs(partitions), timeout_ms=timeout_ms))

    @translating
    def offsets_for_times(
        self, times: Mapping[Partition, int], timeout_ms: int | None = None
    ) -> dict[Partition, int | None]:
        asked = {TopicPartition(*partition): at for partition, at in times.items()}
        found = self._client.offsets_for_times(asked, timeout_ms=timeout_ms)
        later = {partition: found.get(partition) for partition in times}
        return {partition: None if at is None else int(at.offset) for partition, at in later.items()}

    @translating
    def highwater(self, partition: Partition) -> int | None:
        return cast("int | None", self._client.highwater(TopicPartition(*partition)))

    @translating
    def topics(self) -> set[str]:
        return cast(set[str], self._client.topics())

    @translating
    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(self._client.partitions_for_topic(topic) or ())

    @translating
    def topic_ids(self, topics: Iterable[str]) -> dict[str, object | None]:
        cluster = self._client._cluster
        return {topic: cluster.topic_id(topic) for topic in topics}

    # --- the group ---------------------------------------------------------------------------------

    @translating
    def subscribe(self, topics: Iterable[str], on_rebalance: Callable[[], object]) -> None:
        self._client.subscribe(topics=list(topics), listener=RebalanceListener(on_rebalance))

    @translating
    def group_metadata(self) -> GroupMetadata:
        now = self._client.group_metadata()
        return GroupMetadata(now.group_id, now.generation_id, now.state == MemberState.STABLE, now)

    @translating
    def committed(self, partition: Partition, timeout_ms: int | None = None) -> CommittedOffset | None:
        found = self._client.committed(TopicPartition(*partition), metadata=True, timeout_ms=timeout_ms)
        return None if found is None or found.offset < 0 else CommittedOffset(found.offset, metadata_of(found.metadata))

    @translating
    def wait_for_partitions(self, counts: Mapping[str, int], seconds: float) -> bool:
        """Wait until the client's group coordinator code knows the partitions: a leader assigns only those it knows.

        A leader that joins earlier assigns what it knows, then notices more partitions, and rejoins.
        """
        deadline = time.monotonic() + seconds
        asked = time.monotonic()
        while not self._knows(counts):
            now = time.monotonic()
            if now > deadline:
                return False
            if now > asked + _ASK_SECONDS:
                # If a metadata request was under way at subscription, the client takes its answer for the new one.
                self._client._cluster.request_update()
                asked = now
            time.sleep(_LOOK_SECONDS)
        return True

    def _knows(self, counts: Mapping[str, int]) -> bool:
        noted = self._client._coordinator._metadata_snapshot
        return all(len(noted.get(topic, ())) >= count for topic, count in counts.items())

    def made_assignment(self) -> bool:
        return self._client._coordinator._assignment_snapshot is not None

    @translating
    def request_rejoin(self) -> None:
        """Join the group again at the next poll."""
        self._client._coordinator.request_rejoin()

    @translating
    def close(self, timeout_ms: int | None = None) -> None:
        self._client.close(autocommit=False, timeout_ms=timeout_ms)


def metadata_of(text: str | None) -> str:
    r"""Return the metadata of a committed offset as it was given: librdkafka appends a NUL when it commits.

    >>> metadata_of("next 3\0"), metadata_of(None)
    ('next 3', '')
    """
    return (text or "").rstrip("\0")


def _theirs(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*each) for each in partitions]


def _ours(offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
    return {Partition(*each): int(offset) for each, offset in offsets.items()}
