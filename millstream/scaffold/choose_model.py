"""Choice of the model that `init` writes: tries a few on sample rows against a baseline.

Each row is predicted before it is learned. For numbers the error is the mean absolute error, and the baseline is the
mean of the labels so far; for classes the log loss and the class frequencies so far. A model that loses to its baseline
is not written: the baseline is, as a model of River.
"""

from __future__ import annotations

import importlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from consumers.model.river_model import ModelError, RiverModel, wrap
from producers.infer import Inferred
from schemas.calendar import CalendarFeatures
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Features, Scalar
from schemas.target import Target, TargetError, Task

PACKAGES: Final = (
    *("anomaly", "compose", "dummy", "feature_extraction", "linear_model", "optim", "preprocessing", "stats", "tree"),
)
# The first learner of a task is chosen unless another is clearly better: see `_CLEARLY`.
LEARNERS: Final[dict[Task, tuple[str, ...]]] = {
    "binary": (
        "linear_model.LogisticRegression()",
        "linear_model.LogisticRegression(clip_gradient=1)",
        # Where one class is rare, the intercept has far to go.
        "linear_model.LogisticRegression(intercept_lr=0.1)",
        "linear_model.LogisticRegression(optim.AdaGrad(0.1), intercept_lr=0.1)",
        "tree.HoeffdingTreeClassifier()",
    ),
    "multiclass": (
        "linear_model.SoftmaxRegression()",
        "linear_model.SoftmaxRegression(optim.AdaGrad(0.1))",
        "tree.HoeffdingTreeClassifier()",
    ),
    # Without a limit on the gradient, correlated features can make it diverge.
    "regression": tuple(
        f"preprocessing.TargetStandardScaler(\n            linear_model.LinearRegression({how})\n        )"
        for how in ("intercept_lr=0.1, clip_gradient=1", "intercept_lr=0.1", "optim.SGD(0.001), intercept_lr=0.1")
    ),
    "anomaly": ("anomaly.HalfSpaceTrees(seed=42)",),
}
_BASELINE_MODELS: Final[dict[Task, str]] = {
    "binary": "dummy.PriorClassifier()",
    "multiclass": "dummy.PriorClassifier()",
    "regression": "dummy.StatisticRegressor(stats.Mean())",
}
_CLEARLY: Final = 0.9  # of the first one's error
_SECONDS: Final = 1.2  # for one model
_LEAST_ROWS: Final = 50  # below which the errors say little
_LEAST_SHARE: Final = 1e-15  # the usual lower limit in a log loss, so that the logarithm is finite
Lines = Callable[[str], list[str]]


class Tried(NamedTuple):
    """A model, as lines of the file that end with `learner`, and its error and baseline.

    `error` is infinite if the model raised.
    """

    learner: str
    lines: list[str]
    rows: int
    error: float
    baseline: float
    last_label: float | None
    metric: str

    @property
    def loses(self) -> bool:
        """Return whether the baseline has a smaller error, or the same."""
        return self.error >= self.baseline

    @property
    def text(self) -> str:
        """Return the result as text."""
        said = f"{self.metric} {short(self.error)} on {self.rows:,} rows; {self.rival}: {short(self.baseline)}"
        if self.last_label is not None and self.last_label < self.error:
            said += f" (the last label, where labels come at once: {short(self.last_label)})"
        return said

    @property
    def rival(self) -> str:
        """Return the baseline's name."""
        return _BASELINES[self.metric]


_BASELINES: Final = {"mean absolute error": "the mean of the labels", "log loss": "the frequencies of the classes"}


class Lost(NamedTuple):
    """The best model that was tried, where it lost, and the baseline as a model: the lines to write."""

    best: Tried
    learner: str
    lines: list[str]


def choose(
    inferred: Inferred | None, task: Task, lines: Lines, names: Mapping[str, object]
) -> Tried | Lost | list[str]:
    """Return the model to write, or the baseline if all lose to it; without rows to try it on, only its lines.

    Parameters
    ----------
    lines
        Returns the lines of a model that ends with the given learner.
    names
        The file's own names that the lines refer to.
    """
    learners = LEARNERS[task]
    rows = [] if inferred is None or task == "anomaly" else list(examples(inferred, task))
    if len(rows) < _LEAST_ROWS:
        return lines(learners[0])
    first, *others = [try_model(task, learner, lines(learner), names, rows) for learner in learners]
    best = min(others, key=ratio)
    taken = best if ratio(best) < _CLEARLY * ratio(first) or (first.loses and not best.loses) else first
    if not taken.loses or taken.error == math.inf:
        return taken
    best = min(first, best, key=ratio)
    name = " ".join(best.learner.split()).replace("( ", "(").replace(" )", ")")
    return Lost(best, name, [f"    model=lambda: {_BASELINE_MODELS[task]},"])


