"""Counts of texts and booleans: the most frequent are kept apart, the rest is counted together.

A window is exact until it has more categories than fit (see `Categories`). A record holds the 200 most frequent, and
merged windows are cut to 200 in the same way. A category that is not among the 200 of one part counts there as rest, so
its count in the whole is too low by at most 0.5 % of that part's values. Kept counts and rest always sum to all values.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.profiles import Profile

MOST_CATEGORIES: Final = 200
_MOST_CHARACTERS: Final = 64
_DIGITS: Final = 16


def category(text: str) -> str:
    """Return a text as a category: as it is, or its beginning and a hash if it has more than 64 characters.

    >>> category("blue"), len(category("x" * 1000))
    ('blue', 64)
    """
    if len(text) <= _MOST_CHARACTERS:
        return text
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=_DIGITS // 2).hexdigest()
    return f"{text[: _MOST_CHARACTERS - _DIGITS - 1]}…{digest}"


def most_frequent(counts: dict[str, int], most: int) -> dict[str, int]:
    """Return the most frequent, in this order; equally frequent ones by name.

    >>> most_frequent({"c": 1, "b": 2, "a": 1}, 2)
    {'b': 2, 'a': 1}
    """
    return dict(sorted(_kept(counts, most).items(), key=lambda item: (-item[1], item[0])))


def _kept(counts: dict[str, int], most: int) -> dict[str, int]:
    """Return the most frequent in any order."""
    if len(counts) <= most:
        return counts
    # Most are as rare as the last that is kept; only these, and by name alone, are put in order.
    last = sorted(counts.values(), reverse=True)[most - 1]
    kept = {name: count for name, count in counts.items() if count > last}
    rare = sorted(name for name, count in counts.items() if count == last)
    return kept | dict.fromkeys(rare[: most - len(kept)], last)


class Categories:
    """Counts of the categories of one value in an open window.

    Attributes
    ----------
    counts, rest
        Number of values by category, and of those of categories that were given up for want of room.
    """

    __slots__ = ("counts", "rest")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.rest = 0

    def add(self, counts: Mapping[str, int], most: int) -> None:
        """Take the counts of further values; with more than `most` categories, only half as many are kept."""
        kept = self.counts
        for name, count in counts.items():
            kept[name] = kept.get(name, 0) + count
        if len(kept) > most:
            self.counts = _kept(kept, most // 2)
            self.rest += sum(kept.values()) - sum(self.counts.values())

    def written(self, most: int = MOST_CATEGORIES) -> tuple[dict[str, int], int]:
        """Return the counts of the most frequent, and the number of other values."""
        return cut(self.counts, self.rest, most)


def cut(counts: dict[str, int], rest: int, most: int) -> tuple[dict[str, int], int]:
    """Return the counts of the most frequent, and the number of other values, `rest` among them."""
    kept = most_frequent(counts, most)
    return kept, rest + sum(counts.values()) - sum(kept.values())


def merged_categories(profiles: Iterable[Profile], most: int = MOST_CATEGORIES) -> tuple[dict[str, int], int]:
    """Return the counts of several profiles together, and the number of values that are not kept apart."""
    counts: Counter[str] = Counter()
    rest = 0
    for each in profiles:
        counts.update(each.categories)
        rest += each.rest
    return cut(counts, rest, most)
