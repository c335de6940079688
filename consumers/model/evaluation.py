"""Metrics over the examples log: progressive, served, and two baselines under the same label delay.

Progressive validation predicts each example just before the model learns it. The values equal
`river.evaluate.progressive_val_score` over the log in its order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any, Final

from river import metrics as river_metrics

from consumers.model.baselines import NOT_ASKED, Graded, KnownLabels
from consumers.model.river_model import Answer
from consumers.model.tallies import Said, Tallies
from schemas.events import LabelValue, Scalar
from schemas.fast_examples import FastExample
from schemas.target import Task, class_key

_BATCH: Final = 256  # examples measured together
SOURCES: Final = ("progressive", "served", "last_label", "frequencies", "running_mean")


def default_metrics(task: Task) -> list[Any]:
    """Return the River metrics that fit a task when the user names none."""
    if task == "binary":
        # If one event in a thousand is a fraud, a model that never says fraud has an accuracy of 99.9 %.
        return [river_metrics.ROCAUC(), river_metrics.LogLoss(), river_metrics.F1(), river_metrics.Accuracy()]
    if task == "multiclass":
        return [river_metrics.Accuracy(), river_metrics.MacroF1(), river_metrics.CrossEntropy()]
    if task == "regression":
        return [river_metrics.MAE(), river_metrics.RMSE(), river_metrics.R2()]
    return [river_metrics.ROCAUC()]


Served = tuple[LabelValue | None, dict[str, float] | None]
# A truth, then value and grade of every source. An empty value means that there was no prediction yet, or that the
# model was not asked. Rows are flat tuples of plain values because a thousand of them are kept in memory.
Row = tuple[Any, ...]
_NOTHING_ASKED: Final = (None, NOT_ASKED)
_NO_VALUE: Final = (None, None)
_INFINITE: Final = (math.inf, -math.inf)
_ANSWERS: Final[dict[Task, tuple[type, ...]]] = {
    "binary": (bool,),
    "multiclass": (bool, int, float, str),
    "regression": (int, float),
    "anomaly": (int, float),
}


def said_by(rows: Iterable[Row], index: int) -> list[Said]:
    """Return truth, value and grade of the rows that source `index` answered; an abstaining model has only shares."""
    value, graded = 1 + 2 * index, 2 + 2 * index
    return [
        (row[0], row[value], row[graded])
        for row in rows
        if row[value] is not None or row[graded] not in (None, NOT_ASKED)
    ]


@dataclass(frozen=True)
class Beside:
    """Progressive and served answers on the newest examples that were answered when they came.

    Attributes
    ----------
    now, served
        Value and grade of each answer.
    """

    now: list[Graded]
    served: list[Graded]
    metrics_now: dict[str, float | None]
    metrics_served: dict[str, float | None]


class Board:
    """The metrics of one model.

    Parameters
    ----------
    make
        Creates the River metrics.
    window
        Number of newest examples that the "last" values cover.
    known
        Labels that the baselines know from before; `None` for none.

    Attributes
    ----------
    watch
        Called with each batch of measured rows, one row for each example in the order of `add`.
    """

    def __init__(
        self, task: Task, make: Callable[[], Iterable[Any]], window: int, known: KnownLabels | None = None
    ) -> None:
        self._task = task
        self._make = make
        self.watch: Callable[[Sequence[Row]], None] | None = None
        baseline = "running_mean" if task == "regression" else "frequencies"
        self.sources = ("progressive", "served", "last_label", baseline) if task != "anomaly" else ("served",)
        self._all = {source: self._fresh() for source in self.sources}
        self.counted = dict.fromkeys(self.sources, 0)
        self._left_out = dict.fromkeys(self.sources, 0)
        self._new: list[Row] = []
        self._times: list[tuple[int, int] | None] = []
        self._window: deque[Row] = deque(maxlen=window)
        self._classes: dict[str, Scalar] = {"true": True, "false": False} if task in ("binary", "anomaly") else {}
        self._answers = _ANSWERS[task]
        self._wants = self._all[self.sources[0]].wants()
        self._known = KnownLabels(task == "regression", self._wants) if known is None else known
        self.wants_probabilities = self._wants != "value" and task != "anomaly"

    def _fresh(self) -> Tallies:
        return Tallies(self._make(), self._task == "anomaly")

    def add(self, truth: Scalar, progressive: Answer, served: Served | None, times: tuple[int, int] | None) -> None:
        """Add one example to the metrics.

        Parameters
        ----------
        truth
            The label.
        progressive
            The model's answer just before it learned the example.
        served
            Prediction and probabilities as they were sent, `None` if nothing was served.
        times
            The broker's times (ms) of the prediction and of the label, if both came through the stream's own topics.
        """
        if self._task == "multiclass":
            self._classes.setdefault(class_key(truth), truth)
        sent = _NOTHING_ASKED if served is None else self._graded_as_sent(*served)
        if self._task == "anomaly":
            self._new.append((truth, *sent))
        else:
            self._new.append((truth, *self.grade(progressive), *sent))
            self._times.append(times)
        if len(self._new) >= _BATCH:
            self._take_in()

    @property
    def room(self) -> int:
        """Return the number of examples that are collected before the next ones are measured together."""
        return _BATCH - len(self._new)

    def add_several(self, examples: Sequence[FastExample], truths: Sequence[Any], graded: Sequence[Graded]) -> None:
        """Add at most `room` examples as `add` does, with the answers as `grade` returns them.

        Not for anomaly detection.
        """
        new, as_sent, multiclass = self._new, self._graded_as_sent, self._task == "multiclass"
        for example, truth, (value, grade) in zip(examples, truths, graded, strict=True):
            if multiclass:
                self._classes.setdefault(class_key(truth), truth)
            sent = as_sent(example.prediction, example.probabilities) if example.answered else _NOTHING_ASKED
            new.append((truth, value, grade, *sent))
        self._times += [example.times for example in examples]
        if len(new) >= _BATCH:
            self._take_in()

    def grade(self, answer: Answer) -> Graded:
        """Return what is kept of the model's answer."""
        value, shares = answer
        if shares is None or self._wants == "value":
            return value, None
        return value, (shares.get(True, 0.0) if self._wants == "share" else shares)

    def _graded_as_sent(self, prediction: Any, shares: dict[str, float] | None) -> Graded:
        # Any client can write to a topic: an answer of the wrong kind for this task counts as none.
        kind_fits = prediction is None or isinstance(prediction, self._answers)
        if not kind_fits or prediction != prediction:  # noqa: PLR0124 - NaN counts as none
            return _NO_VALUE
        value: Any = prediction
        if value in _INFINITE:
            return _NO_VALUE
        if not shares or self._wants == "value":
            return value, None
        if self._wants == "share":
            share = shares.get("true", 0.0)
            return value, share if share - share == 0.0 else None
        if not all(share - share == 0.0 for share in shares.values()):
            return value, None
        classes = self._classes
        return value, {classes.get(key, key): share for key, share in shares.items()}

    def _take_in(self) -> None:
        """Measure the collected rows, one source at a time."""
        new, self._new = self._new, []
        if self._task != "anomaly":
            new = self._with_baselines(new)
        columns = list(zip(*new, strict=True))
        for index, source in enumerate(self.sources):
            value, graded = 1 + 2 * index, 2 + 2 * index
            if columns and not any(map(is_, columns[value], repeat(None))):
                self.counted[source] += len(new)
                self._all[source].add_columns(columns[0], columns[value], columns[graded])
                continue
            said = said_by(new, index)
            self.counted[source] += len(said)
            # An answer without value and shares does not count; neither does a row for which the model was not asked.
            self._left_out[source] += sum(row[value] is None and row[graded] is None for row in new)
            self._all[source].add_all(said)
        self._window.extend(new)
        if self.watch is not None and new:
            self.watch(new)

    def tallies(self) -> dict[str, Tallies]:
        """Return the tallies of all examples so far, by source, in the order of `Row`."""
        self._take_in()
        return self._all

    def _with_baselines(self, new: Sequence[Row]) -> list[Row]:
        """Add the baselines' answers to the rows, then give the baselines the labels."""
        times, self._times = self._times, []
        answers = self._known.follow(times, [row[0] for row in new])
        return [(*row, *last, *mean) for row, (last, mean) in zip(new, answers, strict=True)]

    def report(self) -> dict[str, Any]:
        """Return every value, unrounded; `None` if a metric is not defined (yet).

        ``order`` has the metrics in the stream's order (a manifest sorts names), each with whether higher is better.
        ``in_window`` is the number of answers in ``last``.
        """
        self._take_in()
        report: dict[str, Any] = {}
        in_window = {}
        for index, source in enumerate(self.sources):
            recent, said = self._fresh(), said_by(self._window, index)
            recent.add_all(said)
            in_window[source] = len(said)
            report[source] = {
                "all": self._all[source].values(),
                "last": recent.values(),
            }
        report["counted"] = dict(self.counted)
        report["no_prediction_yet"] = dict(self._left_out)
        report["window"] = self._window.maxlen
        report["in_window"] = in_window
        metrics = self._all["served"].metrics
        report["order"] = [[type(each).__name__, bool(getattr(each, "bigger_is_better", True))] for each in metrics]
        return report

    def beside_served(self) -> Beside:
        """Return progressive and served answers on the same examples, the newest `window` of them."""
        self._take_in()
        # For anomaly detection only the served answers are kept.
        rows = (
            []
            if self._task == "anomaly"
            else [row for row in self._window if row[1] is not None and row[3] is not None]
        )
        values = []
        for index in (0, 1):
            tallies = self._fresh()
            tallies.add_all(said_by(rows, index))
            values.append(tallies.values())
        return Beside([(row[1], row[2]) for row in rows], [(row[3], row[4]) for row in rows], *values)

    def dump(self) -> dict[str, Any]:
        """Return the state: plain values and River's metrics."""
        self._take_in()
        return {
            "all": {source: tallies.settle() for source, tallies in self._all.items()},
            "counted": self.counted,
            "told": {source: (tallies.decided, tallies.shared) for source, tallies in self._all.items()},
            "left_out": self._left_out,
            "window": list(self._window),
            "known": self._known.dump(),
            "classes": self._classes,
        }

    def restore(self, dumped: dict[str, Any]) -> None:
        """Restore a dumped state."""
        # Older states did not count answers with a value and answers with shares separately.
        told = dumped.get("told") or {source: (count, count) for source, count in dumped["counted"].items()}
        for source, metrics in dumped["all"].items():
            self._all[source] = Tallies(metrics, self._task == "anomaly")
            self._all[source].decided, self._all[source].shared = told[source]
        self.counted = dict(dumped["counted"])
        self._left_out = dict(dumped["left_out"])
        self._window.clear()
        self._window.extend(tuple(row) for row in dumped["window"])
        self._known = KnownLabels.load(dumped["known"])
        self._classes = dict(dumped["classes"])
