"""River's metrics over many answers at a time, with the values of one by one.

Confusion matrices do not depend on the order, so they are counted first and handed to River in one update for each
cell. ROC curves are counted by bins in the same way.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import is_
from typing import Any, Final, TypeAlias

from river import metrics as river_metrics
from river.metrics.base import BinaryMetric, ClassificationMetric, MultiClassMetric

from consumers.model.baselines import Wants

_LEAST: Final = 1e-15  # as River clamps probabilities
_MOST: Final = 1.0 - _LEAST
Said: TypeAlias = tuple[Any, Any, Any]
"""Truth, value and grade of an answer."""


class Tallies:
    """River's metrics over one source's answers, updated in batches: same values as one by one, in less time.

    Parameters
    ----------
    metrics
        Metrics of River.
    takes_scores
        True if answers are anomaly scores.

    Attributes
    ----------
    decided, shared
        Number of answers that had a value, and that had shares. If it is 0, metrics over these have no value.
    cells, bins
        Counts for `matrices` and for `curves` that have not been handed to River's metrics yet.
    matrices, curves
        Metrics that only count cells of a confusion matrix; places of each ROCAUC.
    """

    def __init__(self, metrics: Iterable[Any], takes_scores: bool) -> None:
        self.metrics = list(metrics)
        self._takes_scores = takes_scores
        self.decided = self.shared = 0
        self.cells: Counter[tuple[Any, Any]] = Counter()
        self.bins: dict[int, Counter[tuple[Any, int]]] = {}
        self.matrices = [metric for metric in self.metrics if is_plain_matrix(metric)]
        self.curves = [n for n, metric in enumerate(self.metrics) if type(metric) is river_metrics.ROCAUC]
        self._losses = [metric for metric in self.metrics if type(metric) is river_metrics.LogLoss]
        counted = {id(metric) for metric in (*self.matrices, *self._losses)}
        counted.update(id(self.metrics[n]) for n in self.curves)
        self._others = [metric for metric in self.metrics if id(metric) not in counted]

    def wants(self) -> Wants:
        """Return what metrics need beside an answer's value: nothing, the share of True, or every class's share."""
        if self._takes_scores or all(getattr(metric, "requires_labels", True) for metric in self.metrics):
            return "value"
        return "shares" if any(not getattr(metric, "requires_labels", True) for metric in self._others) else "share"

    def add_all(self, said: Sequence[Said]) -> None:
        """Add answers that are predictions to the metrics, in their order."""
        if said:
            self.add_columns(*zip(*said, strict=True))

    def add_columns(self, truths: Sequence[Any], values: Sequence[Any], grades: Sequence[Any]) -> None:
        """Add answers as `add_all` does, given their truths, their values and their grades."""
        undecided, unshared = sum(map(is_, values, repeat(None))), sum(map(is_, grades, repeat(None)))
        self.decided += len(values) - undecided
        self.shared += len(grades) - unshared
        if self.matrices:
            pairs = zip(truths, values, strict=True)
            self.cells.update([pair for pair in pairs if pair[1] is not None] if undecided else pairs)
        if self.curves or self._losses:
            if self._takes_scores:
                self._add_shares(truths, values)
            elif unshared == 0:
                self._add_shares(truths, grades)
            elif unshared < len(grades):
                shared = [each for each in zip(truths, grades, strict=True) if each[1] is not None]
                self._add_shares(*zip(*shared, strict=True))
        for metric in self._others:
            by_value = getattr(metric, "requires_labels", True) or self._takes_scores
            for truth, answer in zip(truths, values if by_value else grades, strict=True):
                if answer is not None:
                    # The square of 1e308 overflows, the logarithm of -2 is undefined, and a user's metric may raise
                    # anything. Such a pair is not measured, but the model still learns it.
                    try:
                        metric.update(truth, answer)
                    except Exception:  # noqa: BLE001, S112
                        continue

    def _add_shares(self, truths: Sequence[Any], grades: Sequence[Any]) -> None:
        shares = [graded.get(True, 0.0) if graded.__class__ is dict else graded for graded in grades]
        for number in self.curves:
            # ROCAUC uses only which thresholds are below the share.
            below = map(bisect.bisect_left, repeat(self.metrics[number].thresholds), shares)
            self.bins.setdefault(number, Counter()).update(zip(truths, below, strict=False))
        for metric in self._losses:
            _add_losses(metric._mean, truths, shares)

    def settle(self) -> list[Any]:
        """Pass the counts on to River's metrics and return them."""
        for (truth, said), count in self.cells.items():
            for metric in self.matrices:
                with contextlib.suppress(Exception):
                    metric.update(truth, said, float(count))
        self.cells.clear()
        for number, bins in self.bins.items():
            curve = self.metrics[number]
            for (truth, below), count in bins.items():
                curve.update(truth, share_in_bin(curve.thresholds, below), float(count))
            bins.clear()
        return self.metrics

    def values(self) -> dict[str, float | None]:
        """Return each metric's value; `None` if nothing was measured, where River's 0 would look like a result."""
        values: dict[str, float | None] = {}
        for metric in self.settle():
            try:
                by_value = getattr(metric, "requires_labels", True) or self._takes_scores
                value = float(metric.get()) if (self.decided if by_value else self.shared) else math.nan
            except Exception:  # noqa: BLE001 - a metric without a value (yet) may raise anything
                value = math.nan
            values[type(metric).__name__] = value if math.isfinite(value) else None
        return values


def _add_losses(mean: Any, truths: Iterable[Any], shares: Iterable[float]) -> None:
    """Update a running mean as `LogLoss.update` does, in the same order and to the last bit, but faster."""
    count, value, log, least, most = mean.n, mean._mean, math.log, _LEAST, _MOST
    for truth, share in zip(truths, shares, strict=True):
        clamped = least if share < least else most if share > most else share
        count += 1.0
        value += (1.0 / count) * ((-log(clamped) if truth else -log(1.0 - clamped)) - value)
    mean.n, mean._mean = count, value


def is_plain_matrix(metric: Any) -> bool:
    """Return whether the metric only counts cells of a confusion matrix, so that order does not matter."""
    if not isinstance(metric, ClassificationMetric):
        return False
    plain = (ClassificationMetric.update, BinaryMetric.update, MultiClassMetric.update)
    return type(metric).update in plain and metric.requires_labels


def share_in_bin(thresholds: list[float], below: int) -> float:
    """Return a share that exceeds exactly the first `below` thresholds."""
    return thresholds[below] if below < len(thresholds) else thresholds[-1] + 1.0
