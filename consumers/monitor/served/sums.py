"""Served groups of one window of examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.events import Example, Features
from schemas.profiles import ServedGroup
from schemas.target import Target


@dataclass(frozen=True)
class ServedRules:
    """Rules by which served answers are measured.

    Attributes
    ----------
    slices
        Returns an event's value by name of the slice.
    decided
        Returns the decision by which a model served, given its id and the broker's time of the prediction (ms).
    span
        Length of a window (ms): predictions are counted by windows of this length, for coverage.
    """

    target: Target
    span: int
    slices: Callable[[Features], Mapping[str, str]] = lambda features: {}
    decided: Callable[[str, int], str] | None = None


class ServedSums:
    """Sums of one window of examples.

    Parameters
    ----------
    state
        `Window.state` of the partition's previous window; empty for the first.
    """

    def __init__(self, rules: ServedRules, state: bytes = b"") -> None:
        self._rules = rules
        self._state = state
        self._labels = 0

    def add(self, examples: Sequence[Example], broker_times: Sequence[int]) -> None:
        """Add examples in the order of the log; `broker_times` (ms) are those of the examples."""
        self._labels += len(examples)

    def finish(self) -> tuple[list[ServedGroup], bytes]:
        """Return the groups, and the state for the partition's next window."""
        return [ServedGroup({}, self._labels, {})], self._state
