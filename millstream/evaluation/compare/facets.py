"""Facets of compared events: the stream's slices, the delay of the label, the hour of prediction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from millstream.stream.slices import SliceValues
from schemas.duration_text import spoken

By = Literal["slice", "delay", "hour"]
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
AGES_MS: Final = (60_000, 600_000, HOUR_MS, 6 * HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
"""Ages at which labels are counted, and bounds of the delays."""
NO_LABEL: Final = "no label in time"


class Labelled(NamedTuple):
    """The parts of a labelled event that say into which slices it belongs.

    Attributes
    ----------
    predicted_ms
        The broker's time of the prediction.
    delay_ms
        From the prediction to the label, by the broker's times; `None` if the label stands for a missing one.
    """

    predicted_ms: int
    delay_ms: int | None
    slices: dict[str, str]


@dataclass(frozen=True)
class Facet:
    """One way to slice events.

    Attributes
    ----------
    key
        Returns an event's slice; `None` if it is in none.
    order
        All slices in the order to show them; empty: the largest first.
    """

    name: str
    key: Callable[[Labelled], str | None]
    order: tuple[str, ...] = field(default=())


def facets_of(by: By | None, slices: Iterable[str]) -> list[Facet]:
    """Return the facets that `--by` means; `slices` are the names of the stream's own."""
    if by == "slice":
        return [Facet(name, _sliced(name)) for name in slices]
    if by == "delay":
        return [Facet("delay", _delay, (*_DELAYS, NO_LABEL))]
    return [Facet("hour", _hour, tuple(map(_hour_name, range(24))))] if by == "hour" else []


def _sliced(name: str) -> Callable[[Labelled], str | None]:
    values = SliceValues()

    def key(event: Labelled) -> str | None:
        value = event.slices.get(name)
        return None if value is None else f"{name}: {values.kept(name, value)}"

    return key


_DELAYS: Final = (
    f"up to {spoken(AGES_MS[0])}",
    *(f"{spoken(low)} to {spoken(high)}" for low, high in pairwise(AGES_MS)),
    f"above {spoken(AGES_MS[-1])}",
)


def _delay(event: Labelled) -> str:
    return NO_LABEL if event.delay_ms is None else _DELAYS[bisect_left(AGES_MS, event.delay_ms)]


def _hour(event: Labelled) -> str:
    return _hour_name(event.predicted_ms // HOUR_MS % 24)


def _hour_name(hour: int) -> str:
    return f"{hour:02}:00 UTC"
