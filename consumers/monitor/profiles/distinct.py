"""Distinct values, by the smallest of their hashes, which are the same on every machine.

The hash of a number is that of its double, so that 1 and 1.0 are one value; whole numbers that no double holds exactly
have hashes of their own. Hashes of texts, bytes and vectors are BLAKE2b. All are whole numbers of 63 bits.

Hashes of private features are BLAKE2b with a secret key: nobody without it can find the value of a hash by trying. How
often each hash occurs is there for everybody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from consumers.monitor.profiles.moments import Floats
from schemas.events import FeatureValue
from schemas.profiles import Profile

Hashes: TypeAlias = NDArray[np.int64]

MOST_HASHES: Final = 64
_RANGE: Final = 2.0**63
LARGEST_EXACT: Final = 2**53 - 1
"""Doubles hold all whole numbers up to this; what they hold of a larger one may be another."""
_NO_DOUBLE: Final = np.uint64(0x9E3779B97F4A7C15)
_NONE: Final = np.zeros(0, np.int64)
_MASK: Final = 2**64 - 1


class Distinct:
    """The smallest hashes of the values so far; the order of the values changes nothing."""

    __slots__ = ("are_all", "kept")

    def __init__(self) -> None:
        self.kept = _NONE
        self.are_all = True

    def add(self, hashes: Hashes) -> None:
        """Take the hashes of further values."""
        if len(self.kept) == MOST_HASHES:
            largest = self.kept[-1]
            self.are_all = self.are_all and not bool((hashes > largest).any())
            hashes = hashes[hashes < largest]
            if not len(hashes):
                return
        found = np.unique(np.concatenate((self.kept, hashes)))
        self.are_all = self.are_all and len(found) <= MOST_HASHES
        self.kept = found[:MOST_HASHES]


def distinct(profile: Profile) -> float:
    """Return the number of distinct values: exact up to 64, else estimated, with a standard error of 13 %.

    It is NaN if there are values without hashes.
    """
    hashes = profile.hashes
    if not hashes and not profile.hashes_are_all:
        return math.nan
    if profile.hashes_are_all or not hashes:
        return float(len(hashes))
    return max((len(hashes) - 1) / ((hashes[-1] + 1) / _RANGE), float(len(hashes)))


def merged_hashes(profiles: Iterable[Profile], most: int = MOST_HASHES) -> tuple[list[int], bool]:
    """Return the smallest hashes of several profiles together, ascending, and whether they are all."""
    found: set[int] = set()
    known_up_to: int | None = None
    for each in profiles:
        found.update(each.hashes)
        if not each.hashes_are_all:
            # Above the largest that a profile has, its hashes are not known.
            largest = each.hashes[-1] if each.hashes else -1
            known_up_to = largest if known_up_to is None else min(known_up_to, largest)
    kept = sorted(each for each in found if known_up_to is None or each <= known_up_to)
    return kept[:most], known_up_to is None and len(kept) <= most


def number_hashes(numbers: Floats) -> Hashes:
    """Return the hashes of finite numbers."""
    # Adding 0 makes -0 a 0.
    return _mixed((numbers + 0.0).view(np.uint64))


def integer_hash(value: int) -> int:
    """Return the hash of one whole number (a long), which is that of its double where a double holds it."""
    number = float(value)
    if number == value:
        return int(number_hashes(np.array([number]))[0])
    return int(_mixed(np.array([value & _MASK], np.uint64) ^ _NO_DOUBLE)[0])


def is_rounded(value: FeatureValue) -> bool:
    """Return whether a value is a whole number that a double may not hold."""
    return value.__class__ is int and not -LARGEST_EXACT <= value <= LARGEST_EXACT


def text_hashes(kind: bytes, values: Iterable[bytes], key: bytes = b"") -> Hashes:
    """Return the hashes of values of one kind, given as bytes."""
    blake = hashlib.blake2b(digest_size=8, key=key)
    blake.update(kind)
    found = bytearray()
    for each in values:
        hashing = blake.copy()
        hashing.update(each)
        found += hashing.digest()
    return (np.frombuffer(bytes(found), ">u8") >> np.uint64(1)).astype(np.int64)


def vector_bytes(vectors: Iterable[Sequence[float]]) -> Iterable[bytes]:
    """Return vectors as bytes, for hashing."""
    return (np.array(each, "<f8").tobytes() for each in vectors)


def _mixed(bits: NDArray[np.uint64]) -> Hashes:
    """Mix 64 bits well (the finalizer of SplitMix64), and drop the last."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((bits ^ (bits >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
