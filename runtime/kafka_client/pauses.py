"""Pausing partitions, and having them back; and which of them wait for another one."""

from __future__ import annotations

from collections.abc import Iterable

from kafka import TopicPartition
from kafka.consumer.group import KafkaConsumer


def pause(consumer: KafkaConsumer, partitions: Iterable[tuple[str, int]]) -> None:
    """Read no more of these until they are resumed."""
    consumer.pause(*(TopicPartition(*partition) for partition in partitions))


def resume(consumer: KafkaConsumer, partitions: Iterable[tuple[str, int]]) -> None:
    """Read these again.

    What the client had in hand of a partition when it was paused it sets aside, fetches nothing more of that
    partition while it lies there, and takes it up again only when it comes to read with nothing at all in
    hand: with other partitions to read, never. So it is dropped, and fetched anew from where reading stands.
    """
    wanted = [TopicPartition(*partition) for partition in partitions]
    consumer.resume(*wanted)
    for partition in wanted:
        consumer._fetcher._paused_partition_records.pop(partition, None)


def fetch(consumer: KafkaConsumer, *, wait_ms: int, least_bytes: int) -> None:
    """Have the broker wait for so many bytes, and so long, before it answers the fetches that are yet to be sent."""
    consumer._fetcher.config.update(fetch_max_wait_ms=wait_ms, fetch_min_bytes=least_bytes)


def waiting(consumer: KafkaConsumer) -> set[TopicPartition]:
    """Return the partitions of which the client has something in hand, behind what it hands out just now."""
    return {fetched.topic_partition for fetched in consumer._fetcher._completed_fetches.copy()}
