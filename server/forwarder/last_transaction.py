"""Search for a transaction whose outcome is unknown, by the records that it would have written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Final, TypeAlias

from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Output, Partition

_BEFORE_MS: Final = 60_000
"""Clocks of this machine and of the broker may differ by so much."""
_AFTER_MS: Final = 600_000
"""A transaction that is later than its note by more than this has been aborted by the broker."""
_POLL_MS: Final = 1000

_Content: TypeAlias = tuple[bytes | None, bytes | None]


def is_on_kafka(cluster: Cluster, outputs: Sequence[Output], at_ms: int) -> bool:
    """Return whether all these records are on Kafka, committed; those of one transaction are there together or not.

    Parameters
    ----------
    at_ms
        Time of the transaction.
    """
    wanted: dict[Partition, Counter[_Content]] = {}
    for each in outputs:
        wanted.setdefault(Partition(each.topic, each.partition), Counter())[each.key, each.value] += 1
    with closing(cluster.consumer()) as consumer:
        return all(_are_in(consumer, place, missing, at_ms) for place, missing in wanted.items())


def _are_in(consumer: Consumer, place: Partition, missing: Counter[_Content], at_ms: int) -> bool:
    """Return whether a partition has all these records since shortly before `at_ms`."""
    consumer.assign([place])
    found = consumer.offsets_for_times({place: max(0, at_ms - _BEFORE_MS)})[place]
    if found is None:
        return False
    consumer.seek(place, found)
    end = consumer.end_offsets([place])[place]
    while consumer.position(place) < end:
        for record in consumer.poll(timeout_ms=_POLL_MS).get(place, ()):
            if record.timestamp > at_ms + _AFTER_MS:
                return False
            missing[record.key, record.value] -= 1
            missing += Counter()
            if not missing:
                return True
    return False
