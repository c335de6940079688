"""The guard of a promotion, on seeded streams of losses: soon enough when a model turns bad, and seldom wrong."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # benchmarks are not installed

from benchmarks.promotion import RULE, differences, needed_offline, returned_after, turned

GOOD = 325
"""Labels before the turn: between the beginnings of two tests."""


def test_serving_is_back_within_twice_the_labels_that_a_test_needs_which_begins_at_the_turn() -> None:
    online, offline = [], []  # of so many streams, because the median of fewer is off by a sixth
    for seed in range(200):
        good, bad = turned(seed, GOOD, 600, 0.5)
        back, needed = returned_after([*good, *bad], GOOD), needed_offline(bad)
        assert needed is not None
        assert back is not None
        if back > 0:  # else it went back before the turn, wrongly
            online.append(back)
            offline.append(needed)
    assert len(online) >= 195
    assert statistics.median(online) <= 2 * statistics.median(offline)


def test_a_model_that_is_as_good_is_seldom_taken_back() -> None:
    """One span of 2.5 times `labels`, in which the probability is alpha at most: 2 of 40 streams in the mean."""
    labels = int(2.5 * RULE.labels)
    wrong = [returned_after(differences(seed, labels, 0.2, 0.2), 0) for seed in range(40)]
    assert sum(each is not None for each in wrong) <= 2
