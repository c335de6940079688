"""Seeded streams of simulated hours, with and without a change, as windows of the profiles topic and as plain columns.

Features of five kinds: normal, heavy-tailed, rare categories, AR(1) with 0.9 (between events, and between hours) and
daily cycle. The columns are drawn at once (numpy) and made into windows of an hour, with fewer events than a live
stream would have: more events make every change easier to see, and do not change how often chance raises an alarm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from consumers.monitor.profiles.quantiles import knots_of, written
from schemas.profiles import DAY_MS, HOUR_MS, Numbers, Pairs, Profile, Window

EVENTS = 120
"""Events an hour."""
START_MS = 20_440 * 24 * HOUR_MS
POINTS = 65
CHANGED = "normal_0"
CHANGES = (
    "mean + 0.5 sd",
    "variance x 2",
    "category swap",
    "correlation flipped",
    "missing 0 to 5 %",
    "labels flipped",
)

Columns = dict[str, NDArray[Any]]


@dataclass
class Drawn:
    """Columns of a stream, each (hours, events); categories are whole numbers; NaN is missing."""

    numbers: Columns
    categories: Columns
    labels: NDArray[Any]
    hours: int
    seed: int
    named: Mapping[str, list[str]] = field(default_factory=dict)


def drawn(seed: int, hours: int, change: str | None = None, at: int = 0) -> Drawn:
    """Return a stream; a change happens at an hour."""
    random = np.random.default_rng([seed, 18])
    shape = (hours, EVENTS)
    numbers: Columns = {f"normal_{number}": random.normal(0, 1, shape) for number in range(7)}
    common = random.normal(0, 1, shape)
    numbers["normal_1"] = 0.6 * common + 0.8 * numbers["normal_1"]
    numbers["normal_2"] = 0.6 * common + 0.8 * numbers["normal_2"]
    numbers["normal_3"] = 100 + 5 * numbers["normal_3"]
    numbers["pareto"] = random.pareto(2.5, shape)
    numbers["lognormal"] = random.lognormal(0, 1.5, shape)
    numbers["student_3"] = random.standard_t(3, shape)
    steps = random.normal(0, 1, hours * EVENTS + 500)
    numbers["ar_events"] = lfilter([1.0], [1.0, -0.9], steps)[500:].reshape(shape)
    numbers["ar_hours"] = _slow(random, hours) + random.normal(0, 1, shape)
    numbers["ar_spread"] = np.exp(0.3 * _slow(random, hours)) * random.normal(0, 1, shape)
    day = 2 * np.pi * (np.arange(hours)[:, None] % 24) / 24
    numbers["cycle"] = np.sin(day) + random.normal(0, 1, shape)
    numbers["cycle_spread"] = (1 + 0.5 * np.sin(day)) * random.normal(0, 1, shape)
    numbers["whole"] = random.poisson(3, shape).astype(float)
    categories: Columns = {
        "rare": random.choice(5, shape, p=[0.7, 0.2, 0.09, 0.009, 0.001]),
        "zipf": np.minimum(random.zipf(1.5, shape), 2_000),
        "colour": random.choice(3, shape, p=[0.5, 0.3, 0.2]),
        "cycle_share": (random.random(shape) < 0.3 + 0.2 * np.sin(day)).astype(int),
    }
    labels = (random.random(shape) < 0.3).astype(int)
    made = Drawn(numbers, categories, labels, hours, seed)
    if change is not None:
        _CHANGES[change](made, at, random)
    return made


def _slow(random: np.random.Generator, hours: int) -> NDArray[Any]:
    """Return a value an hour, AR(1) with 0.9 and variance 1."""
    steps = random.normal(0, np.sqrt(1 - 0.81), hours + 100)
    found: NDArray[Any] = lfilter([1.0], [1.0, -0.9], steps)[100:, None]
    return found


def _more(made: Drawn, at: int, random: np.random.Generator) -> None:
    made.numbers[CHANGED][at:] += 0.5


def _wider(made: Drawn, at: int, random: np.random.Generator) -> None:
    made.numbers[CHANGED][at:] *= np.sqrt(2)


def _swapped(made: Drawn, at: int, random: np.random.Generator) -> None:
    later = made.categories["colour"][at:]
    made.categories["colour"][at:] = np.where(later == 0, 2, np.where(later == 2, 0, later))


def _flipped(made: Drawn, at: int, random: np.random.Generator) -> None:
    made.numbers["normal_2"][at:] *= -1


def _gone(made: Drawn, at: int, random: np.random.Generator) -> None:
    later = made.numbers[CHANGED][at:]
    later[random.random(later.shape) < 0.05] = np.nan


def _other_labels(made: Drawn, at: int, random: np.random.Generator) -> None:
    made.labels[at:] = 1 - made.labels[at:]


_CHANGES: Mapping[str, Callable[[Drawn, int, np.random.Generator], None]] = dict(
    zip(CHANGES, (_more, _wider, _swapped, _flipped, _gone, _other_labels), strict=True)
)


def windows(made: Drawn) -> Iterator[Window]:
    """Yield the windows of a stream, of predictions and of examples, hour by hour."""
    random = np.random.default_rng([made.seed, 19])
    pairs = _pairs(made.numbers)
    numbers = {name: _number_profiles(values, random) for name, values in made.numbers.items()}
    texts = {name: _category_profiles(values) for name, values in made.categories.items()}
    labels = _category_profiles(made.labels)
    for hour in range(made.hours):
        profiles = {f"feature:{name}": each[hour] for name, each in (numbers | texts).items()}
        yield window("predictions", hour, profiles, pairs[hour])
        yield window("examples", hour, {"label:value": labels[hour]}, None)


class Days:
    """Days of a stream, made from its columns at once: `merge` of the hours gives the same in fifty times as long."""

    def __init__(self, made: Drawn) -> None:
        days = made.hours // 24
        self._days = Drawn(
            {name: _by_day(each, days) for name, each in made.numbers.items()},
            {name: _by_day(each, days) for name, each in made.categories.items()},
            _by_day(made.labels, days),
            days,
            made.seed,
        )
        self._windows = {
            (each.kind, number // 2): msgspec.structs.replace(
                each, partition=-1, span=DAY_MS, start=START_MS + number // 2 * DAY_MS, events=24 * EVENTS
            )
            for number, each in enumerate(windows(self._days))
        }

    def merge(self, parts: Sequence[Window], span: int) -> Window:
        """Return the window of the day of these hours."""
        return self._windows[parts[0].kind, (parts[0].start - START_MS) // DAY_MS]


def _by_day(column: NDArray[Any], days: int) -> NDArray[Any]:
    return column[: days * 24].reshape(days, 24 * EVENTS)


def window(kind: str, hour: int, profiles: dict[str, Profile], pairs: Pairs | None, events: int = EVENTS) -> Window:
    """Return the window of an hour."""
    start = START_MS + hour * HOUR_MS
    return Window(
        kind=kind,
        topic=f"s.{kind}",
        partition=0,
        first_offset=hour * EVENTS,
        next_offset=(hour + 1) * EVENTS,
        start=start,
        span=HOUR_MS,
        first_time=start,
        last_time=start + HOUR_MS - 1,
        events=events,
        errors={},
        profiles=profiles,
        left_out=0,
        pairs=pairs,
        served=[],
    )


def _number_profiles(values: NDArray[Any], random: np.random.Generator) -> list[Profile]:
    hashes = np.cumsum(random.exponential(1, (len(values), 64)), axis=1) * ((1 << 63) / (values.shape[1] + 1))
    smallest = hashes.clip(0, (1 << 63) - 1025).astype(np.int64).tolist()
    in_order = np.sort(values, axis=1)
    missing = np.isnan(values).sum(axis=1).tolist()
    mean, squares = np.nanmean(values, axis=1), np.nanvar(values, axis=1)
    whole = bool((np.nan_to_num(values[:20]) % 1 == 0).all())
    found = []
    for hour, gone in enumerate(missing):
        count = values.shape[1] - gone
        if whole:
            points, weights = written(knots_of(in_order[hour, :count]))
        else:
            chosen, weights = _points(count)
            points = in_order[hour, chosen].tolist()
        numbers = Numbers(
            count,
            float(mean[hour]),
            float(squares[hour]) * count,
            float(in_order[hour, 0]),
            float(in_order[hour, count - 1]),
            points,
            weights,
        )
        kept = _hashes_of(map(int, set(points))) if whole else smallest[hour]
        found.append(Profile(gone, {"float": count}, numbers, {}, 0, kept, whole))
    return found


@functools.cache
def _points(count: int) -> tuple[NDArray[Any], list[int]]:
    """Return the places of the points among so many numbers in order, and their weights.

    The first is the least and the last the most of the numbers. The running sum of the weights is the number of numbers
    up to each point, as in a window of the monitor.
    """
    chosen = np.unique(np.linspace(0, count - 1, POINTS).astype(int))
    return chosen, np.diff(chosen, prepend=-1).tolist()


def _category_profiles(values: NDArray[Any]) -> list[Profile]:
    found = []
    for row in values:
        keys, counts = np.unique(row, return_counts=True)
        categories = {f"c{key}": int(count) for key, count in zip(keys, counts, strict=True)}
        hashes = _hashes_of(keys.tolist())
        found.append(Profile(0, {"str": len(row)}, None, categories, 0, hashes[:64], len(hashes) <= 64))
    return found


def _hashes_of(keys: Iterable[int]) -> list[int]:
    """Return the hashes of whole numbers, ascending, the same in every process."""
    return sorted((key * 0x9E3779B97F4A7C15 + 0x1234567) & ((1 << 63) - 1) for key in keys)


def _pairs(columns: Columns) -> list[Pairs]:
    names = sorted(columns)
    data = np.stack([columns[name] for name in names], axis=1)
    there = ~np.isnan(data)
    first, second = np.triu_indices(len(names), 1)
    left = [names[each] for each in first]
    right = [names[each] for each in second]
    found = []
    for hour in range(data.shape[0]):
        both = there[hour].all(axis=0)
        kept = data[hour][:, both]
        mean = kept.mean(axis=1)
        off = kept - mean[:, None]
        products = off @ off.T
        squares = np.diag(products)
        found.append(
            Pairs(
                left,
                right,
                [int(both.sum())] * len(first),
                mean[first].tolist(),
                mean[second].tolist(),
                squares[first].tolist(),
                squares[second].tolist(),
                products[first, second].tolist(),
            )
        )
    return found
