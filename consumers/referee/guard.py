"""The guard of a promotion: whether serving must go back to the model that served before.

It goes back if the former model's loss is lower by the guard's `at_least`, or if the promoted model fails to answer too
large a share of its events. Both are tested by the bounds of `consumers.referee.confidence`, each at the level alpha.

A model can be good for weeks and then turn bad. The mean since the promotion would then need as many bad labels as
there were good ones. So one test begins at the promotion, and another one after every quarter of the rule's `labels`,
each with a tenth of alpha: a wrong return has at most the probability alpha for every 2.5 times `labels` events. Tests
that began long ago are thinned out, so that a few dozen remain.

Failures need no label to be known, so they count when their comparison comes, not when it has settled. With
errors=0.01 and alpha=0.05, six failures in a row from the beginning exceed the share; three do not.
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
        self._every = max(1, rule.labels // _BEGINS)
        self._boundary = rule.boundary_at(_SHARE * rule.alpha)
        self._failing = Boundary(rule.alpha, 1.0, _TUNED_FOR)
        settling = Settling(rule.guard.settle_ms, rule.wait_ms, width=2)
        self._period = Period(settling, rule.contest_ms, self._count, self._reset, begun)
        self._reset()

    def _reset(self) -> None:
        self.reason: str | None = None
        self.evidence: dict[str, float] = {}
        self._sums = Differences()
        self._failures = Differences()
        self._begun_at = [Differences()]  # the sums when each test began

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
        self._failures.add(float(failed))
        if failed and self.reason is None and self._failures.exceeds(self._rule.guard.errors, self._failing):
            self._fail()

    def _fail(self) -> None:
        share, allowed = self._failures.mean, self._rule.guard.errors
        low = self._failures.bounds(self._failing)[0]
        self.reason = (
            f"the model that served failed to answer {share:.2%} of {self._failures.count:,} events, and at least "
            f"{low:.2%} (alpha {self._rule.alpha:g}); Guard(errors={allowed:g}) allows {allowed:.2%}"
        )
        self.evidence = {"errors": share, "errors_low": low, "events": float(self._failures.count)}

    def _count(self, losses: Sequence[float]) -> None:
        promoted, former = losses
        if math.isnan(former):
            return
        self._sums.add(promoted - former)
        if self.reason is None:
            for before in self._begun_at:
                sums = self._sums.since(before)
                if sums.exceeds(self._rule.guard.at_least, self._boundary):
                    self._worse(sums)
                    break
        if self._sums.count % self._every == 0:
            self._begun_at.append(self._sums.copy())
            if len(self._begun_at) > _MOST_TESTS:
                self._thin()

    def _thin(self) -> None:
        """Drop the test whose age is nearest to that of the next older one, in proportion; the oldest stays."""
        ages = [self._sums.count - each.count for each in self._begun_at[:-1]]
        gaps = [younger / older for older, younger in itertools.pairwise(ages)]
        del self._begun_at[1 + gaps.index(max(gaps))]

    def _worse(self, sums: Differences) -> None:
        low = sums.bounds(self._boundary)[0]
        self.reason = (
            f"over the last {sums.count:,} labelled events, its mean loss is lower by {sums.mean:.4g}, and at least "
            f"by {low:.4g} (alpha {self._rule.alpha:g})"
        )
        self.evidence = {"mean": sums.mean, "low": low, "labels": float(sums.count)}
