"""Profile of one value over an open window, from blocks of its values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import compress
from typing import Any, Final, TypeAlias

import numpy as np

from consumers.monitor.profiles.categories import Categories, category
from consumers.monitor.profiles.distinct import (
    LARGEST_EXACT,
    Distinct,
    integer_hash,
    is_rounded,
    number_hashes,
    text_hashes,
    vector_bytes,
)
from consumers.monitor.profiles.moments import NO_MOMENTS, Floats, merged_moments, moments_of
from consumers.monitor.profiles.quantiles import CELLS, Knots, added, knots_of, thinned, written
from schemas.events import FeatureValue
from schemas.profiles import Numbers, Profile

Values: TypeAlias = Sequence[FeatureValue]

NOT_FINITE: Final = "not finite"
_BUFFER: Final = 8192
"""Numbers that are kept as they are: 64 KB. A window of 10,000 events is thinned once before its end, to 0.1 %."""
_PART_CELLS: Final = 4 * CELLS
_MOST_PARTS: Final = 8
_KINDS: Final = {bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes", list: "vector"}


class Column:
    """The values of one key of a window. Whole and floating numbers are one distribution.

    Of texts and booleans categories are counted. Of bytes the length is the number. Of a vector the Euclidean norm is
    the number and its length the category. NaN and infinity are counted among the types, and nowhere else.
    """

    __slots__ = ("_buffer", "_buffered", "_categories", "_distinct", "_moments", "_parts", "present", "types")

    def __init__(self) -> None:
        self.present = 0
        self.types: dict[str, int] = {}
        self._moments = NO_MOMENTS
        self._buffer: list[Floats] = []
        self._buffered = 0
        self._parts: list[Knots] = []
        self._categories = Categories()
        self._distinct = Distinct()

    @property
    def categories(self) -> int:
        """Number of categories in memory."""
        return len(self._categories.counts)

    def add(self, values: Values, most_categories: int) -> Floats | None:
        """Take a block of values, None for missing ones; keep at most so many categories in memory.

        Returns
        -------
        A number for each value, not finite for one that is none; `None` if none of the values is a finite number.
        """
        kinds = kinds_of(values)
        for kind in kinds:
            if kind is not float and kind is not int:
                self._add_others(kind, [value for value in values if value.__class__ is kind], most_categories)
        if float not in kinds and int not in kinds:
            return None
        numbers = _numbers(values, plain=kinds == [float])
        classes = list(map(type, values))
        ints, floats = classes.count(int), classes.count(float)
        finite = np.isfinite(numbers)
        kept = hashed = numbers[finite]
        if ints and bool((np.abs(numbers) > LARGEST_EXACT).any()):
            inexact = np.array(list(map(is_rounded, values)))
            hashed = numbers[finite & ~inexact]
            large: Any = compress(values, inexact)
            self._distinct.add(np.array(list(map(integer_hash, large)), np.int64))
        self.present += ints + floats
        self._count("int", ints)
        self._count("float", len(kept) - ints)
        self._count(NOT_FINITE, ints + floats - len(kept))
        self._distinct.add(number_hashes(hashed))
        self._keep(kept)
        return numbers if len(kept) else None

    def add_floats(self, numbers: Floats) -> Floats | None:
        """Take a block of floats of which none is missing; like `add`."""
        finite = numbers if np.isfinite(numbers).all() else numbers[np.isfinite(numbers)]
        self.present += len(numbers)
        self._count("float", len(finite))
        self._count(NOT_FINITE, len(numbers) - len(finite))
        self._distinct.add(number_hashes(finite))
        self._keep(finite)
        return numbers if len(finite) else None

    def written(self, events: int) -> Profile:
        """Return the profile of a window of `events` events."""
        counts, rest = self._categories.written()
        return Profile(
            missing=max(0, events - self.present),
            types=self.types,
            numbers=self._numbers() if self._moments.numbers else None,
            categories=counts,
            rest=rest,
            hashes=self._distinct.kept.tolist(),
            hashes_are_all=self._distinct.are_all,
        )

    def _numbers(self) -> Numbers:
        parts = [*self._parts, knots_of(np.concatenate(self._buffer))] if self._buffered else self._parts
        count, mean, low, squares = self._moments
        points, weights = written(added(parts, CELLS))
        least, most = points[0], points[-1]
        return Numbers(count, mean, 0.0 if least == most else squares, least, most, points, weights, low)

    def _count(self, kind: str, count: int) -> None:
        if count:
            self.types[kind] = self.types.get(kind, 0) + count

    def _keep(self, numbers: Floats) -> None:
        if not len(numbers):
            return
        self._moments = merged_moments(self._moments, moments_of(numbers))
        self._buffer.append(numbers)
        self._buffered += len(numbers)
        if self._buffered >= _BUFFER:
            self._parts.append(thinned(knots_of(np.concatenate(self._buffer)), _PART_CELLS))
            self._buffer, self._buffered = [], 0
            if len(self._parts) == _MOST_PARTS:
                self._parts = [added(self._parts, _PART_CELLS)]

    def _add_others(self, kind: type, values: list[Any], most_categories: int) -> None:
        self.present += len(values)
        finite = len(values)
        if kind is list:
            norms = np.array([math.hypot(*vector) for vector in values])
            norms = norms[np.isfinite(norms)]
            finite = len(norms)
            self._keep(norms)
            lengths = Counter(map(len, values))
            self._categories.add({f"{length} numbers": count for length, count in lengths.items()}, most_categories)
            self._distinct.add(text_hashes(b"vector", vector_bytes(values)))
        elif kind is bytes:
            self._keep(np.array(list(map(len, values)), np.float64))
            self._distinct.add(text_hashes(b"bytes", set(values)))
        else:
            self._add_categories(kind, Counter(values), most_categories)
        self._count(_KINDS[kind], finite)
        self._count(NOT_FINITE, len(values) - finite)

    def _add_categories(self, kind: type, counts: Counter[Any], most_categories: int) -> None:
        if kind is bool:
            self._distinct.add(text_hashes(b"bool", (str(value).encode() for value in counts)))
            self._categories.add({str(value): count for value, count in counts.items()}, most_categories)
            return
        known = self._categories.counts
        new = (text for text in counts if text not in known)
        self._distinct.add(text_hashes(b"str", (text.encode(errors="replace") for text in new)))
        self._categories.add({category(text): count for text, count in counts.items()}, most_categories)


class PrivateColumn:
    """The values of a private feature: counts by type, keyed hashes, and counts of texts and booleans by their hash.

    Without a key there are counts by type alone: anyone could try values against hashes without one.
    """

    __slots__ = ("_categories", "_distinct", "_key", "present", "types")

    def __init__(self, key: bytes) -> None:
        self.present = 0
        self.types: dict[str, int] = {}
        self._key = key
        self._categories = Categories()
        self._distinct = Distinct()

    @property
    def categories(self) -> int:
        """Number of categories in memory."""
        return len(self._categories.counts)

    def add(self, values: Values, most_categories: int) -> None:
        """Take a block of values, None for missing ones; keep at most so many categories in memory."""
        for kind in kinds_of(values):
            found = [value for value in values if value.__class__ is kind]
            finite = [value for value in found if _is_finite(value)]
            self.present += len(found)
            for name, count in ((_KINDS[kind], len(finite)), (NOT_FINITE, len(found) - len(finite))):
                if count:
                    self.types[name] = self.types.get(name, 0) + count
            tag = b"number" if kind in (int, float) else _KINDS[kind].encode()
            if not self._key:
                self._distinct.are_all = not finite and self._distinct.are_all
                self._categories.rest += len(finite) if kind in (str, bool) else 0
                continue
            counts = Counter(map(_as_bytes, finite))
            hashes = text_hashes(tag, counts, self._key)
            self._distinct.add(hashes)
            if kind in (str, bool):
                names = (f"{each:016x}" for each in hashes.tolist())
                self._categories.add(dict(zip(names, counts.values(), strict=True)), most_categories)

    def written(self, events: int) -> Profile:
        """Return the profile of a window of `events` events."""
        counts, rest = self._categories.written()
        return Profile(
            missing=max(0, events - self.present),
            types=self.types,
            numbers=None,
            categories=counts,
            rest=rest,
            hashes=self._distinct.kept.tolist(),
            hashes_are_all=self._distinct.are_all,
        )


def kinds_of(values: Values) -> list[type]:
    """Return the types of the values that are not missing, in a fixed order.

    Raises
    ------
    TypeError
        If a value has a type that no feature has.
    """
    kinds = set(map(type, values))
    kinds.discard(type(None))
    unknown = kinds - _KINDS.keys()
    if unknown:
        raise TypeError(f"a value has the type {min(each.__name__ for each in unknown)}; there are no profiles of it")
    return [kind for kind in _KINDS if kind in kinds]


def _numbers(values: Values, plain: bool) -> Floats:
    """Return a double for each value, NaN for what is no number; whole numbers are longs, which doubles can hold."""
    if plain:
        return np.array(values, np.float64)  # None becomes NaN
    found = [value if value.__class__ is int or value.__class__ is float else math.nan for value in values]
    return np.array(found, np.float64)


def _is_finite(value: FeatureValue) -> bool:
    if value.__class__ is float:
        return math.isfinite(value)
    if value.__class__ is list:
        return math.isfinite(math.hypot(*value))
    return True


def _as_bytes(value: Any) -> bytes:
    """Return a value as bytes, the same for numbers that are equal."""
    if value.__class__ is float and value.is_integer():
        value = int(value)
    if value.__class__ is bytes:
        return bytes(value)
    return next(iter(vector_bytes([value]))) if value.__class__ is list else str(value).encode(errors="replace")
