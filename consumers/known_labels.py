"""What was known when: the two baselines a model has to beat, under the delay that it had itself.

On Elec2 "the last label" scores 85.3 % where labels come at once, and 63.6 % where they come a day late.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

from consumers.river_model import NO_ANSWER, Answer
from schemas.events import Scalar

_MOST: Final = 512
_KEPT_WHOLE: Final = 256


class KnownLabels:
    """The labels that had come by a moment: the last one, and how often each, or their mean.

    The newest 256 moments are kept one by one; older ones ever more coarsely, never later than they were,
    so a baseline may know a little less than it could, and never more.
    """

    def __init__(self, numeric: bool) -> None:
        self._numeric = numeric
        self._times: list[int] = []
        self._last: list[Scalar] = []
        self._sums: list[tuple[float, ...]] = []
        self._order: list[Scalar] = []

    def add(self, time: int, label: Scalar) -> None:
        """Take in a label that came at `time` (ms); one that comes out of order counts as coming now."""
        before = self._sums[-1] if self._sums else ()
        sums = self._summed(before, label)
        if self._times and time <= self._times[-1]:
            self._last[-1], self._sums[-1] = label, sums
            return
        self._times.append(time)
        self._last.append(label)
        self._sums.append(sums)
        if len(self._times) > _MOST:
            self._thin()

    def _summed(self, before: tuple[float, ...], label: Scalar) -> tuple[float, ...]:
        if self._numeric:
            count, total = before or (0.0, 0.0)
            return (count + 1, total + float(label))
        if label not in self._order:
            self._order.append(label)
        at = self._order.index(label)
        counts = list(before) + [0.0] * (len(self._order) - len(before))
        counts[at] += 1
        return tuple(counts)

    def _thin(self) -> None:
        cut = len(self._times) - _KEPT_WHOLE
        self._times[:cut] = self._times[:cut:2]
        self._last[:cut] = self._last[:cut:2]
        self._sums[:cut] = self._sums[:cut:2]

    def answers_at(self, time: int) -> tuple[Answer, Answer]:
        """Return what "the last label" and "as often as so far" would have answered at `time` (ms)."""
        at = bisect_right(self._times, time) - 1
        if at < 0:
            return NO_ANSWER, NO_ANSWER
        last, sums = self._last[at], self._sums[at]
        if self._numeric:
            return Answer(last, None), Answer(sums[1] / sums[0], None)
        total = sum(sums)
        shares: dict[Scalar, float] = {label: count / total for label, count in zip(self._order, sums, strict=False)}
        return Answer(last, {last: 1.0}), Answer(max(shares, key=lambda label: shares[label]), shares)

    def dump(self) -> tuple[Any, ...]:
        """Return the state as plain values."""
        return self._numeric, self._times, self._last, self._sums, self._order

    @classmethod
    def load(cls, dumped: tuple[Any, ...]) -> KnownLabels:
        """Return labels as they were dumped."""
        known = cls(dumped[0])
        known._times, known._last, known._sums, known._order = (list(part) for part in dumped[1:])
        return known
