"""Profiles of one window, made from the values of its records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, TypeAlias

import numpy as np

from consumers.monitor.profiles.column import Column, PrivateColumn, Values
from consumers.monitor.profiles.moments import Floats
from consumers.monitor.profiles.pairs import PairMoments
from consumers.monitor.profiles.size_limit import fitted
from schemas.events import Features, FeatureValue
from schemas.profiles import FEATURE, Pairs, Profile

Value: TypeAlias = FeatureValue

MOST_FEATURES: Final = 500
_BLOCK: Final = 1024
_MOST_CATEGORIES: Final = 100_000
_LEAST_CATEGORIES: Final = 400
_MOST_OTHERS: Final = 10_000


class WindowProfiles:
    """Profiles of an open window. How its records are divided among the calls changes nothing, not even the last digit.

    Values are taken in blocks of 1,024 events, so that sums are always made in the same order. Memory is bounded: for
    each feature 64 KB of numbers and 50 KB of their quantiles, 64 hashes, and 100,000 categories of all features
    together (20 MB; at least 400 of each feature); for pairs 160 KB; and the rows of one block. With 500 features of
    numbers that is 60 MB, however many events come. A window of 10,000 events and 10 texts needs no such bound.

    Parameters
    ----------
    most_features
        Largest number of features with a profile: first those of `pairs`, then the declared ones, then by name. Names
        are compared, not times, so that neither the order of the events nor the grouping of windows decides.
    pairs
        Pairs of features whose moments are kept; `None`: all pairs of the first 50 features by name that have numbers.
    declared
        Features of the contract: they have a profile also if no event has them.
    private
        Features of which only counts and keyed hashes are kept: no numbers, no texts, no pairs.
    hash_key
        Key of the hashes of private features, at most 64 bytes; see `consumers.monitor.profiles.distinct`.
    """

    def __init__(
        self,
        most_features: int = MOST_FEATURES,
        pairs: Sequence[tuple[str, str]] | None = None,
        *,
        declared: Collection[str] = (),
        private: Collection[str] = (),
        hash_key: bytes = b"",
    ) -> None:
        self._most = most_features
        self._in_pairs = frozenset(chain.from_iterable(pairs or ()))
        self._private = frozenset(private)
        self._hash_key = hash_key
        self._declared = frozenset(declared)
        self._pairs = PairMoments(pairs, self._rank)
        self._features: dict[str, Column | PrivateColumn] = {}
        self._left_out = 0
        self._is_full = False
        self._others: dict[str, Column] = {}
        self._rows: list[Features] = []
        self._values: dict[str, list[FeatureValue]] = {}
        self._watch(sorted(self._declared))

    def add_features(self, rows: Sequence[Features]) -> None:
        """Take the features of further events, in the order of the log. The rows must not change afterwards."""
        self._rows.extend(rows)
        done = len(self._rows) - len(self._rows) % _BLOCK
        for at in range(0, done, _BLOCK):
            self._take_rows(self._rows[at : at + _BLOCK])
        del self._rows[:done]

    def add(self, key: str, values: Sequence[Value]) -> None:
        """Take further values of the profile `key`, such as ``answer:prediction``; None is a missing value."""
        waiting = self._values.setdefault(key, [])
        waiting.extend(values)
        done = len(waiting) - len(waiting) % _BLOCK
        for at in range(0, done, _BLOCK):
            self._take_values(key, waiting[at : at + _BLOCK])
        del waiting[:done]

    def finish(self, events: int) -> tuple[dict[str, Profile], Pairs | None, int]:
        """Return the profiles by kind and name, the moments of pairs, and the number of values left out.

        They fit into a record (`consumers.monitor.profiles.size_limit`). Nothing can be added afterwards.

        Parameters
        ----------
        events
            Number of events of the window; those without a value of a profile count as missing there.
        """
        if self._rows:
            self._take_rows(self._rows)
        for key, waiting in self._values.items():
            self._take_values(key, waiting)
        columns: dict[str, Column | PrivateColumn] = {
            f"{FEATURE}:{name}": self._features[name] for name in sorted(self._features)
        }
        columns |= {key: self._others[key] for key in sorted(self._others)}
        profiles = {key: column.written(events) for key, column in columns.items()}
        return *fitted(profiles, self._pairs.written()), self._left_out

    def _take_values(self, key: str, values: Values) -> None:
        column = self._others.get(key)
        if column is None:
            column = self._others[key] = Column()
        column.add(values, _MOST_OTHERS)

    def _take_rows(self, rows: Sequence[Features]) -> None:
        """Take one block of events."""
        names = tuple(rows[0])
        if len(names) > 1 and set(map(len, rows)) == {len(names)}:
            get = itemgetter(*names)
            try:
                flat = list(chain.from_iterable(map(get, rows)))
            except KeyError:
                pass
            else:
                self._take_table(names, flat)
                return
        names = tuple(dict.fromkeys(chain.from_iterable(rows)))
        self._watch(names)
        watched = [name for name in names if name in self._features]
        columns = {name: [row.get(name) for row in rows] for name in watched}
        if self._is_full:
            self._left_out += sum(len(row) - list(row.values()).count(None) for row in rows)
            self._left_out -= sum(len(column) - column.count(None) for column in columns.values())
        self._take_columns(columns)

    def _take_table(self, names: Sequence[str], flat: list[FeatureValue]) -> None:
        """Take events that all have the same names; `flat` has their values event by event."""
        self._watch(names)
        size = len(names)
        if set(map(type, flat)) == {float} and not self._is_full and self._private.isdisjoint(names):
            table = np.array(flat, np.float64).reshape(-1, size).T
            found = {}
            for name, numbers in zip(names, np.ascontiguousarray(table), strict=True):
                column = self._features[name]
                assert isinstance(column, Column)  # noqa: S101 - none of them is private
                found[name] = column.add_floats(numbers)
            self._add_pairs(found)
            return
        columns = {name: flat[place::size] for place, name in enumerate(names) if name in self._features}
        if self._is_full:
            self._left_out += len(flat) - flat.count(None)
            self._left_out -= sum(len(column) - column.count(None) for column in columns.values())
        self._take_columns(columns)

    def _take_columns(self, columns: Mapping[str, Values]) -> None:
        most = self._most_categories()
        self._add_pairs({name: self._features[name].add(values, most) for name, values in columns.items()})

    def _add_pairs(self, columns: Mapping[str, Floats | None]) -> None:
        self._pairs.add({name: numbers for name, numbers in columns.items() if numbers is not None})

    def _watch(self, names: Iterable[str]) -> None:
        """Make profiles for new names; beyond the largest number, the last by rank are given up and counted."""
        new = [name for name in names if name not in self._features]
        if not new:
            return
        if len(self._features) + len(new) > self._most:
            self._is_full = True
            kept = frozenset(sorted(chain(self._features, new), key=self._rank)[: self._most])
            for name in self._features.keys() - kept:
                self._left_out += self._features.pop(name).present
                self._pairs.leave_out(name)
            new = [name for name in new if name in kept]
        for name in new:
            self._features[name] = PrivateColumn(self._hash_key) if name in self._private else Column()

    def _rank(self, name: str) -> tuple[bool, bool, str]:
        return name not in self._in_pairs, name not in self._declared, name

    def _most_categories(self) -> int:
        """Return the number of categories that each feature may have in memory."""
        columns = sum(column.categories > 0 for column in self._features.values())
        return max(_LEAST_CATEGORIES, _MOST_CATEGORIES // max(columns, 1))
