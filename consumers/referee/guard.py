"""The guard of a promotion: whether serving must go back to the model that served before.

It goes back if the former model's loss is lower by the guard's `at_least`, or if the promoted model fails to answer too
large a share of its events. Both are tested by the bounds of `consumers.referee.confidence`, each at the level alpha.

A model can be good for weeks and then turn bad. The mean since the promotion would then need as many bad labels as
there were good ones. So one test begins at the promotion, and another one after every tenth of the rule's `labels`.
Their evidence is added up, with the weight of a twenty-fifth for each, and the sum must exceed 1 / alpha: a wrong
return has at most the probability alpha for every 2.5 times `labels` events. This is an e-detector (Shin, Ramdas and
Rinaldo, "E-detectors", New England Journal of Statistics in Data Science 2, 2024). Tests that began near the turn
agree, so their sum needs fewer labels than the best of them. Each guesses its next difference from its own alone,
because the mean of the good times would be a bad guess after the turn. Tests that began long ago are thinned out, so
that a few dozen remain: without one of them the sum is only lower.

Failures need no label to be known, so they count when their comparison comes, not when it has settled. Their tests
begin after every quarter of `labels`. With errors=0.01 and alpha=0.05, nine failures in a row from the beginning exceed
the share; three do not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from consumers.referee.confidence import Boundary, Differences
from consumers.referee.rule import Rule
from consumers.referee.settling import Begun, Labelled, Period, Settling

_MOST_TESTS: Final = 32
_BEGINS: Final = 10  # tests of losses in the time of `labels`
_FAILURES_BEGIN: Final = 4  # tests of failures in it
_SPAN: Final = 2.5  # times `labels`: events that share alpha
_STEPS: Final = 50  # of the bisection of a bound
_TUNED_FOR: Final = 10.0
"""Sum of squared differences of failures at which their bound is lowest: a few failures must do."""


class _Found(NamedTuple):
    """What the tests have found: the sums of the one with the most evidence, and the lower bound by all together."""

    sums: Differences
    low: float


class _Tests:
    """Tests of the mean of values, of which a new one begins after every so many values.

    Parameters
    ----------
    boundary
        That of one test, at its part of alpha.
    least
        The mean that a lower bound must exceed.
    """

    def __init__(self, boundary: Boundary, every: int, least: float) -> None:
        self._boundary = boundary
        self._every = every
        self._least = least
        self._count = 0
        self._tests = [Differences()]

    def add(self, value: float) -> _Found | None:
        """Add a value; return what is found if the tests together exceed `least`, else `None`."""
        self._count += 1
        for sums in self._tests:
            sums.add(value)
        found = self._found() if self._exceed(self._least) else None
        if self._count % self._every == 0:
            self._tests.append(Differences())
            if len(self._tests) > _MOST_TESTS:
                self._thin()
        return found

    def _exceed(self, least: float) -> bool:
        """Return whether the added evidence that a mean exceeds `least` is that of one test that crosses its boundary.

        A test whose mean is lower adds nothing, which is less than its evidence.
        """
        above = [(sums.total - sums.count * least, sums.variance) for sums in self._tests]
        each = [self._boundary.log_evidence(total, variance) for total, variance in above if total > 0.0]
        most = max(each, default=-math.inf)
        return bool(each) and most + math.log(sum(math.exp(one - most) for one in each)) > self._boundary.wanted

    def _found(self) -> _Found:
        best = max(self._tests, key=self._evidence)
        low, high = self._least, max(sums.mean for sums in self._tests)
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._exceed(middle) else (low, middle)
        return _Found(best.copy(), low)

    def _evidence(self, sums: Differences) -> float:
        total = sums.total - sums.count * self._least
        return self._boundary.log_evidence(total, sums.variance) if total > 0.0 else -math.inf

    def _thin(self) -> None:
        """Drop the test whose age is nearest to that of the next older one, in proportion; the oldest stays."""
        ages = [sums.count for sums in self._tests[:-1]]
        gaps = [younger / older for older, younger in itertools.pairwise(ages)]
        del self._tests[1 + gaps.index(max(gaps))]


class Guard:
    """Guard of one promotion; the module docstring describes it.

    Parameters
    ----------
    begun
        Where it began, if it goes on after a restart: its records must then be given again.

    Attributes
    ----------
    reason
        Why serving must go back; `None` while it need not.
    evidence
        Figures of the reason.
    """

    def __init__(self, rule: Rule, begun: Begun | None = None) -> None:
        self._rule = rule
        settling = Settling(rule.guard.settle_ms, rule.wait_ms, width=2)
        self._period = Period(settling, rule.contest_ms, self._count, self._reset, begun)
        self._reset()

    def _reset(self) -> None:
        rule = self._rule
        self.reason: str | None = None
        self.evidence: dict[str, float] = {}
        every, alpha = self._beginnings(_BEGINS)
        self._losses = _Tests(rule.boundary_at(alpha), every, rule.guard.at_least)
        every, alpha = self._beginnings(_FAILURES_BEGIN)
        self._failures = _Tests(Boundary(alpha, 1.0, _TUNED_FOR), every, rule.guard.errors)

    def _beginnings(self, begins: int) -> tuple[int, float]:
        """Return after how many events a test begins, and its part of alpha, for so many tests in `labels` events."""
        every = max(1, self._rule.labels // begins)
        return every, self._rule.alpha * every / max(_SPAN * self._rule.labels, every)

    @property
    def begun(self) -> Begun | None:
        """Where it began, `None` before its first event."""
        return self._period.begun

    def take(self, event: Labelled, failed: bool) -> None:
        """Take an event that the promoted model answered, or `failed` to; `reason` is then up to date.

        Its values are the losses of the promoted and of the former model, NaN if the former had no part in it.
        """
        self._period.take(event)
        begun = self._period.begun
        if begun is None or event.at < begun.at or event.time < begun.since or event.correction:
            return
        found = self._failures.add(float(failed))
        if found is not None and self.reason is None:
            self._fail(found)

    def _fail(self, found: _Found) -> None:
        (sums, low), allowed = found, self._rule.guard.errors
        share = sums.mean
        self.reason = (
            f"the model that served failed to answer {share:.2%} of the last {sums.count:,} events, and at least "
            f"{low:.2%} (alpha {self._rule.alpha:g}); Guard(errors={allowed:g}) allows {allowed:.2%}"
        )
        self.evidence = {"errors": share, "errors_low": low, "events": float(sums.count)}

    def _count(self, losses: Sequence[float]) -> None:
        promoted, former = losses
        if math.isnan(former):
            return
        found = self._losses.add(promoted - former)
        if found is not None and self.reason is None:
            self._worse(found)

    def _worse(self, found: _Found) -> None:
        sums, low = found
        self.reason = (
            f"over the last {sums.count:,} labelled events, its mean loss is lower by {sums.mean:.4g}, and at least "
            f"by {low:.4g} (alpha {self._rule.alpha:g})"
        )
        self.evidence = {"mean": sums.mean, "low": low, "labels": float(sums.count)}
