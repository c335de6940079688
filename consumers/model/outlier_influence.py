"""Whether one example has ruined a model whose every answer is finite.

The influence of an observation is what the answers change by if it is left out (Cook, "Detection of Influential
Observation in Linear Regression", Technometrics 19, 1977). An ordinary example moves the answers of a model that has
learned some by a fraction of a point. One 1e12 makes a scaler's variance so large that its feature is nothing ever
after, or a Gaussian so wide that it tells no classes apart: that shows at once in answers on other events. One 1e200
makes a variance infinite, which may show in answers only when it has become NaN, an example later: so after a number
of which a tenth power has no double, the numbers that a model is made of are looked at, too. That takes as long as the
model is large; where a source's level changes for good, thousands of ordinary numbers are far from what was before.

All of it is a function of the model before and the example, so that a replay decides the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from consumers.model.fingerprint import Probes
from consumers.model.river_model import Answer, RiverModel
from model_store import dumps

MOST: Final = 0.01  # a point of probability; for numbers, a hundredth of how far answers are apart
_MOST_OF_SPREAD: Final = 0.25  # of how far probabilities are apart: a young model's are within a few points
# A float in a pickle: its opcode, and eight bytes of which the exponent is all ones.
_NOT_FINITE: Final = re.compile(rb"G[\x7f\xff][\xf0-\xff].{6}", re.DOTALL)


class Stand(NamedTuple):
    """A model as it stands: its answers on its probes, `None` where it has none to one of them, and its numbers.

    Attributes
    ----------
    not_finite
        How many there are in it, 0 where they were not looked at.
    """

    answers: Sequence[Answer] | None
    not_finite: int


def stand(model: RiverModel, probes: Probes, numbers: bool = True) -> Stand:
    """Look at a model; at the `numbers` that it is made of only where asked."""
    found = len(_NOT_FINITE.findall(dumps(model.model))) if numbers else 0
    try:
        return Stand([model.predict(features) for features in probes], found)
    except Exception:  # noqa: BLE001 - a model may raise anything
        return Stand(None, found)


def ruin(before: Stand, after: Stand) -> str | None:
    """Return what has become of a model; `None` where it is much as it was, or had no answers before."""
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
    """Return how far answers on the same probes are apart.

    Returns
    -------
    float
        Of probabilities the mean total variation distance, of classes the share that differs, of numbers the mean
        distance as a share of how far those before are apart from each other.

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
    """Return how far probabilities are apart: the mean distance from the first."""
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
