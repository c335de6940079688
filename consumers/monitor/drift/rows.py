"""Rows: merged windows as arrays, compact enough to keep thousands of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from consumers.monitor.profiles import correlations, distinct, quantiles
from consumers.monitor.profiles.categories import most_frequent
from schemas.profiles import ANSWER, LABEL, LOOP, Window

Floats: TypeAlias = NDArray[np.float64]

RANKS: Final = (np.arange(21) + 0.5) / 21
"""Ranks of the quantiles that a row keeps of each number."""

MOST_CATEGORIES: Final = 50
"""Categories of a value that a row keeps apart, those with the most events."""

NUMBER: Final = "number"

MOST_SUBJECTS: Final = 2_000
"""Features and metrics of one topic that are judged: the first that were seen, in the order of their windows."""

MOST_PAIRS: Final = 2_000
"""Pairs of one topic that are judged, the first that were seen."""

_ALWAYS: Final = (f"{ANSWER}:", f"{LABEL}:")


class Names:
    """Places of subjects and of pairs in the arrays of rows; places are never given anew.

    So a stream whose features always have other names would need ever more memory: `MOST_SUBJECTS` features and
    metrics, and `MOST_PAIRS` pairs, have a place. Further ones have none, and are not judged. Answers and labels always
    have one.
    """

    def __init__(self) -> None:
        self.subjects: dict[str, int] = {}
        self.pairs: dict[tuple[str, str], int] = {}

    def place(self, subject: str) -> int | None:
        """Return the place of a subject, a new one if it was not seen before; `None` if there are too many."""
        if subject not in self.subjects and len(self.subjects) >= MOST_SUBJECTS and not subject.startswith(_ALWAYS):
            return None
        return self.subjects.setdefault(subject, len(self.subjects))

    def pair_place(self, pair: tuple[str, str]) -> int | None:
        """Return the place of a pair; `None` if there are too many."""
        if pair not in self.pairs and len(self.pairs) >= MOST_PAIRS:
            return None
        return self.pairs.setdefault(pair, len(self.pairs))


@dataclass(frozen=True)
class Row:
    """Summary of a bucket: entry i of each array belongs to the subject, or the pair, with place i.

    Attributes
    ----------
    counts
        Events with any value, by subject; NaN if the bucket has no profile of it.
    numbers, mean, deviation, least, most
        Number of finite numbers, their moments and extremes; NaN without numbers.
    quantiles
        At `RANKS`, by subject.
    types, categories
        Number of values by type and by category, by place.
    correlations, pair_counts
        Fisher's z of each pair's correlation, and the number of events with both.
    """

    start: int
    span: int
    events: int
    errors: int
    counts: Floats
    missing: Floats
    numbers: Floats
    mean: Floats
    deviation: Floats
    least: Floats
    most: Floats
    quantiles: Floats
    distinct: Floats
    correlations: NDArray[np.float32]
    pair_counts: NDArray[np.float32]
    types: dict[int, dict[str, int]] = field(default_factory=dict)
    categories: dict[int, dict[str, int]] = field(default_factory=dict)


def row_of(window: Window, names: Names) -> Row:
    """Return the row of a window. Values of the loop are left out: rules watch them, and they change with the load."""
    watched = [
        (place, profile)
        for name, profile in window.profiles.items()
        if not name.startswith(f"{LOOP}:") and (place := names.place(name)) is not None
    ]
    size = len(names.subjects)
    table = np.full((8, size), np.nan)
    at_ranks = np.full((size, len(RANKS)), np.nan)
    types: dict[int, dict[str, int]] = {}
    categories: dict[int, dict[str, int]] = {}
    for place, profile in watched:
        types[place] = _types(profile.types)
        table[:3, place] = sum(profile.types.values()), profile.missing, distinct(profile)
        if profile.numbers is not None and profile.numbers.count > 0:
            numbers = profile.numbers
            table[3:, place] = (
                numbers.count,
                numbers.mean,
                (numbers.squares / max(numbers.count - 1, 1)) ** 0.5,
                numbers.least,
                numbers.most,
            )
            at_ranks[place] = quantiles(numbers, RANKS)
        if profile.categories:
            categories[place] = most_frequent(profile.categories, MOST_CATEGORIES)
    fisher, pair_counts = _correlations(window, names)
    counts, missing, different, numbers_, mean, deviation, least, most = table
    return Row(
        window.start,
        window.span,
        window.events,
        sum(window.errors.values()),
        counts,
        missing,
        numbers_,
        mean,
        deviation,
        least,
        most,
        at_ranks,
        different,
        fisher,
        pair_counts,
        types,
        categories,
    )


def _types(types: Mapping[str, int]) -> dict[str, int]:
    """Return counts by type; whole numbers and others are one type: a producer that sends 1 for 1.0 is no drift."""
    if "int" not in types and "float" not in types:
        return dict(types)
    rest = {name: count for name, count in types.items() if name not in {"int", "float"}}
    return {NUMBER: types.get("int", 0) + types.get("float", 0), **rest}


def _correlations(window: Window, names: Names) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Fisher's z of each pair's correlation, NaN without one, and the number of events behind it."""
    found = [
        (place, value, count)
        for pair, (value, count) in correlations(window.pairs).items()
        if (place := names.pair_place(pair)) is not None
    ]
    values = np.full(len(names.pairs), np.nan, dtype=np.float32)
    counts = np.zeros(len(names.pairs), dtype=np.float32)
    if found:
        places, known, numbers = (np.asarray(each) for each in zip(*found, strict=True))
        values[places] = np.arctanh(np.clip(known, -0.999999, 0.999999))
        counts[places] = numbers
    return values, counts


def stack(arrays: Iterable[NDArray[np.floating]], size: int) -> Floats:
    """Return arrays of different lengths as the rows of one, filled with NaN and cut to `size`."""
    made = list(arrays)
    if len(made) == 1 and len(made[0]) == size:
        return np.asarray(made[0], dtype=np.float64)[None]
    shape = (len(made), size, *(made[0].shape[1:] if made else ()))
    found = np.full(shape, np.nan)
    for number, each in enumerate(made):
        found[number, : min(size, len(each))] = each[:size]
    return found


@dataclass(frozen=True)
class Rows:
    """Rows as arrays whose first axis is time; only the first `subjects` and `pairs` places."""

    rows: Sequence[Row]
    subjects: int
    pairs: int

    def of(self, name: str) -> Floats:
        """Return the attribute of all rows, in an array of (rows, subjects, ...)."""
        return stack((getattr(each, name) for each in self.rows), self.subjects)

    def of_pairs(self, name: str) -> Floats:
        """Return the attribute of all rows, in an array of (rows, pairs)."""
        return stack((getattr(each, name) for each in self.rows), self.pairs)

    def shares(self, name: str, columns: Sequence[tuple[int, str]]) -> tuple[Floats, Floats]:
        """Return counts of categories or types, and those of all values of their subjects, both (rows, columns)."""
        counts = np.empty((len(self.rows), len(columns)))
        for number, row in enumerate(self.rows):
            kept: dict[int, dict[str, int]] = getattr(row, name)
            counts[number] = [kept.get(place, {}).get(key, 0) for place, key in columns]
        totals = self.of("counts")
        return counts, totals[:, [place for place, _ in columns]] if columns else np.empty_like(counts)
