"""How often the rule and the guard are right, on simulated labels of two models: no broker, no clock.

Two models that learn the same log are wrong about much the same events. Here both are wrong about 12 % of them, and
each alone about as many more as its share of errors asks for.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import Figure, Spread
from benchmarks.rig import Rig
from benchmarks.throughput import Size
from consumers.referee.confidence import Boundary, Differences
from consumers.referee.guard import Guard
from consumers.referee.losses import LossRule
from consumers.referee.rule import GuardRule, Rule
from consumers.referee.settling import Labelled
from schemas.target import Target

BOTH = 0.12
RULE = Rule(("s", "s.b"), LossRule(Target(task="binary"), "error"), guard=GuardRule(settle_ms=0))
STREAMS, LABELS = 200, 10_000
_GOOD = 3_125  # between the beginnings of two tests of the guard
_TURNS = ((0.22, 1), (0.3, 1), (0.5, 5))
"""Share of errors of a model that turned bad, and how many times as many streams: where sixty labels are enough, their
number varies so much that the median of 40 streams is off by a sixth.
"""
_MOST = 2.0
"""How many times the labels of the test offline the guard may need."""


def differences(seed: int, count: int, champion: float, challenger: float) -> Sequence[float]:
    """Return the champion's loss minus the challenger's for `count` events, given their shares of errors."""
    draws = np.random.default_rng(seed).random(count)
    only_champion, only_challenger = champion - BOTH, challenger - BOTH
    found: Sequence[float] = np.where(
        draws < only_champion, 1.0, np.where(draws < only_champion + only_challenger, -1.0, 0.0)
    ).tolist()
    return found


def promoted_after(losses: Sequence[float], rule: Rule = RULE) -> int | None:
    """Return after how many labels the rule promotes, `None` if it does not."""
    sums, boundary = Differences(), rule.boundary(1)
    for number, each in enumerate(losses, 1):
        sums.add(each)
        if number >= rule.labels and sums.exceeds(rule.at_least, boundary):
            return number
    return None


def z_test_after(losses: Sequence[float], least: int, alpha: float) -> int | None:
    """Return after how many labels a z-test that is looked at after each label calls the challenger better."""
    values = np.asarray(losses)
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    variance = np.maximum(np.cumsum(values**2) / count - mean**2, 1e-12)
    found = np.flatnonzero((mean / np.sqrt(variance / count) > _quantile(1.0 - alpha)) & (count >= least))
    return int(found[0]) + 1 if len(found) else None


def _quantile(share: float) -> float:
    return statistics.NormalDist().inv_cdf(share)


@dataclass(frozen=True)
class Promotions:
    """After how many labels each of several streams promoted; those that did not are missing."""

    by_rule: Sequence[int]
    by_z_test: Sequence[int]

    @classmethod
    def of(cls, streams: int, labels: int, champion: float, challenger: float) -> Promotions:
        made = [differences(seed, labels, champion, challenger) for seed in range(streams)]
        rule = [promoted_after(each) for each in made]
        test = [z_test_after(each, RULE.labels, RULE.alpha) for each in made]
        return cls([each for each in rule if each], [each for each in test if each])

    def median(self) -> float:
        """Return the median number of labels until the rule promotes."""
        return statistics.median(self.by_rule) if self.by_rule else math.nan


def returned_after(losses: Sequence[float], good: int) -> int | None:
    """Return after how many labels since the turn the guard takes serving back; -1 if before it.

    `losses` are the promoted model's minus the former one's; the promoted model turns bad after `good` of them.
    """
    guard = Guard(RULE)
    for number, event in enumerate(_events(losses), 1):
        guard.take(event, failed=False)
        if guard.reason is not None:
            return number - good if number > good else -1
    return None


def _events(losses: Sequence[float]) -> Iterator[Labelled]:
    for number, each in enumerate(losses):
        yield Labelled(number, 0, number, number, number + 1, False, (max(each, 0.0), max(-each, 0.0)))


def needed_offline(losses: Sequence[float]) -> int | None:
    """Return how many labels the same test needs that sees only what comes after the turn."""
    sums, boundary = Differences(), Boundary(RULE.alpha, 2.0, RULE.boundary_at(RULE.alpha).tuned_for)
    for number, each in enumerate(losses, 1):
        sums.add(each)
        if sums.exceeds(RULE.guard.at_least, boundary):
            return number
    return None


def turned(seed: int, good: int, bad: int, share: float) -> tuple[Sequence[float], Sequence[float]]:
    """Return the differences while the promoted model is better (18 % errors against 20 %), and after it turned bad."""
    return differences(seed, good, 0.18, 0.20), differences(seed + 10_000, bad, share, 0.20)


def promotion(rig: Rig, size: Size) -> list[Figure]:
    """How many of the simulated streams promote, and how soon a promoted model that turns bad is taken back."""
    streams = STREAMS if size.rounds > 1 else 20
    equal = Promotions.of(streams, LABELS, 0.20, 0.20)
    better = Promotions.of(streams, LABELS, 0.20, 0.18)
    told = f"of {streams} streams of {LABELS:,} labels"
    figures = [
        Figure(
            "promotion-equal",
            f"rule: equal models promoted, {told}",
            Spread((float(len(equal.by_rule)),)),
            "",
            "at most",
            0.05 * streams,
            {"z-test after each label": Spread((float(len(equal.by_z_test)),))},
            "error 20 % and 20 %, alpha 0.05, labels 1000; the z-test is one-sided at the same level",
        ),
        Figure(
            "promotion-better",
            f"rule: models 2 points better promoted, {told}",
            Spread((float(len(better.by_rule)),)),
            "",
            "at least",
            0.9 * streams,
            {"median labels": Spread((better.median(),)), "z-test": Spread((float(len(better.by_z_test)),))},
            "error 20 % and 18 %, both wrong about 12 %",
        ),
    ]
    return [*figures, *(_turns(share, times * max(10, streams // 5)) for share, times in _TURNS)]


def _turns(share: float, streams: int) -> Figure:
    online, offline, missed = [], [], 0
    for seed in range(streams):
        good, bad = turned(seed, _GOOD, 30_000 if share < 0.25 else 5_000, share)
        back, needed = returned_after([*good, *bad], _GOOD), needed_offline(bad)
        if back is None or back < 0 or needed is None:
            missed += 1
            continue
        online.append(back)
        offline.append(needed)
    absolute = {"labels": Spread(tuple(map(float, online))), "offline, labels": Spread(tuple(map(float, offline)))}
    ratio = statistics.median(online) / statistics.median(offline)
    what = f"guard: labels until a model that turned bad ({share:.0%} errors) is taken back, against the test offline"
    note = f"after {_GOOD:,} labels with 18 % errors; the former model has 20 %; {missed} of {streams} not or too early"
    return Figure(
        f"promotion-guard-{share:.0%}",
        what,
        Spread((ratio,)),
        "",
        "at most",
        _MOST,
        absolute,
        note,
        missed > streams // 10,
    )
