"""Adapter of two clients to `client.GroupConsumer`: kafka-python is the member, librdkafka reads.

kafka-python keeps the membership: heartbeats, rebalances, committed offsets with their metadata, static ids, topic ids.
So one group may have members of both libraries, and the guards of the loop have one meaning. It fetches nothing.
librdkafka reads the partitions that the group has assigned, each at an explicit offset.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.kafka_python.consumer import KafkaPythonConsumer
from runtime.kafka_client.librdkafka.consumer import LibrdkafkaConsumer
from runtime.kafka_client.records import Batch, CommittedOffset, Partition

_JOIN_MS: Final = 100
# Each look costs as much as a small turn's records: the member's own thread has to be woken and waited for. Heartbeats
# do not need it, so a look only delays the answer to a rebalance, which takes longer by itself.
_LOOK_SECONDS: Final = 0.1


class LibrdkafkaGroupConsumer:
    """A `GroupConsumer`.

    Parameters
    ----------
    membership
        The member; its fetching is switched off here.
    fetcher
        Reads what the member has been assigned.
    """

    def __init__(self, membership: KafkaPythonConsumer, fetcher: LibrdkafkaConsumer) -> None:
        membership.stop_fetching()
        self._membership = membership
        self._fetcher = fetcher
        self._rebalanced = threading.Event()  # set by the member's thread
        self._subscribed = False
        self._look_at = 0.0  # monotonic time at which the membership is looked at again
        self._known_ids: dict[str, object] = {}  # as the member knew them last

    # --- what is read ------------------------------------------------------------------------------

    def assign(self, partitions: Iterable[Partition]) -> None:
        wanted = list(partitions)
        self._membership.assign(wanted)
        self._fetcher.assign(wanted)

    def assignment(self) -> set[Partition]:
        return self._reading().assignment()

    def seek(self, partition: Partition, offset: int) -> None:
        self._reading().seek(partition, offset)
        # Without a position, the member looks for one at each poll, and raises if the group has none.
        self._membership.seek(partition, offset)

    def seek_to_beginning(self, partitions: Iterable[Partition]) -> None:
        for partition, offset in self._fetcher.beginning_offsets(partitions).items():
            self.seek(partition, offset)

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        """Return the next records, and keep the membership: both have to happen in every turn of a loop."""
        fetcher = self._reading()
        self._look_at_membership()
        if self._subscribed and not self._membership.group_metadata().stable:
            self._membership.poll(min(timeout_ms, _JOIN_MS))
            return {}
        if self._rebalanced.is_set():
            return {}
        if unplaced := fetcher.unplaced():
            for partition in unplaced:
                # Where nobody has sought, reading begins at the committed offset.
                at = self._membership.position_within(partition, timeout_ms)
                if at is None:
                    return {}
                fetcher.seek(partition, at)
        return fetcher.poll(timeout_ms, max_records)

    def _look_at_membership(self) -> None:
        """Send what is due, and take note of a rebalance. What this needs time for is waited for by `poll`."""
        now = time.monotonic()
        if now >= self._look_at or not self._membership.group_metadata().stable:
            self._look_at = now + _LOOK_SECONDS
            self._membership.poll(0)

    def _reading(self) -> LibrdkafkaConsumer:
        """Return the fetcher, with the partitions that the group has assigned now."""
        if self._rebalanced.is_set():
            # Cleared first: the member's thread sets it after each change. A partition that comes back begins at its
            # committed offset, because another member may have read it in between.
            self._rebalanced.clear()
            self._fetcher.assign(())
        if (assigned := self._membership.assignment()) != self._fetcher.assignment():
            self._fetcher.assign(assigned)
        return self._fetcher

    def position(self, partition: Partition) -> int:
        return self._reading().position(partition)

    def position_within(self, partition: Partition, timeout_ms: int) -> int | None:
        return self._reading().position_within(partition, timeout_ms)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._reading().pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._fetcher.resume(partitions)

    def paused(self) -> set[Partition]:
        return self._fetcher.paused()

    def waiting(self) -> set[Partition]:
        return self._fetcher.waiting()

    def wait_for_bytes(self, least: int, timeout_ms: int) -> None:
        self._fetcher.wait_for_bytes(least, timeout_ms)

    # --- what there is -----------------------------------------------------------------------------

    def beginning_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return self._fetcher.beginning_offsets(partitions, timeout_ms)

    def end_offsets(self, partitions: Iterable[Partition], timeout_ms: int | None = None) -> dict[Partition, int]:
        return self._fetcher.end_offsets(partitions, timeout_ms)

    def offsets_for_times(
        self, times: Mapping[Partition, int], timeout_ms: int | None = None
    ) -> dict[Partition, int | None]:
        return self._fetcher.offsets_for_times(times, timeout_ms)

    def highwater(self, partition: Partition) -> int | None:
        return self._fetcher.highwater(partition)

    def topics(self) -> set[str]:
        return self._membership.topics()

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self._membership.partitions_for_topic(topic)

    def topic_ids(self, topics: Iterable[str]) -> dict[str, object | None]:
        """Return the ids; of a topic whose id is not the same for the member and the fetcher, both.

        If a topic is deleted and made again, the fetcher goes on in the new one at the offset of the old one, and may
        know of it seconds before the member.
        """
        return {topic: self._id(topic, known) for topic, known in self._membership.topic_ids(topics).items()}

    def _id(self, topic: str, known: object | None) -> object | None:
        if known is None:  # it does not exist at the moment
            known = self._known_ids.get(topic)
        else:
            self._known_ids[topic] = known
        read = self._fetcher.topic_id(topic)
        return known if read in (None, str(known)) else (known, read)

    # --- the group ---------------------------------------------------------------------------------

    def subscribe(self, topics: Iterable[str], on_rebalance: Callable[[], object]) -> None:
        def rebalanced() -> None:
            self._rebalanced.set()
            on_rebalance()

        self._subscribed = True
        self._membership.subscribe(topics, rebalanced)

    def group_metadata(self) -> GroupMetadata:
        return self._membership.group_metadata()

    def committed(self, partition: Partition, timeout_ms: int | None = None) -> CommittedOffset | None:
        # librdkafka reads beyond the end of metadata that kafka-python wrote.
        return self._membership.committed(partition, timeout_ms)

    def wait_for_partitions(self, counts: Mapping[str, int], seconds: float) -> bool:
        return self._membership.wait_for_partitions(counts, seconds)

    def made_assignment(self) -> bool:
        return self._membership.made_assignment()

    def request_rejoin(self) -> None:
        self._look_at = 0.0
        self._membership.request_rejoin()

    def close(self, timeout_ms: int | None = None) -> None:
        try:
            self._membership.close(timeout_ms)
        finally:
            self._fetcher.close()
