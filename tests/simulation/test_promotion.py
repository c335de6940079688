"""Decisions of the rule and the guard on simulated streams; `python -m benchmarks promotion` has more of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special
from simulation.refereeing import MAIN, RULE, B, comparison

from consumers.referee.contest import Champion, Contest
from consumers.referee.losses import Loss

sys.path.append(str(Path(__file__).resolve().parents[2]))  # benchmarks are not installed

from benchmarks import promotion

STREAMS, LABELS = 30, 10_000


def test_equal_models_are_seldom_promoted_where_a_z_test_that_is_looked_at_often_is_wrong() -> None:
    found = promotion.Promotions.of(STREAMS, LABELS, 0.20, 0.20)
    assert len(found.by_rule) <= 3  # of 30 at alpha 0.05, three is once in five
    assert len(found.by_z_test) > len(found.by_rule)


def test_a_model_that_is_two_points_better_is_promoted() -> None:
    found = promotion.Promotions.of(STREAMS, LABELS, 0.20, 0.18)
    assert len(found.by_rule) >= 27
    assert found.median() < 6_000


def test_a_model_that_turns_bad_is_taken_back_within_twice_the_labels_of_the_test_offline() -> None:
    ratios = []
    for seed in range(10):
        good, bad = promotion.turned(seed, 3_125, 5_000, 0.3)
        back, needed = promotion.returned_after([*good, *bad], 3_125), promotion.needed_offline(bad)
        assert back is not None
        assert needed is not None
        assert back > 0
        ratios.append(back / needed)
    assert sorted(ratios)[len(ratios) // 2] <= 2.0


@pytest.mark.parametrize(("settle_ms", "promoted"), [(20_000, False), (0, True)])
def test_quick_labels_that_favour_the_worse_model_do_not_promote_it(settle_ms: int, promoted: bool) -> None:
    """B is better on the tenth of events whose labels are quick, and worse on the rest, whose labels take 20 s.

    With settle=0 the first 2,000 ms hold quick labels alone, so that the same stream promotes it.
    """
    rule = replace(RULE, models=(MAIN, B), settle_ms=settle_ms, wait_ms=20_000)
    contest = Contest(rule, Champion(MAIN), Loss(rule.loss), {})
    random = np.random.default_rng(3)
    labelled = []
    for number in range(4_000):
        quick = number % 10 == 0
        wrong = {
            MAIN: bool(random.random() < (0.6 if quick else 0.2)),
            B: bool(random.random() < (0.1 if quick else 0.5)),
        }
        labelled.append(comparison(number, wrong, delay=5 if quick else 20_000))
    for at, each in enumerate(sorted(labelled, key=lambda each: each.joined.label_time if each.joined else 0)):
        contest.take(at, each)
    assert (contest.winner == B) is promoted
    if not promoted:
        mean = contest.standing(B).mean
        assert mean is not None
        assert mean < -0.1


def test_an_independent_computation_from_the_comparisons_agrees_to_a_billionth() -> None:
    """Differences in a plain list, in the order of predictions, and the boundary as a root of its formula."""
    rule = replace(RULE, models=(MAIN, B), alpha=0.03, labels=10**9)
    contest = Contest(rule, Champion(MAIN), Loss(rule.loss), {})
    random = np.random.default_rng(8)
    events = []
    for number in range(1_500):
        wrong = {MAIN: bool(random.random() < 0.3), B: bool(random.random() < 0.25)}
        events.append((number, wrong, int(random.integers(1, 1_000))))
    for at, (number, wrong, delay) in enumerate(sorted(events, key=lambda each: 10 * each[0] + each[2])):
        contest.take(at, comparison(number, wrong, delay=delay))
    standing = contest.standing(B)
    found = [float(wrong[MAIN]) - float(wrong[B]) for _, wrong, _ in events[: standing.labels]]
    assert standing.labels > 1_300
    total, variance = sum(found), 0.0
    for number, each in enumerate(found):
        variance += (each - (sum(found[:number]) / number if number else 0.0)) ** 2
    # Howard et al., proposition 9, with the scale 2 of differences from -1 to 1, written as it is printed there.
    level = 2 * np.log(1 / 0.06)
    rho = 0.1 * rule.labels / (level + np.log1p(level))

    def log_m(s: float, v: float) -> float:
        a, b, r = (v + rho) / 4, (2 * s + v + rho) / 4, rho / 4
        first = r * np.log(r) - special.gammaln(r) - np.log(special.gammainc(r, r))
        return float(first + special.gammaln(a) + np.log(special.gammainc(a, b)) - a * np.log(b) + (2 * s + v) / 4)

    height = optimize.brentq(lambda s: log_m(s, variance) - np.log(1 / 0.03), 0.0, 1e6, xtol=1e-13, rtol=1e-14)
    assert standing.mean == pytest.approx(total / standing.labels, abs=1e-9)
    assert standing.low == pytest.approx((total - height) / standing.labels, abs=1e-9)
    assert standing.high == pytest.approx((total + height) / standing.labels, abs=1e-9)
