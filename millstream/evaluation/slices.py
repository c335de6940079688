"""Slices of the rows by the value of one feature: each value, or ranges of a number with many values."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final

from schemas.events import Features, FeatureValue

LOOKED_AT: Final = 10_000
_MOST: Final = 12
MISSING: Final = "(missing)"
OTHERS: Final = "(others)"


class NoSlices(Exception):  # noqa: N818
    """The rows cannot be sliced by this name; the message names the features that there are."""


class Slices:
    """Assigns rows to slices.

    Parameters
    ----------
    name
        The feature.
    first
        The first rows' features; they decide on the slices.

    >>> several = Slices("hour", [{"hour": n % 24} for n in range(1000)])
    >>> several.key({"hour": 3}), several.key({"hour": 23}), several.key({})
    ('up to 5', 'above 17', '(missing)')
    """

    def __init__(self, name: str, first: Iterable[Features]) -> None:
        self._name = name
        values: Counter[FeatureValue] = Counter()
        numbers: list[float] = []
        names: dict[str, None] = {}
        for features in islice(first, LOOKED_AT):
            names.update(dict.fromkeys(features))
            value = features.get(name)
            if isinstance(value, list):
                raise NoSlices(f"--by {name}: its values are lists, which have no slices")
            if value is not None:
                values[value] += 1
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers.append(value)
        if not values:
            there = ", ".join(list(names)[:30])
            raise NoSlices(f"--by {name}: no row looked at has a value of that feature; there are: {there}")
        numeric = len(numbers) == values.total() and len(values) > _MOST
        self._edges = _quartiles(numbers) if numeric else []
        self._values = frozenset(value for value, _ in values.most_common(_MOST))

    def key(self, features: Features) -> str:
        """Return the slice of a row."""
        value = features.get(self._name)
        if value is None:
            return MISSING
        if not self._edges:
            return _text(value) if value in self._values else OTHERS
        if isinstance(value, (str, bytes, list)):
            return OTHERS
        place = bisect_left(self._edges, value)
        if place == len(self._edges):
            return f"above {self._edges[-1]:g}"
        below = "" if place == 0 else f"above {self._edges[place - 1]:g} "
        return f"{below}up to {self._edges[place]:g}"


def _quartiles(numbers: list[float]) -> list[float]:
    ordered = sorted(numbers)
    return sorted({ordered[(len(ordered) * quarter) // 4 - 1] for quarter in (1, 2, 3)})


def _text(value: FeatureValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
