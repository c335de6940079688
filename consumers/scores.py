"""Metrics over the examples log: progressive, as served, and two baselines that know no more than was known.

Progressive validation predicts each example with the model as it is before it learns it. The values
equal `river.evaluate.progressive_val_score` over the log in its order; what cannot depend on the order
(confusion matrices) is counted first and handed to River in one update a cell.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from river import metrics as river_metrics
from river.metrics.base import BinaryMetric, ClassificationMetric, MultiClassMetric

from consumers.known_labels import KnownLabels
from consumers.river_model import NO_ANSWER, Answer
from schemas.events import LabelValue, Scalar
from schemas.target import Task, class_key

_LEAST: Final = 1e-15  # as River clamps probabilities
_BATCH: Final = 256  # examples that are measured together
SOURCES: Final = ("progressive", "served", "last_label", "frequencies", "running_mean")


def default_metrics(task: Task) -> list[Any]:
    """Return the River metrics that fit a task when the user names none."""
    if task == "binary":
        # Accuracy alone says 99.9 % where one event in a thousand is a fraud.
        return [river_metrics.ROCAUC(), river_metrics.LogLoss(), river_metrics.F1(), river_metrics.Accuracy()]
    if task == "multiclass":
        return [river_metrics.Accuracy(), river_metrics.MacroF1(), river_metrics.CrossEntropy()]
    if task == "regression":
        return [river_metrics.MAE(), river_metrics.RMSE(), river_metrics.R2()]
    return [river_metrics.ROCAUC()]


class _Tally:
    """One River metric, fed by the batch: as River would one by one, in a fraction of the time."""

    def __init__(self, metric: Any, takes_scores: bool) -> None:
        self.metric = metric
        self._pairs: Counter[tuple[Any, Any]] = Counter()
        self._by_label = isinstance(metric, ClassificationMetric) and _is_plain_matrix(metric)
        self._thresholds = metric.thresholds if type(metric) is river_metrics.ROCAUC else None
        self._takes_scores = takes_scores
        self._wants_label = getattr(metric, "requires_labels", True) or takes_scores

    def add_all(self, said: Sequence[tuple[Any, Answer]]) -> None:
        """Measure answers that are predictions, in their order."""
        if self._by_label:
            self._pairs.update([(truth, answer.value) for truth, answer in said])
        elif self._thresholds is not None:
            # ROCAUC asks only which thresholds are below the share.
            thresholds, below = self._thresholds, bisect.bisect_left
            if self._takes_scores:
                self._pairs.update([(truth, below(thresholds, answer.value)) for truth, answer in said])
            else:
                self._pairs.update(
                    [(truth, below(thresholds, (answer.probabilities or {}).get(True, 0.0))) for truth, answer in said]
                )
        elif type(self.metric) is river_metrics.LogLoss:
            _add_losses(self.metric._mean, said)
        elif self._wants_label:
            for truth, answer in said:
                # The square of 1e308 has no double: such a pair measures nothing.
                with contextlib.suppress(ArithmeticError):
                    self.metric.update(truth, answer.value)
        else:
            for truth, answer in said:
                if answer.probabilities is not None:
                    with contextlib.suppress(ArithmeticError):
                        self.metric.update(truth, answer.probabilities)

    def settle(self) -> Any:
        """Hand over what was counted and return the metric."""
        for (truth, said), count in self._pairs.items():
            if self._thresholds is not None:
                self.metric.update(truth, _share_in_bin(self._thresholds, said), float(count))
            else:
                self.metric.update(truth, said, float(count))
        self._pairs.clear()
        return self.metric


def _add_losses(mean: Any, said: Sequence[tuple[Any, Answer]]) -> None:
    """What `LogLoss.update` does to its running mean, in its order and to the last bit, without its calls."""
    count, value, log = mean.n, mean._mean, math.log
    for truth, answer in said:
        if answer.probabilities is not None:
            share = min(max(answer.probabilities.get(True, 0.0), _LEAST), 1.0 - _LEAST)
            count += 1.0
            value += (1.0 / count) * ((-log(share) if truth else -log(1.0 - share)) - value)
    mean.n, mean._mean = count, value


def _is_plain_matrix(metric: Any) -> bool:
    """Tell whether the metric only counts cells of a confusion matrix: then order and grouping are nothing."""
    plain = (ClassificationMetric.update, BinaryMetric.update, MultiClassMetric.update)
    return type(metric).update in plain and metric.requires_labels


def _share_in_bin(thresholds: list[float], below: int) -> float:
    """Return a share that exceeds exactly the first `below` thresholds."""
    return thresholds[below] if below < len(thresholds) else thresholds[-1] + 1.0


Served = tuple[LabelValue | None, dict[str, float] | None]
_Measured = tuple[Scalar, tuple[Answer | None, ...]]


def _said(measured: Iterable[_Measured], index: int) -> list[tuple[Scalar, Answer]]:
    """Return the truths with one source's answers, where it had one."""
    return [
        (truth, answer)
        for truth, answers in measured
        if (answer := answers[index]) is not None and answer.value is not None
    ]


