"""Profiles of one window, made from the values of its records."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np

from consumers.monitor.profiles.distinct import HASHES
from schemas.events import Features, FeatureValue
from schemas.profiles import FEATURE, Numbers, Pairs, Profile

Value: TypeAlias = FeatureValue


class WindowProfiles:
    """Profiles of an open window. How the records are divided among the calls changes nothing.

    Parameters
    ----------
    most_features
        Largest number of features with a profile: the declared ones first, then the first by name.
    pairs
        Pairs of features whose moments are kept; `None`: all pairs of the first 50 number features by name.
    declared
        Features that are in the contract.
    private
        Features of which only hashes and counts are kept: no numbers, no texts.
    hash_key
        Key of the hashes of private features, at most 64 bytes.
    """

    def __init__(
        self,
        most_features: int = 500,
        pairs: Sequence[tuple[str, str]] | None = None,
        *,
        declared: Collection[str] = (),
        private: Collection[str] = (),
        hash_key: bytes = b"",
    ) -> None:
        self._most = most_features
        self._named = pairs
        self._declared = list(declared)
        self._private = frozenset(private)
        self._key = hash_key
        self._rows: list[Features] = []
        self._columns: dict[str, list[Value]] = {}

    def add_features(self, rows: Sequence[Features]) -> None:
        """Take the features of further events, in the order of the log. The rows must not change afterwards."""
        self._rows.extend(rows)

    def add(self, key: str, values: Sequence[Value]) -> None:
        """Take further values of the profile `key`, such as ``answer:prediction``; None is a missing value."""
        self._columns.setdefault(key, []).extend(values)

    def finish(self, events: int) -> tuple[dict[str, Profile], Pairs | None, int]:
        """Return the profiles by kind and name, the moments of pairs, and the number of values left out.

        Parameters
        ----------
        events
            Number of events of the window; those without a value of a profile count as missing there.
        """
        names = [*dict.fromkeys([*self._declared, *sorted({name for row in self._rows for name in row})])]
        kept, beyond = names[: self._most], frozenset(names[self._most :])
        columns: dict[str, list[Value]] = {
            f"{FEATURE}:{name}": [row.get(name) for row in self._rows] for name in kept if name not in self._private
        }
        profiles = {name: _profile(values, events) for name, values in (columns | self._columns).items()}
        left_out = sum(value is not None for row in self._rows for name, value in row.items() if name in beyond)
        return profiles, self._pairs(), left_out

    def _pairs(self) -> Pairs | None:
        names = sorted({name for row in self._rows for name, value in row.items() if _is_number(value)})[:50]
        wanted = list(self._named) if self._named is not None else list(combinations(names, 2))
        found = Pairs([], [], [], [], [], [], [], [])
        for first, second in wanted:
            both = [
                (float(row[first]), float(row[second]))  # type: ignore[arg-type]
                for row in self._rows
                if _is_number(row.get(first)) and _is_number(row.get(second))
            ]
            if both:
                x, y = np.array(both).T
                dx, dy = x - x.mean(), y - y.mean()
                entry = (first, second, len(both), float(x.mean()), float(y.mean()))
                sums = (float(dx @ dx), float(dy @ dy), float(dx @ dy))
                for name, value in zip(Pairs.__struct_fields__, (*entry, *sums), strict=False):
                    getattr(found, name).append(value)
        return found if found.first else None


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _profile(values: Sequence[Value], events: int) -> Profile:
    present = [value for value in values if value is not None]
    numbers = np.sort([float(value) for value in present if _is_number(value)])  # type: ignore[arg-type]
    categories = Counter(str(value)[:64] for value in present if isinstance(value, bool | str))
    kept = dict(sorted(categories.items(), key=lambda item: (-item[1], item[0]))[:200])
    hashes = sorted(
        {int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "big") >> 1 for value in present}
    )
    types = Counter(
        "not finite" if isinstance(value, float) and not math.isfinite(value) else type(value).__name__
        for value in present
    )
    return Profile(
        missing=max(0, events - len(present)),
        types={("vector" if name == "list" else name): count for name, count in types.items()},
        numbers=_numbers(numbers) if len(numbers) else None,
        categories=kept,
        rest=sum(categories.values()) - sum(kept.values()),
        hashes=hashes[:HASHES],
        hashes_are_all=len(hashes) <= HASHES,
    )


def _numbers(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Numbers:
    count = len(numbers)
    places = np.unique(np.linspace(0, count - 1, 65).round().astype(int))
    mean = float(numbers.mean())
    return Numbers(
        count=count,
        mean=mean,
        squares=float(((numbers - mean) ** 2).sum()),
        least=float(numbers[0]),
        most=float(numbers[-1]),
        points=numbers[places].tolist(),
        weights=np.diff(places, prepend=-1).tolist(),
    )
