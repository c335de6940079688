"""Metrics of served answers as sums, which are kept in a window, and the metrics' values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from river import metrics as river_metrics

from consumers.model.metric_totals import Totals, totals_of, values_of
from consumers.model.tallies import Tallies
from schemas.target import Task

MOST_CLASSES: Final = 50
"""Classes that keep their own cells in a confusion matrix; the cells of further ones are added up."""
BINS: Final = 10
"""Bins of the score, for calibration."""
_OTHER_CLASS, _OTHER_ANSWER = "(other)", "(other answer)"
_NAMES: Final = {
    "Accuracy": "accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "F1": "f1",
    "ROCAUC": "roc_auc",
    "LogLoss": "log_loss",
    "MacroF1": "macro_f1",
    "CrossEntropy": "log_loss",
    "MAE": "mae",
    "RMSE": "rmse",
    "R2": "r2",
}
_OF_TASK: Final[dict[Task, tuple[type[Any], ...]]] = {
    "binary": (
        river_metrics.Accuracy,
        river_metrics.Precision,
        river_metrics.Recall,
        river_metrics.F1,
        river_metrics.ROCAUC,
        river_metrics.LogLoss,
    ),
    "multiclass": (river_metrics.Accuracy, river_metrics.MacroF1, river_metrics.CrossEntropy),
    "regression": (river_metrics.MAE, river_metrics.RMSE, river_metrics.R2),
    "anomaly": (river_metrics.ROCAUC,),
}
_SPREAD: Final = "spread"
"""Kind of the sum of squared differences of the labels from their mean."""
_LARGEST: Final = 1.7e308
_WHOLE: Final = 2**53  # below it a whole number is shorter than a double


def measures_of(task: Task) -> list[Any]:
    """Return new metrics of River for a task, always the same ones."""
    return [each() for each in _OF_TASK[task]]


def names_of(task: Task) -> dict[str, bool]:
    """Return the names of a task's metrics, each with whether a larger value is better.

    >>> names_of("regression")
    {'mae': False, 'rmse': False, 'r2': True}
    """
    return {_NAMES[type(each).__name__]: bool(each.bigger_is_better) for each in measures_of(task)}


def sums_of(tallies: Tallies) -> Totals:
    """Return the sums of a window's answers. Must come before `Tallies.values`."""
    totals = totals_of(tallies)
    for place, metric in enumerate(tallies.metrics):
        if type(metric) is river_metrics.R2:
            # Squares of numbers such as 1e9 + 1 have lost what they differ in.
            totals.pop(("squares", place))
            count = metric._y_var.mean.n
            totals[_SPREAD, place] = max(count - 1, 0) * metric._y_var.get()
    # A spread of 0 is kept: `added` knows by it that there is one.
    known = {key: value for key, value in totals.items() if value or key[0] == _SPREAD}
    return _finite({key: value for key, value in known.items() if not math.isnan(value)})


def added(several: Iterable[Mapping[tuple[Any, ...], float]]) -> Totals:
    """Return the sums over all."""
    found: Totals = {}
    for totals in several:
        for key, value in totals.items():
            if key[0] != _SPREAD:
                continue
            mine, theirs = ("n", key[1]), ("sum", key[1])
            count, more = found.get(mine, 0.0), totals.get(mine, 0.0)
            apart = found.get(theirs, 0.0) / count - totals.get(theirs, 0.0) / more if count and more else 0.0
            between = apart * apart * count * more / (count + more) if count and more else 0.0
            found[key] = found.get(key, 0.0) + value + between
        for key, value in totals.items():
            if key[0] != _SPREAD:
                found[key] = found.get(key, 0.0) + value
    return _finite(found)


def _finite(totals: Mapping[tuple[Any, ...], float]) -> Totals:
    return {key: min(_LARGEST, max(-_LARGEST, value)) for key, value in totals.items()}


def values(task: Task, totals: Mapping[tuple[Any, ...], float]) -> dict[str, float | None]:
    """Return each metric's value over sums, by name; `None` if it is undefined."""
    made = measures_of(task)
    found = values_of(made, totals)
    for place, metric in enumerate(made):
        if type(metric) is river_metrics.R2:
            spread = totals.get((_SPREAD, place), 0.0)
            value = 1 - totals.get(("errors", place), 0.0) / spread if spread > 0 else math.nan
            found["R2"] = value if math.isfinite(value) else None
    return {_NAMES[name]: value for name, value in found.items()}


def additive(several: Sequence[Mapping[tuple[Any, ...], float]]) -> list[Totals]:
    """Return sums that may be added and subtracted plainly, as `values_of_additive` takes them.

    Squares of labels are taken from their common mean, so that subtracting them loses nothing.
    """
    whole = added(several)
    centres = {
        place: whole.get(("sum", place), 0.0) / count
        for place in [key[1] for key in whole if key[0] == _SPREAD]
        if (count := whole.get(("n", place), 0.0))
    }
    found = []
    for totals in several:
        made = {key: value for key, value in totals.items() if key[0] != _SPREAD}
        for place, centre in centres.items():
            count, total = totals.get(("n", place), 0.0), totals.get(("sum", place), 0.0)
            apart = total - count * centre
            made["sum", place] = apart
            made["squares", place] = totals.get((_SPREAD, place), 0.0) + (apart * apart / count if count else 0.0)
        found.append(made)
    return found


def values_of_additive(task: Task, totals: Mapping[tuple[Any, ...], float]) -> dict[str, float | None]:
    """Return each metric's value over sums of `additive`, by name; `None` if it is undefined."""
    return {_NAMES[name]: value for name, value in values_of(measures_of(task), totals).items()}


def classes_in(several: Iterable[Mapping[tuple[Any, ...], float]]) -> Counter[Any]:
    """Return how often each class is a label or an answer."""
    found: Counter[Any] = Counter()
    for totals in several:
        for key, value in totals.items():
            if key[0] == "cell":
                found[key[2]] += int(value)
                found[key[3]] += int(value)
    return found


def narrowed(totals: Mapping[tuple[Any, ...], float], kept: frozenset[Any]) -> Totals:
    """Return sums in which only these classes have cells of their own; the accuracy stays the same."""
    found: Totals = {}
    for key, value in totals.items():
        if key[0] == "cell" and not (key[2] in kept and key[3] in kept):
            truth, said = key[2] if key[2] in kept else _OTHER_CLASS, key[3] if key[3] in kept else _OTHER_ANSWER
            key = (*key[:2], truth, truth if key[2] == key[3] else said)  # noqa: PLW2901
        found[key] = found.get(key, 0.0) + value
    return found


def most_frequent(counts: Counter[Any]) -> frozenset[Any]:
    """Return the classes that keep their own cells; of equally frequent ones the first by their spelling."""
    ordered = sorted(counts, key=lambda each: (-counts[each], str(each), type(each).__name__))
    return frozenset((*ordered[:MOST_CLASSES], _OTHER_CLASS, _OTHER_ANSWER))


def to_json(totals: Mapping[tuple[Any, ...], float]) -> str:
    """Return sums as JSON: a list of lists, each a key and its value behind it."""
    rows = [
        [*key, int(value) if value == int(value) and abs(value) < _WHOLE else value] for key, value in totals.items()
    ]
    return msgspec.json.encode(sorted(rows, key=repr)).decode()


def from_json(text: str) -> Totals:
    """Return the sums that `to_json` wrote. Raises msgspec.DecodeError if the text is not JSON."""
    return {tuple(row[:-1]): float(row[-1]) for row in msgspec.json.decode(text, type=list[list[Any]])}
