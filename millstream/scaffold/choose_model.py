"""Choice of the model that `init` writes: tries a few on sample rows against a baseline.

Each row is predicted before it is learned. For numbers the error is the mean absolute error, and the baseline is the
mean of the labels so far; for classes the log loss and the class frequencies so far.
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
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Features, Scalar
from schemas.target import Target, TargetError, Task

PACKAGES: Final = ("anomaly", "compose", "feature_extraction", "linear_model", "optim", "preprocessing", "tree")
# The first learner of a task is chosen unless another is clearly better: see `_CLEARLY`.
LEARNERS: Final[dict[Task, tuple[str, ...]]] = {
    "binary": (
        "linear_model.LogisticRegression()",
        "linear_model.LogisticRegression(clip_gradient=1)",
        "tree.HoeffdingTreeClassifier()",
    ),
    "multiclass": ("linear_model.SoftmaxRegression()", "tree.HoeffdingTreeClassifier()"),
    # Without a limit on the gradient, correlated features can make it diverge.
    "regression": tuple(
        f"preprocessing.TargetStandardScaler(\n            linear_model.LinearRegression({how})\n        )"
        for how in ("intercept_lr=0.1, clip_gradient=1", "intercept_lr=0.1", "optim.SGD(0.001), intercept_lr=0.1")
    ),
    "anomaly": ("anomaly.HalfSpaceTrees(seed=42)",),
}
_CLEARLY: Final = 0.9  # of the first one's error
_SECONDS: Final = 2.0  # for one model
_LEAST_ROWS: Final = 50  # below which the errors say little
_LEAST_SHARE: Final = 1e-15  # the usual lower limit in a log loss, so that the logarithm is finite
Lines = Callable[[str], list[str]]


class Tried(NamedTuple):
    """A model, as lines of the file, and its error and baseline. `error` is infinite if the model raised."""

    lines: list[str]
    rows: int
    error: float
    baseline: float
    metric: str

    @property
    def loses(self) -> bool:
        """Return whether the baseline has a smaller error."""
        return self.error > self.baseline

    @property
    def text(self) -> str:
        """Return the result as text."""
        what = _BASELINES[self.metric]
        return f"{self.metric} {_short(self.error)} on {self.rows:,} rows; {what}: {_short(self.baseline)}"


_BASELINES: Final = {"mean absolute error": "the mean of the labels", "log loss": "the frequencies of the classes"}


def choose(inferred: Inferred | None, task: Task, lines: Lines, names: Mapping[str, object]) -> Tried | list[str]:
    """Return the model to write; without rows to try it on, only its lines.

    Parameters
    ----------
    lines
        Returns the lines of a model that ends with the given learner.
    names
        The file's own names that the lines refer to.
    """
    learners = LEARNERS[task]
    rows = [] if inferred is None or task == "anomaly" else list(_examples(inferred, task))
    if len(rows) < _LEAST_ROWS:
        return lines(learners[0])
    first, *others = [_try(task, lines(learner), names, rows) for learner in learners]
    best = min(others, key=_ratio)
    return best if _ratio(best) < _CLEARLY * _ratio(first) else first


def _ratio(tried: Tried) -> float:
    return tried.error / max(tried.baseline, 1e-300)


def _examples(inferred: Inferred, task: Task) -> Iterator[tuple[Features, Scalar]]:
    columns = inferred.columns
    named = {column.name: Feature(type=column.type) for column in columns}
    contract = Contract(features=named, max_features=max(len(columns), 1))
    target = Target(task=task, positive=inferred.positive, classes=inferred.classes)
    for features, label in inferred.examples:
        try:
            yield contract.apply(features), target.coerce(label)
        except (ContractError, TargetError):
            continue


def _try(task: Task, lines: list[str], names: Mapping[str, object], rows: Sequence[tuple[Features, Scalar]]) -> Tried:
    model = wrap(_built(lines, names), task)
    measure = _absolute_errors if task == "regression" else _log_losses
    metric = "mean absolute error" if task == "regression" else "log loss"
    error = baseline = 0.0
    count = 0
    begun = time.monotonic()
    try:
        for model_error, baseline_error in measure(model, rows):
            error, baseline, count = error + model_error, baseline + baseline_error, count + 1
            if time.monotonic() - begun > _SECONDS:
                break
    except Exception:  # noqa: BLE001 - after any exception the model is not chosen
        return Tried(lines, len(rows), math.inf, 0.0, metric)
    return Tried(lines, count, error / count if math.isfinite(error) else math.inf, baseline / count, metric)


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


def _absolute_errors(model: RiverModel, rows: Sequence[tuple[Features, Any]]) -> Iterator[tuple[float, float]]:
    total, mean = 0.0, 0.0
    for number, (features, label) in enumerate(rows, start=1):
        answer = _asked(model, features)
        said = mean if answer is None or answer.value is None else float(answer.value)
        yield abs(label - said), abs(label - mean)
        model.learn(features, label, 1.0)
        total += label
        mean = total / number


def _log_losses(model: RiverModel, rows: Sequence[tuple[Features, Any]]) -> Iterator[tuple[float, float]]:
    counts: Counter[Scalar] = Counter()
    classes = len({label for _, label in rows})
    for number, (features, label) in enumerate(rows):
        answer = _asked(model, features)
        usual = (counts[label] + 1) / (number + classes)
        shares = None if answer is None else answer.probabilities
        said = usual if not shares else min(max(float(shares.get(label, 0.0)), _LEAST_SHARE), 1.0)
        yield -math.log(said), -math.log(usual)
        model.learn(features, label, 1.0)
        counts[label] += 1


def _short(value: float) -> str:
    return f"{value:.4g}" if value < 1e6 else f"{value:.1e}"