class Board:
    """The metrics of one model.

    Parameters
    ----------
    make
        Returns fresh River metrics.
    window
        How many of the newest examples the "last" values are over.
    """

    def __init__(self, task: Task, make: Callable[[], Iterable[Any]], window: int) -> None:
        self._task = task
        self._make = make
        baseline = "running_mean" if task == "regression" else "frequencies"
        self._sources = ("progressive", "served", "last_label", baseline) if task != "anomaly" else ("served",)
        self._all = {source: self._fresh() for source in self._sources}
        self._counted = dict.fromkeys(self._sources, 0)
        self._left_out = dict.fromkeys(self._sources, 0)
        self._new: list[_Measured] = []
        self._window: deque[_Measured] = deque(maxlen=window)
        self._known = KnownLabels(numeric=task == "regression")
        self._classes: dict[str, Scalar] = {"true": True, "false": False} if task in ("binary", "anomaly") else {}
        self.wants_probabilities = any(
            not getattr(tally.metric, "requires_labels", True) for tally in self._all[self._sources[0]]
        )

    def _fresh(self) -> list[_Tally]:
        return [_Tally(metric, self._task == "anomaly") for metric in self._make()]

    def add(self, truth: Scalar, progressive: Answer, served: Served | None, times: tuple[int, int] | None) -> None:
        """Measure one example.

        Parameters
        ----------
        truth
            The label.
        progressive
            The model's answer just before it learned the example.
        served
            Prediction and probabilities as they went out, `None` where nothing was served.
        times
            The broker's times (ms) of the prediction and of the label, if both came by the loop.
        """
        if self._task == "multiclass":
            self._classes.setdefault(class_key(truth), truth)
        sent = None if served is None else self._as_answer(*served)
        last: Answer | None = None
        mean: Answer | None = None
        if times is not None:
            last, mean = self._known.answers_at(times[0])
            self._known.add(times[1], truth)
        answers = (progressive, sent, last, mean) if self._task != "anomaly" else (sent,)
        self._new.append((truth, answers))
        if len(self._new) >= _BATCH:
            self._take_in()

    def _take_in(self) -> None:
        """Measure what has come since, a metric at a time."""
        new, self._new = self._new, []
        for index, source in enumerate(self._sources):
            said = _said(new, index)
            self._counted[source] += len(said)
            # An answer without a value is none yet; without an answer nothing was served.
            self._left_out[source] += sum(answers[index] is not None for _, answers in new) - len(said)
            for tally in self._all[source]:
                tally.add_all(said)
        self._window.extend(new)

    def _as_answer(self, prediction: LabelValue | None, shares: dict[str, float] | None) -> Answer:
        if prediction is None or isinstance(prediction, dict):
            return NO_ANSWER
        if shares is None:
            return Answer(prediction, None)
        classes = self._classes
        return Answer(prediction, {classes.get(key, key): share for key, share in shares.items()})

    def report(self) -> dict[str, Any]:
        """Return every value, unrounded; `None` where a metric is not defined (yet)."""
        self._take_in()
        report: dict[str, Any] = {}
        for index, source in enumerate(self._sources):
            recent = self._fresh()
            said = _said(self._window, index)
            for tally in recent:
                tally.add_all(said)
            # Where nothing was counted, River's metrics say 0, which would read as a result.
            measured = self._counted[source] > 0
            report[source] = {"all": _values(self._all[source], measured), "last": _values(recent, bool(said))}
        report["counted"] = dict(self._counted)
        report["no_prediction_yet"] = dict(self._left_out)
        report["window"] = self._window.maxlen
        return report

    def dump(self) -> dict[str, Any]:
        """Return the state: plain values and River's metrics."""
        self._take_in()
        return {
            "all": {source: [tally.settle() for tally in tallies] for source, tallies in self._all.items()},
            "counted": self._counted,
            "left_out": self._left_out,
            "window": [(truth, tuple(a and tuple(a) for a in answers)) for truth, answers in self._window],
            "known": self._known.dump(),
            "classes": self._classes,
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        """Take a dumped state over."""
        for source, metrics in dumped["all"].items():
            self._all[source] = [_Tally(metric, self._task == "anomaly") for metric in metrics]
        self._counted = dict(dumped["counted"])
        self._left_out = dict(dumped["left_out"])
        self._window.clear()
        for truth, answers in dumped["window"]:
            self._window.append((truth, tuple(None if a is None else Answer(*a) for a in answers)))
        self._known = KnownLabels.load(dumped["known"])
        self._classes = dict(dumped["classes"])


def _values(tallies: list[_Tally], measured: bool) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for tally in tallies:
        metric = tally.settle()
        if not measured:
            values[type(metric).__name__] = None
            continue
        try:
            value = float(metric.get())
        except (ZeroDivisionError, ValueError, KeyError):
            value = math.nan
        values[type(metric).__name__] = value if math.isfinite(value) else None
    return values
