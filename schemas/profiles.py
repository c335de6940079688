"""Records of the profiles topic: windows, each with the profile of every value that is watched.

A profile is named by its kind and its name: ``feature:amount``, ``answer:prediction``, ``answer:score`` (probability of
True, or of the predicted class), ``label:value``, ``loop:latency_ms``, ``loop:label_delay_ms``, ``loop:model_age_ms``,
``loop:version``, ``metric:orders``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas import codec

FEATURE: Final = "feature"
ANSWER: Final = "answer"
LABEL: Final = "label"
LOOP: Final = "loop"
METRIC: Final = "metric"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


class Numbers(msgspec.Struct, frozen=True, gc=False):
    """Finite numbers of a value: moments, extremes, and quantiles as weighted points.

    Attributes
    ----------
    squares
        Sum of squared differences from the mean.
    points, weights
        Knots of the cumulative distribution: ascending values, the first of them the least and the last the most, and
        how many numbers are above the value before and up to this one. So the running sum of the weights is the number
        of numbers up to each point, exactly; between two points they are taken as spread evenly. A value that occurs
        often is there twice: first with the numbers below it, then with those equal to it. The weights sum to `count`.
    mean_low
        What rounding left out of `mean`: the mean of 1e9 ± 1 has too few digits to merge variances by.
    """

    count: int
    mean: float
    squares: float
    least: float
    most: float
    points: list[float]
    weights: list[int]
    mean_low: float = 0.0


class Profile(msgspec.Struct, frozen=True, gc=False):
    """Distribution of one value over a window.

    Attributes
    ----------
    missing
        Number of events of the window in which it is absent or null.
    types
        Number of values by type: bool, int, float, str, bytes, vector; ``not finite`` for NaN and infinity.
    numbers
        `None` if there was no finite number.
    categories, rest
        Number of values by text, for texts and booleans, and the number of those that are not kept apart.
    hashes, hashes_are_all
        The smallest hashes of the distinct values, ascending, and whether these are all.
    """

    missing: int
    types: dict[str, int]
    numbers: Numbers | None
    categories: dict[str, int]
    rest: int
    hashes: list[int]
    hashes_are_all: bool


class Pairs(msgspec.Struct, frozen=True, gc=False):
    """Moments of pairs of numbers, over the events that have both; entry i of each list belongs to pair i.

    Attributes
    ----------
    products
        Sum of the products of both differences from their means.
    lows_first, lows_second
        What rounding left out of the means; may be empty, which is 0 for all.
    """

    first: list[str]
    second: list[str]
    counts: list[int]
    means_first: list[float]
    means_second: list[float]
    squares_first: list[float]
    squares_second: list[float]
    products: list[float]
    lows_first: list[float] = []
    lows_second: list[float] = []


class ServedGroup(msgspec.Struct, frozen=True, gc=False):
    """Sums of the metrics of served answers with a label, for all or for one group of them.

    Attributes
    ----------
    by
        Empty for all; otherwise ``epoch``, ``delay`` or ``slice:NAME``, with its value.
    labels
        Number of labelled answers.
    sums
        `consumers.model.metric_totals.Totals` in JSON, by source.
    """

    by: dict[str, str]
    labels: int
    sums: dict[str, str]


class Window(msgspec.Struct, frozen=True, gc=False):
    """Profiles of the records of one partition in a stretch of time; merged windows have partition and offsets -1.

    Attributes
    ----------
    kind
        Kind of the records: ``predictions``, ``examples`` or ``metrics``.
    first_offset, next_offset
        The window holds the records from the first up to, and without, the second.
    start, span
        The broker's time (ms), a multiple of the length (ms). Several windows may have the same.
    first_time, last_time
        The broker's times (ms) of the first and the last record.
    errors
        Number of events without an answer, by code.
    profiles
        By kind and name, such as ``feature:amount``.
    left_out
        Number of values of features beyond those that are watched.
    state
        Of examples: JSON that the partition's next window goes on with. Of predictions: the versions that answered, by
        partition of the events (`consumers.monitor.answered_versions`). Else, and of merged windows, empty.
    """

    kind: str
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    start: int
    span: int
    first_time: int
    last_time: int
    events: int
    errors: dict[str, int]
    profiles: dict[str, Profile]
    left_out: int
    pairs: Pairs | None
    served: list[ServedGroup]
    state: bytes = b""

    @property
    def key(self) -> bytes:
        """Key of its record: a window that is written again, after a kill or a replay, has the same."""
        place = f"{self.partition}/{self.first_offset}" if self.partition >= 0 else "merged"
        return f"{self.span}/{self.kind}/{self.topic}/{place}/{self.start}".encode()

    def encode(self) -> bytes:
        """Return header and body. Raises CodecError if a value does not fit the schema."""
        return codec.WINDOW.encode(msgspec.to_builtins(self, builtin_types=(bytes,)))


def place_of(key: bytes) -> tuple[str, int] | None:
    """Return the topic and the start (ms) of the window with this key, `None` if it is no key of a window.

    >>> place_of(b"300000/predictions/s.predictions/0/17/1700000100000")
    ('s.predictions', 1700000100000)
    """
    parts = key.decode(errors="replace").split("/")
    return (parts[2], int(parts[-1])) if len(parts) > 4 and parts[-1].isdigit() else None


def read_window(data: bytes) -> Window:
    """Read a record of the profiles topic. Raises CodecError if it is not one."""
    fields: dict[str, Any] = codec.WINDOW.decode(data)
    profiles = {
        name: Profile(**(each | {"numbers": None if each["numbers"] is None else Numbers(**each["numbers"])}))
        for name, each in fields.pop("profiles").items()
    }
    pairs, served = fields.pop("pairs"), fields.pop("served")
    return Window(
        profiles=profiles,
        pairs=None if pairs is None else Pairs(**pairs),
        served=[ServedGroup(**each) for each in served],
        **fields,
    )
