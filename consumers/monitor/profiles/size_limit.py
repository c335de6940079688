"""Bound of the size of a window's record: where all of it does not fit, everything is thinned evenly.

Each step halves the knots of numbers (down to 9), the hashes (down to 16), the categories and the pairs, until the
profiles fit into 800 KB; a fetch of a few windows stays small then. 500 features of numbers fit without a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from consumers.monitor.profiles.categories import MOST_CATEGORIES, cut
from consumers.monitor.profiles.distinct import MOST_HASHES
from consumers.monitor.profiles.pairs import MOST_PAIRS, merged_pairs
from consumers.monitor.profiles.quantiles import CELLS, knots_from, thinned, written
from schemas.profiles import Pairs, Profile

MOST_BYTES: Final = 800_000
_STEPS: Final = 6
_LEAST_CELLS: Final = 8
_LEAST_HASHES: Final = 16
_POINT: Final = 8 + 3  # bytes: a double, and its weight as a varint
_HASH: Final = 9
_COUNT: Final = 4
_PROFILE: Final = 100
_PAIR: Final = 7 * 8 + 4


def fitted(
    profiles: Mapping[str, Profile], pairs: Pairs | None, cells: int = CELLS
) -> tuple[dict[str, Profile], Pairs | None]:
    """Return profiles and pairs, thinned as far as a record needs; `cells` as they have now."""
    thinner = dict(profiles)
    for step in range(1, _STEPS + 1):
        if sum(_size(name, profile) for name, profile in thinner.items()) + _pairs_size(pairs) <= MOST_BYTES:
            break
        thinner = {
            name: _thinned(profile, step, max(_LEAST_CELLS, cells >> step)) for name, profile in profiles.items()
        }
        pairs = None if pairs is None else merged_pairs([pairs], MOST_PAIRS >> step)
    return thinner, pairs


def _size(name: str, profile: Profile) -> int:
    points = 0 if profile.numbers is None else len(profile.numbers.points)
    categories = sum(map(_bytes, profile.categories)) + _COUNT * len(profile.categories)
    return _PROFILE + _bytes(name) + points * _POINT + len(profile.hashes) * _HASH + categories


def _bytes(text: str) -> int:
    return 2 + (len(text) if text.isascii() else len(text.encode(errors="replace")))


def _pairs_size(pairs: Pairs | None) -> int:
    if pairs is None:
        return 0
    return len(pairs.first) * _PAIR + sum(map(_bytes, pairs.first)) + sum(map(_bytes, pairs.second))


def _thinned(profile: Profile, step: int, cells: int) -> Profile:
    numbers = profile.numbers
    if numbers is not None:
        points, weights = written(thinned(knots_from(numbers.points, numbers.weights), cells))
        numbers = replace(numbers, points=points, weights=weights)
    counts, rest = cut(profile.categories, profile.rest, MOST_CATEGORIES >> step)
    hashes = profile.hashes[: max(_LEAST_HASHES, MOST_HASHES >> step)]
    return replace(
        profile,
        numbers=numbers,
        categories=counts,
        rest=rest,
        hashes=hashes,
        hashes_are_all=profile.hashes_are_all and len(hashes) == len(profile.hashes),
    )
