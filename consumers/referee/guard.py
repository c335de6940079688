"""The guard of a promotion: whether serving must go back to the model that served before.

It goes back if the former model's loss is lower by the guard's `at_least`, or if the promoted model fails to answer too
large a share of its events. Both are tested by the bounds of `consumers.referee.confidence`, each at the level alpha.

A model can be good for weeks and then turn bad. The mean since the promotion would then need as many bad labels as
there were good ones. So one test begins at the promotion with half of alpha, and another one after every half of the
rule's `labels`, the m-th of them with a share 1 / (m (m + 1)) of the other half, which adds up to it.

Failures need no label to be known, so they count when their comparison comes, not when it has settled. With
errors=0.01 and alpha=0.05, six failures in a row from the beginning exceed the share; three do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consumers.referee.confidence import Boundary, Differences
from consumers.referee.rule import Rule
from consumers.referee.settling import Begun, Labelled, Period, Settling

_MOST_TESTS: Final = 32
_TUNED_FOR: Final = 10.0
"""Sum of squared differences of failures at which their bound is lowest: a few failures must do."""


@dataclass(frozen=True)
class _Test:
    """A test of the events since these sums."""

    since: Differences
    boundary: Boundary


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
        self._every = max(1, rule.labels // 2)
        self._failing = Boundary(rule.alpha, 1.0, _TUNED_FOR)
        settling = Settling(rule.guard.settle_ms, rule.wait_ms, width=2)
        self._period = Period(settling, rule.contest_ms, self._count, self._reset, begun)
        self._reset()

    def _reset(self) -> None:
        self.reason: str | None = None
        self.evidence: dict[str, float] = {}
        self._sums = Differences()
        self._failures = Differences()
        self._tests = [_Test(Differences(), self._rule.boundary_at(self._rule.alpha / 2))]

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
            f"it answered {share:.2%} of {self._failures.count} events with an error, surely more than {low:.2%}; "
            f"Guard(errors={allowed:g}) allows {allowed:.2%}"
        )
        self.evidence = {"errors": share, "errors_low": low, "events": float(self._failures.count)}

    def _count(self, losses: Sequence[float]) -> None:
        promoted, former = losses
        if math.isnan(former):
            return
        self._sums.add(promoted - former)
        if self.reason is None:
            for test in self._tests:
                sums = self._sums.since(test.since)
                if sums.exceeds(self._rule.guard.at_least, test.boundary):
                    self._worse(sums, test.boundary)
                    break
        if self._sums.count % self._every == 0:
            self._begin_test(self._sums.count // self._every)

    def _begin_test(self, number: int) -> None:
        share = 0.5 / (number * (number + 1))
        self._tests.append(_Test(self._sums.copy(), self._rule.boundary_at(self._rule.alpha * share)))
        if len(self._tests) > _MOST_TESTS:
            del self._tests[1]  # the first one covers the most events, and the last ones the newest

    def _worse(self, sums: Differences, boundary: Boundary) -> None:
        low = sums.bounds(boundary)[0]
        self.reason = (
            f"the mean loss of the model before it is lower by {sums.mean:.4g}, surely by more than {low:.4g}, over "
            f"the last {sums.count} labelled events"
        )
        self.evidence = {"mean": sums.mean, "low": low, "labels": float(sums.count)}
