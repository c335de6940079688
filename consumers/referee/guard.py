"""The guard of a promotion: whether serving must go back to the model that served before.

It goes back if the former model's loss is lower by the guard's `at_least`, or if the promoted model fails to answer too
large a share of its events. Both are tested by the bounds of `consumers.referee.confidence`, each at the level alpha.

A model can be good for weeks and then turn bad. The mean since the promotion would then need as many bad labels as
there were good ones. So one test begins at the promotion, and another one after every quarter of the rule's `labels`,
each with a tenth of alpha: a wrong return has at most the probability alpha for every 2.5 times `labels` events. Tests
that began long ago are thinned out, so that a few dozen remain.

Failures need no label to be known, so they count when their comparison comes, not when it has settled. With
errors=0.01 and alpha=0.05, nine failures in a row from the beginning exceed the share; three do not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

from consumers.referee.confidence import Boundary, Differences
from consumers.referee.rule import Rule
from consumers.referee.settling import Begun, Labelled, Period, Settling

_MOST_TESTS: Final = 32
_SHARE: Final = 0.1  # of alpha, for one test
_BEGINS: Final = 4  # tests in the time of `labels`
_TUNED_FOR: Final = 10.0
"""Sum of squared differences of failures at which their bound is lowest: a few failures must do."""


class _Tests:
    """Tests of the mean of values, of which a new one begins after every so many values.

    Parameters
    ----------
    least
        The mean that a lower bound must exceed.
    """

    def __init__(self, boundary: Boundary, every: int, least: float) -> None:
        self.boundary = boundary
        self._every = every
        self._least = least
        self._sums = Differences()
        self._begun_at = [Differences()]  # the sums when each test began

    def add(self, value: float) -> Differences | None:
        """Add a value; return the sums of the oldest test whose lower bound exceeds `least`, `None` if none does."""
        self._sums.add(value)
        since = (self._sums.since(before) for before in self._begun_at)
        found = next((sums for sums in since if sums.exceeds(self._least, self.boundary)), None)
        if self._sums.count % self._every == 0:
            self._begun_at.append(self._sums.copy())
            if len(self._begun_at) > _MOST_TESTS:
                self._thin()
        return found

    def _thin(self) -> None:
        """Drop the test whose age is nearest to that of the next older one, in proportion; the oldest stays."""
        ages = [self._sums.count - each.count for each in self._begun_at[:-1]]
        gaps = [younger / older for older, younger in itertools.pairwise(ages)]
        del self._begun_at[1 + gaps.index(max(gaps))]


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
        rule, alpha = self._rule, _SHARE * self._rule.alpha
        every = max(1, rule.labels // _BEGINS)
        self.reason: str | None = None
        self.evidence: dict[str, float] = {}
        self._losses = _Tests(rule.boundary_at(alpha), every, rule.guard.at_least)
        self._failures = _Tests(Boundary(alpha, 1.0, _TUNED_FOR), every, rule.guard.errors)

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

    def _fail(self, sums: Differences) -> None:
        share, allowed = sums.mean, self._rule.guard.errors
        low = sums.bounds(self._failures.boundary)[0]
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

    def _worse(self, sums: Differences) -> None:
        low = sums.bounds(self._losses.boundary)[0]
        self.reason = (
            f"over the last {sums.count:,} labelled events, its mean loss is lower by {sums.mean:.4g}, and at least "
            f"by {low:.4g} (alpha {self._rule.alpha:g})"
        )
        self.evidence = {"mean": sums.mean, "low": low, "labels": float(sums.count)}