def ratio(tried: Tried) -> float:
    """Return the error relative to the baseline's on the same rows."""
    return tried.error / max(tried.baseline, 1e-300)


def examples(
    inferred: Inferred, task: Task, calendar: CalendarFeatures | None = None
) -> Iterator[tuple[Features, Scalar]]:
    """Yield the sample rows with a label as the stream would learn them, with the features of a calendar if given."""
    columns = inferred.columns
    named = {column.name: Feature(type=column.type) for column in columns}
    most = len(columns) + (len(calendar.parts) if calendar is not None else 0)
    contract = Contract(features=named, max_features=max(most, 1), calendar=calendar)
    times = inferred.example_times or (0,) * len(inferred.examples)
    target = Target(task=task, positive=inferred.positive, classes=inferred.classes)
    for (features, label), time_ms in zip(inferred.examples, times, strict=True):
        try:
            yield contract.of_event(features, time_ms), target.coerce(label)
        except (ContractError, TargetError):
            continue


def try_model(
    task: Task, learner: str, lines: list[str], names: Mapping[str, object], rows: Sequence[tuple[Features, Scalar]]
) -> Tried:
    """Return how the model of these lines, which end with `learner`, does on rows."""
    model = wrap(_built(lines, names), task)
    measure = _absolute_errors if task == "regression" else _log_losses
    metric = "mean absolute error" if task == "regression" else "log loss"
    error = baseline = last = 0.0
    count = 0
    begun = time.monotonic()
    try:
        for model_error, baseline_error, last_error in measure(model, rows):
            error, baseline, last, count = error + model_error, baseline + baseline_error, last + last_error, count + 1
            if time.monotonic() - begun > _SECONDS:
                break
    except Exception:  # noqa: BLE001 - after any exception the model is not chosen
        return Tried(learner, lines, len(rows), math.inf, 0.0, None, metric)
    error = error / count if math.isfinite(error) else math.inf
    return Tried(learner, lines, count, error, baseline / count, last / count if task == "regression" else None, metric)


def _built(lines: Sequence[str], names: Mapping[str, object]) -> Any:
    """Return the model that the lines of a file build."""
    modules = {name: importlib.import_module(f"river.{name}") for name in PACKAGES}
    text = "\n".join(lines).strip().removeprefix("model=").removesuffix(",")
    return eval(text, {**modules, **names})()  # noqa: S307 - generated text, in which names of columns are literals


def _asked(model: RiverModel, features: Features) -> Any:
    """Return a model's answer, `None` if it has none yet, as a role does with the first events."""
    try:
        return model.predict(features)
    except ModelError:
        return None


def _absolute_errors(model: RiverModel, rows: Sequence[tuple[Features, Any]]) -> Iterator[tuple[float, float, float]]:
    total, mean, last = 0.0, 0.0, 0.0
    for number, (features, label) in enumerate(rows, start=1):
        answer = _asked(model, features)
        said = mean if answer is None or answer.value is None else float(answer.value)
        yield abs(label - said), abs(label - mean), abs(label - last)
        model.learn(features, label, 1.0)
        total, last = total + label, label
        mean = total / number


def _log_losses(model: RiverModel, rows: Sequence[tuple[Features, Any]]) -> Iterator[tuple[float, float, float]]:
    counts: Counter[Scalar] = Counter()
    classes = len({label for _, label in rows})
    for number, (features, label) in enumerate(rows):
        answer = _asked(model, features)
        usual = (counts[label] + 1) / (number + classes)
        shares = None if answer is None else answer.probabilities
        said = usual if not shares else min(max(float(shares.get(label, 0.0)), _LEAST_SHARE), 1.0)
        yield -math.log(said), -math.log(usual), 0.0
        model.learn(features, label, 1.0)
        counts[label] += 1


def short(value: float) -> str:
    """Return an error for reading."""
    return f"{value:.4g}" if value < 1e6 else f"{value:.1e}"
