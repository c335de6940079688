"""Default partitioner of Kafka: murmur2 of the key's bytes, as in the Java client and kafka-python.

confluent-kafka has it in C, in a twentieth of the time of Python. It is used wherever that package is installed,
whichever client the process works with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final

_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_BITS: Final = 0xFFFFFFFF


def hashed_in_python(key: bytes, partitions: int) -> int:
    """Return the partition of a key, without any library.

    >>> hashed_in_python(b"e1", 6)
    3
    """
    value = _SEED ^ len(key)
    for word in _words(len(key) // 4).unpack_from(key):
        mixed = word * _MIX & _BITS
        value = (value * _MIX ^ (mixed ^ mixed >> 24) * _MIX) & _BITS
    if rest := key[len(key) & ~3 :]:
        value = (value ^ int.from_bytes(rest, "little")) * _MIX & _BITS
    value = (value ^ value >> 13) * _MIX & _BITS
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=64)
def _words(count: int) -> Struct:
    return Struct(f"<{count}I")


def _quickest() -> Callable[[bytes, int], int]:
    try:
        from confluent_kafka import murmur2
    except ImportError:
        return hashed_in_python
    return murmur2


hashed: Final = _quickest()
"""Return the partition of a key: the arguments are the key and the number of partitions."""
