"""Novelties: types and categories that the reference does not have, and values that became constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumers.monitor.drift.basis import Basis
from consumers.monitor.drift.describing import period
from consumers.monitor.drift.rows import Row
from consumers.monitor.profiles.categories import most_frequent

NEW_TYPE: Final = "types"
NEW_CATEGORIES: Final = "new categories"
CONSTANT: Final = "constant"

_LEAST_SHARE: Final = 0.01
_LEAST_EVENTS: Final = 30
_LEAST_NEW: Final = 10
_SHOWN: Final = 3


@dataclass(frozen=True)
class Novelty:
    """A value that the reference does not have; `share` is its part of the bucket's values."""

    check: str
    place: int
    share: float
    text: str


def novelties(row: Row, basis: Basis) -> Iterator[Novelty]:
    """Yield the novelties of a bucket.

    A new type or category must have 1 % of the values and 10 of them; the reference has many times as many values
    and none of it. Where the reference's later half itself brought such new categories, they are usual. A value that
    is constant must have been in none of the reference's buckets, and chance must not make it so.
    """
    for place, types in row.types.items():
        total = float(row.counts[place])
        known = basis.known_types.get(place)
        if known is None or total < _LEAST_EVENTS or basis.events < 2 * total:
            continue
        new = {name: count for name, count in types.items() if name not in known and _enough(count, total)}
        if new:
            share = sum(new.values()) / total
            yield Novelty(
                NEW_TYPE, place, share, f"new type {', '.join(sorted(new))}: {share:.1%}, in the {period(row)}"
            )
    for place, categories in row.categories.items():
        total = float(row.counts[place])
        known = basis.known.get(place)
        if known is None or place in basis.bursts or total < _LEAST_EVENTS or basis.events < 2 * total:
            continue
        new = {name: count for name, count in categories.items() if name not in known and _enough(count, total)}
        if new:
            share = sum(new.values()) / total
            first = most_frequent(new, _SHOWN)
            named = ", ".join(f"{name!r} {count / total:.1%}" for name, count in first.items())
            more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
            yield Novelty(NEW_CATEGORIES, place, share, f"new categories {named}{more}, in the {period(row)}")
    yield from _constants(row, basis)


def _constants(row: Row, basis: Basis) -> Iterator[Novelty]:
    size = min(basis.subjects, len(row.distinct))
    now = (row.distinct[:size] == 1) & (row.counts[:size] >= _LEAST_EVENTS) & (basis.constants[:size] == 0)
    for place in np.flatnonzero(now):
        if basis.commonest[place] ** row.counts[place] < 1e-9:
            yield Novelty(CONSTANT, int(place), 1.0, f"all values are the same, in the {period(row)}")


def _enough(count: int, total: float) -> bool:
    return count >= max(_LEAST_NEW, _LEAST_SHARE * total)
