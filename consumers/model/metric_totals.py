"""Additive totals of River's metrics, and the metrics' values over any stretch of examples.

A metric's state after n examples is a handful of sums: cells of a confusion matrix, bins of a ROC curve, a count and a
sum of losses. The difference of two states is the stretch between them, so values over stretches, and over all but one
stretch, cost nothing while examples are measured. A metric of the user's own has no such sums, and no values here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from river import metrics as river_metrics
from river.metrics.base import MeanMetric

from consumers.model.tallies import Tallies, share_in_bin

Totals: TypeAlias = dict[tuple[Any, ...], float]
"""Sums by kind, place of the metric (-1 for all confusion matrices) and what is counted."""

_MATRICES: Final = -1
NOTHING: Final[Mapping[tuple[Any, ...], float]] = {}


def totals_of(tallies: Tallies) -> Totals:
    """Return the sums of all examples so far. Must come before `Tallies.values`, which hands the counts on."""
    totals: Totals = {("decided",): tallies.decided, ("shared",): tallies.shared}
    totals |= {("cell", _MATRICES, truth, said): count for (truth, said), count in tallies.cells.items()}
    for place, bins in tallies.bins.items():
        totals |= {("bin", place, truth, below): count for (truth, below), count in bins.items()}
    for place, metric in enumerate(tallies.metrics):
        if isinstance(metric, MeanMetric):
            totals["n", place], totals["sum", place] = metric._mean.n, metric._mean.n * metric._mean.get()
        elif type(metric) is river_metrics.R2:
            count, mean = metric._y_var.mean.n, metric._y_var.mean.get()
            totals["n", place], totals["sum", place] = count, count * mean
            totals["squares", place] = max(count - 1, 0) * metric._y_var.get() + count * mean * mean
            totals["errors", place] = metric._residual_sum_of_squares
    return totals


def difference(later: Mapping[tuple[Any, ...], float], earlier: Mapping[tuple[Any, ...], float]) -> Totals:
    """Return the totals of the stretch between two states; sums that are 0 are left out.

    >>> difference({("decided",): 5, ("shared",): 2}, {("decided",): 3, ("shared",): 2})
    {('decided',): 2}
    """
    return {key: left for key, value in later.items() if (left := value - earlier.get(key, 0)) != 0}


def values_of(metrics: Iterable[Any], totals: Mapping[tuple[Any, ...], float]) -> dict[str, float | None]:
    """Return the values of new metrics over totals; `None` if undefined, or for a metric without totals."""
    made = list(metrics)
    tallies = Tallies(made, takes_scores=False)
    for key, count in totals.items():
        if key[0] == "cell":
            for metric in tallies.matrices:
                metric.update(key[2], key[3], float(count))
        elif key[0] == "bin":
            curve = made[key[1]]
            curve.update(key[2], share_in_bin(curve.thresholds, key[3]), float(count))
    known = {id(metric) for metric in tallies.matrices} if totals.get(("decided",)) else set()
    values: dict[str, float | None] = {}
    for place, metric in enumerate(made):
        count = totals.get(("n", place), 0.0)
        curve = place in tallies.curves and _has_both(totals, place)
        value = math.nan
        if type(metric) is river_metrics.R2:
            value = _r2(totals, place)
        elif isinstance(metric, MeanMetric) and count:
            metric._mean.n, metric._mean._mean = count, totals.get(("sum", place), 0.0) / count
            value = float(metric.get())
        elif curve or id(metric) in known:
            value = float(metric.get())
        values[type(metric).__name__] = value if math.isfinite(value) else None
    return values


def _has_both(totals: Mapping[tuple[Any, ...], float], place: int) -> bool:
    """Return whether a ROC curve has positives and negatives: without both it has no area."""
    return len({key[2] for key in totals if key[:2] == ("bin", place)}) > 1


def _r2(totals: Mapping[tuple[Any, ...], float], place: int) -> float:
    count, total = totals.get(("n", place), 0.0), totals.get(("sum", place), 0.0)
    spread = totals.get(("squares", place), 0.0) - (total * total / count if count else 0.0)
    return 1 - totals.get(("errors", place), 0.0) / spread if count > 1 and spread > 0 else math.nan
