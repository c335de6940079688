"""Check after an outlier: has one example ruined a model whose answers are still finite?

The influence of an observation is the change in the answers if it is left out (Cook, "Detection of Influential
Observation in Linear Regression", Technometrics 19, 1977). An ordinary example moves the answers of a trained model by
a fraction of a point. A single 1e12 makes a scaler's variance so large that the feature has no effect any more, or a
Gaussian so wide that it cannot separate classes: that shows at once in answers on other events. A single 1e200 makes a
variance infinite, which may show in answers only one example later, when it has become NaN. So after a number whose
tenth power overflows a double, the numbers inside the model are checked too. The time for that grows with the model's
size, so it is not done after every outlier: if a source's level changes for good, thousands of ordinary numbers are
outliers.

The result is a function of the previous model and the example, so a replay decides the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from consumers.model.fingerprint import Probes
from consumers.model.river_model import Answer, RiverModel
from model_store import dumps

MOST: Final = 0.01  # a point of probability; for numbers, a hundredth of the answers' spread
_MOST_OF_SPREAD: Final = 0.25  # share of the probabilities' spread: a young model's are within a few points
# A float in a pickle: its opcode, and eight bytes of which the exponent is all ones.
_NOT_FINITE: Final = re.compile(rb"G[\x7f\xff][\xf0-\xff].{6}", re.DOTALL)


class Stand(NamedTuple):
    """A model's answers on its probes, `None` if it fails on one of them, and its count of non-finite numbers.

    Attributes
    ----------
    not_finite
        Number of non-finite numbers inside the model, 0 if they were not counted.
    """

    answers: Sequence[Answer] | None
    not_finite: int


def stand(model: RiverModel, probes: Probes, numbers: bool = True) -> Stand:
    """Return a model's `Stand`; count the numbers inside it only if `numbers` is true."""
    found = len(_NOT_FINITE.findall(dumps(model.model))) if numbers else 0
    try:
        return Stand([model.predict(features) for features in probes], found)
    except Exception:  # noqa: BLE001 - a model may raise anything
        return Stand(None, found)


def ruin(before: Stand, after: Stand) -> str | None:
    """Return how a model was ruined; `None` if it hardly changed, or had no answers before."""
    if before.answers is None:
        return None
    if after.answers is None:
        return "answers on other events are no numbers any more"
    if after.not_finite > before.not_finite:
        return "numbers are not finite any more"
    if (far := moved(before.answers, after.answers)) > MOST:
        return f"answers on other events move by {100 * far:.3g} points"
    return None


def moved(before: Sequence[Answer], after: Sequence[Answer]) -> float:
    """Return the distance between two models' answers on the same probes.

    Returns
    -------
    float
        For probabilities the mean total variation distance, for classes the share that differs, for numbers the mean
        distance relative to the spread of the answers before.

    >>> moved([Answer(1.0, None), Answer(3.0, None)], [Answer(1.0, None), Answer(3.5, None)])
    0.25
    """
    if not before:
        return 0.0
    pairs = list(zip(before, after, strict=True))
    if all(each.probabilities is None and isinstance(each.value, float) for pair in pairs for each in pair):
        return _apart([(float(first.value or 0.0), float(second.value or 0.0)) for first, second in pairs])
    far = sum(_distance(first, second) for first, second in pairs) / len(pairs)
    return max(far, MOST / _MOST_OF_SPREAD * far / (_spread(before) or math.inf))


def _spread(answers: Sequence[Answer]) -> float:
    """Return the spread of probabilities: the mean distance from the first."""
    return sum(_distance(answers[0], each) for each in answers) / len(answers)


def _distance(before: Answer, after: Answer) -> float:
    if before.probabilities is None or after.probabilities is None:
        return float(before.value != after.value)
    classes = {**before.probabilities, **after.probabilities}
    return sum(abs(before.probabilities.get(each, 0.0) - after.probabilities.get(each, 0.0)) for each in classes) / 2


def _apart(pairs: Sequence[tuple[float, float]]) -> float:
    mean = sum(first for first, _ in pairs) / len(pairs)
    spread = sum(abs(first - mean) for first, _ in pairs) / len(pairs)
    distance = sum(abs(second - first) for first, second in pairs) / len(pairs)
    return distance / (spread or abs(mean) or 1.0)
