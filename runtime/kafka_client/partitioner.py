"""Default partitioner of Kafka: murmur2 of the key's bytes, as in the Java client and kafka-python."""

from __future__ import annotations

from kafka.partitioner.default import murmur2


def hashed(key: bytes, partitions: int) -> int:
    """Return the partition of a key.

    >>> hashed(b"e1", 6)
    3
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
