"""Values of one model or baseline with intervals, its learning curve, and its differences from others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from consumers.model.metric_totals import NOTHING, Totals, difference
from millstream.evaluation.findings import Curve, Difference, Kind, Result, Verdict
from millstream.evaluation.intervals import Estimate, Values, coarse, estimate, estimate_difference

ValuesOf: TypeAlias = Callable[[Mapping[tuple[Any, ...], float]], Values]
"""Returns the metrics' values over totals."""

_RECENT: Final = 10  # a part of so many


@dataclass(frozen=True)
class Line:
    """One result on its way into a report.

    Attributes
    ----------
    counted
        Number of rows with an answer.
    states
        Totals at each block's end.
    metrics
        Values over all rows.
    left_out
        Values over all rows but those of one block, for each block.
    """

    name: str
    kind: Kind
    model: str | None
    counted: int
    states: Sequence[Totals]
    metrics: dict[str, Estimate]
    left_out: Sequence[Values]
    values_of: ValuesOf

    @classmethod
    def make(
        cls,
        name: str,
        kind: Kind,
        model: str | None,
        counted: int,
        states: Sequence[Totals],
        *,
        of: ValuesOf,
        whole: Values,
    ) -> Line:
        """Return a line; `whole` has its values over all rows."""
        left_out = _without_blocks(coarse(states), of)
        metrics = {each: estimate(value, [values.get(each) for values in left_out]) for each, value in whole.items()}
        return cls(name, kind, model, counted, states, metrics, left_out, of)

    @property
    def result(self) -> Result:
        """Return it as a result of a report."""
        return Result(self.name, self.kind, self.model, self.counted, self.metrics)

    def minus(self, other: Line, metric: str) -> Estimate:
        """Return the difference of two lines in a metric, with its interval."""
        return estimate_difference(
            self.metrics[metric],
            other.metrics[metric],
            [values.get(metric) for values in self.left_out],
            [values.get(metric) for values in other.left_out],
        )

    def curve(self, ends: Sequence[int]) -> Curve:
        """Return its learning curve over rows at the blocks' ends."""
        back = max(1, len(ends) // _RECENT)
        whole = [self.values_of(state) for state in self.states]
        before: list[Any] = [*[NOTHING] * back, *self.states]
        recent = [self.values_of(difference(now, then)) for now, then in zip(self.states, before, strict=False)]
        names = list(whole[0])
        return Curve(
            self.name,
            self.kind,
            list(ends),
            {name: [values[name] for values in whole] for name in names},
            {name: [values[name] for values in recent] for name in names},
        )


def differences(pairs: Iterable[tuple[Line, Line]], bigger: Mapping[str, bool]) -> list[Difference]:
    """Return the difference of each pair of lines in each metric; `bigger` says where a larger value is better."""
    found = []
    for ours, theirs in pairs:
        apart = {name: ours.minus(theirs, name) for name in bigger}
        verdicts = {name: verdict(each, bigger[name]) for name, each in apart.items()}
        found.append(Difference(ours.name, theirs.name, apart, verdicts))
    return found


def verdict(apart: Estimate, bigger_is_better: bool) -> Verdict:
    """Return what a difference means."""
    if apart.low is None or apart.high is None:
        return "unknown"
    if apart.low <= 0 <= apart.high:
        return "no clear difference"
    return "better" if (apart.low > 0) == bigger_is_better else "worse"


def _without_blocks(states: Sequence[Totals], of: ValuesOf) -> list[Values]:
    edges: list[Mapping[tuple[Any, ...], float]] = [NOTHING, *states]
    blocks = (difference(later, earlier) for earlier, later in itertools.pairwise(edges))
    return [of(difference(edges[-1], block)) for block in blocks]
