"""Splits of examples by time that are honest about the delay of labels.

A model that is made at a moment knows only the labels that had come by then. So the training part of a split has only
examples whose label had come before the first prediction of the test part. What was predicted before it and labelled
later is in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from millstream.estimators.fitting import CannotTrain, Numbers
from millstream.training.examples import Examples, Moment

Learned = Callable[[int, int, int], bool]
LEAST_TEST: Final = 10
"""Fewer examples in a test part say nothing, and give no interval."""


@dataclass(frozen=True)
class Split:
    """A training part and a test part, as indexes in the order of predictions, and the moment between them.

    Attributes
    ----------
    late
        Number of examples in neither: predicted before the test part, and labelled after it began.
    """

    train: Numbers
    test: Numbers
    moment: Moment
    late: int


def newest_apart(examples: Examples, share: float, learned: Learned | None = None) -> Split:
    """Return the split whose test part is a share of the examples, those that were predicted last.

    Parameters
    ----------
    learned
        Returns whether the version that the training goes on from has learned an example, by its offset and the times
        of its prediction and label. That one is not tested with: it would be known.

    Raises
    ------
    CannotTrain
        If there are too few examples, or no label had come before the test part begins.
    """
    ordered = examples.in_time()
    count = max(LEAST_TEST, round(share * len(ordered)))
    if len(ordered) < 2 * LEAST_TEST or count > len(ordered) - LEAST_TEST:
        raise CannotTrain(
            f"there are {len(ordered)} examples with a label to train on and to test with; at least "
            f"{2 * LEAST_TEST} are needed: wait for labels, or give the job a longer range (window=)"
        )
    split = split_at(examples, ordered, len(ordered) - count, len(ordered))
    if learned is not None:
        split = _without(split, examples, learned)
    if len(split.train) < LEAST_TEST:
        raise CannotTrain(
            f"only {len(split.train)} of {len(ordered)} examples had their label before the newest {count} were "
            "predicted: labels come too late for this range, give it a longer one (window=) or a smaller test="
        )
    return split


def _without(split: Split, examples: Examples, learned: Learned) -> Split:
    """Return the split without the examples of its test part that are known already."""
    test = split.test.tolist()
    columns = examples.offsets, examples.predicted, examples.labelled
    new = [each for each in test if not learned(*(column[each] for column in columns))]
    if len(new) < LEAST_TEST:
        raise CannotTrain(
            f"the version to go on from has learned all but {len(new)} of the newest {len(test)} examples, so the new "
            f"one could not be tested: wait until {LEAST_TEST} more have their label"
        )
    return Split(split.train, np.array(new, dtype=split.test.dtype), split.moment, split.late)


def split_at(examples: Examples, ordered: Numbers, begin: int, end: int) -> Split:
    """Return the split whose test part is a slice of examples in the order of their predictions."""
    moment = examples.asked_at(int(ordered[begin]))
    before = ordered[:begin]
    train = before[examples.labelled_before(moment)[before]]
    return Split(train, ordered[begin:end], moment, len(before) - len(train))


def folds(examples: Examples, ordered: Numbers, count: int) -> list[Split]:
    """Return the splits of a time series cross-validation: each part but the first is tested with what was before it.

    Parameters
    ----------
    ordered
        Indexes of the examples to split, in the order of their predictions.

    Raises
    ------
    CannotTrain
        If a part would be too small.
    """
    ends: Any = np.linspace(0, len(ordered), count + 2).round().astype(int)[1:]
    found = [split_at(examples, ordered, begin, end) for begin, end in pairwise(ends)]
    if any(len(each.train) < LEAST_TEST or len(each.test) < LEAST_TEST for each in found):
        raise CannotTrain(
            f"{len(ordered)} examples do not suffice for {count} folds, each with labels before its test part: "
            "give the job a longer range (window=) or fewer folds="
        )
    return found
