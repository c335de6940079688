"""Judging of a stream: its windows against their reference, then the alert rules on the findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumers.monitor.drift.findings import Judgement
from consumers.monitor.drift.judge import Judge
from consumers.monitor.rules.rules import Rules
from runtime.kafka_client.records import Output
from schemas.profiles import Window
from schemas.topics import PROFILES, Names


class StreamJudging:
    """The `Judging` of a stream; see `consumers.monitor.judging_protocol`.

    Parameters
    ----------
    say
        Prints one line for the operator.
    """

    def __init__(self, names: Names, judge: Judge, rules: Rules, say: Callable[[str], None] = print) -> None:
        self._profiles = names.topic(PROFILES)
        self._judge = judge
        self._rules = rules
        self._say = say
        self._note = ""

    def restore(self, remembered: str) -> None:
        self._rules.restore(remembered)

    def recover(self, window: Window) -> None:
        self._rules.take(window)
        self._judge.take(window)

    def recovered(self) -> None:
        """Say whether the reference is whole."""
        self._tell(self._judge.note)

    def take(self, window: Window) -> list[Output]:
        self._rules.take(window)
        judgement = self._judge.take(window)
        if judgement is None:
            return []
        self._tell(judgement.note)
        return [*self._kept(judgement), *self._rules.judged(judgement, self._judge, window.kind)]

    def _kept(self, judgement: Judgement) -> list[Output]:
        """Return the merged windows, and the tombstones of those that are no longer needed."""
        merged = [Output(self._profiles, 0, window.key, window.encode()) for window in judgement.merged]
        return [*merged, *(Output(self._profiles, 0, key, None) for key in judgement.tombstones)]

    def tick(self, now_ms: int) -> list[Output]:
        return self._rules.tick(now_ms, self._judge)

    def remembered(self) -> str:
        return self._rules.remembered()

    def open_findings(self) -> Sequence[str]:
        return [f"{finding.check} {finding.subject}" for finding in self._judge.findings]

    def _tell(self, note: str) -> None:
        """Print why findings are less sharp than they will be, once for each reason."""
        if note != self._note:
            self._say(f"drift: {note}" if note else "drift: the reference is whole")
            self._note = note
