"""Values of a comparison of models, computed from their definitions: what `millstream models compare` must say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compared_events import DAY, HOUR, MINUTE
from river import metrics
from scipy import stats

from consumers.referee.confidence import Boundary
from schemas.comparisons import Shadow

NEAR = {"rel": 0, "abs": 1e-9}
_EDGES = (
    (MINUTE, "up to 1 min"),
    (10 * MINUTE, "1 min to 10 min"),
    (HOUR, "10 min to 1 h"),
    (6 * HOUR, "1 h to 6 h"),
    (DAY, "6 h to 1 d"),
)


class Event(NamedTuple):
    """An event that all models were asked, as the test reads it from the topics."""

    shadow: Shadow
    label: bool
    delay_ms: int
    came: bool
    answers: Mapping[str, tuple[bool, float] | None]


def answers_of(shadow: Shadow) -> dict[str, tuple[bool, float] | None]:
    """Return the answer and the share of each model that was asked, by name; `None` where it failed."""
    outcome, answers = shadow.outcome, dict[str, tuple[bool, float] | None]()
    if outcome.examples or outcome.error or outcome.prediction is not None or outcome.probabilities:
        answers[model_name(outcome.model)] = _answer(outcome.prediction, outcome.probabilities)
    for other in shadow.challengers:
        said = other.examples or other.error or other.prediction is not None or other.probabilities
        if other.error != "no-version" and said:
            answers[model_name(other.model)] = _answer(other.prediction, other.probabilities)
    return answers


def model_name(model_id: str) -> str:
    return model_id.partition(".")[2] or "main"


def _answer(prediction: Any, probabilities: dict[str, float] | None) -> tuple[bool, float] | None:
    return None if probabilities is None else (prediction, probabilities["true"])


def brier(event: Event, model: str) -> float:
    answer = event.answers[model]
    return 1.0 if answer is None else (answer[1] - event.label) ** 2


def losses_apart(events: Sequence[Event], of: str, than: str) -> list[float]:
    return [brier(each, of) - brier(each, than) for each in events]


def by_river(events: Sequence[Event], model: str) -> dict[str, float]:
    several = [metrics.ROCAUC(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()]
    for event in events:
        answer = event.answers[model]
        for metric in several if answer is not None else ():
            shares = {True: answer[1], False: 1.0 - answer[1]}
            metric.update(event.label, answer[0] if metric.requires_labels else shares)
    return {type(each).__name__: each.get() for each in several}


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def jackknife(values: Sequence[float], blocks: int) -> tuple[float, float]:
    """Return the ends of the interval of a mean, from its definition."""
    size = 2 ** math.ceil(math.log2(len(values) / 127))
    assert size >= 8
    step = math.ceil(math.ceil(len(values) / size) / 30)
    cut = [[*values[at : at + size * step]] for at in range(0, len(values), size * step)]
    if len(cut[-1]) <= size * (step // 2):
        cut[-2:] = [cut[-2] + cut[-1]]
    assert len(cut) == blocks
    sums = [(math.fsum(block), len(block)) for block in cut]
    whole = math.fsum(values)
    left = [(whole - total) / (len(values) - count) for total, count in sums]
    error = math.sqrt((blocks - 1) / blocks * math.fsum((each - mean(left)) ** 2 for each in left))
    reach = stats.t.ppf(0.975, blocks - 1) * error
    return mean(values) - reach, mean(values) + reach


def at_any_time(events: Sequence[Event], of: str, than: str) -> dict[str, float]:
    """Return the difference of two models with the bounds that the rule has for two challengers."""
    ordered = sorted(events, key=lambda each: (each.shadow.time, each.shadow.partition, each.shadow.offset))
    apart, guess, total, variance = losses_apart(ordered, than, of), 0.0, 0.0, 0.0
    for number, each in enumerate(apart, 1):
        variance += (each - guess) ** 2
        total += each
        guess = total / number
    # 0.05 is shared by two challengers; a difference is between -1 and 1; tuned for a tenth of 1,000 labels.
    reach = Boundary(0.05 / 2, 2.0, 100.0).height(variance) / len(apart)
    return {"value": -mean(apart), "low": -mean(apart) - reach, "high": -mean(apart) + reach}


def delay_of(event: Event) -> str:
    """Return the slice of `--by delay` that an event is in."""
    if not event.came:
        return "no label in time"
    return next(text for high, text in _EDGES if event.delay_ms <= high)
