"""Evaluation of a stream's alert rules on judged windows.

Rules about windows are evaluated once for each bucket of the log, when it is judged, and know only the log's time:
their alerts do not depend on when the monitor reads. Only the rate of events and the facts of the newest version are
evaluated by the clock, because nothing is judged while nothing comes.

The alerts, and the records of the actions, go into the transaction that also holds `Rules.remembered`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from consumers.monitor.drift.findings import Finding, Judgement
from consumers.monitor.drift.judge import Judge
from consumers.monitor.rules.actions import Actions, Cause, VersionsBefore
from consumers.monitor.rules.condition import (
    DRIFT,
    EVENTS_PER_SECOND,
    MODEL_AGE,
    UNCHANGED_EXAMPLES,
    VERSION_LAG,
    Condition,
)
from consumers.monitor.rules.decisions import InForce
from consumers.monitor.rules.rule import ROLE_PREFIX, AlertRule
from consumers.monitor.rules.state import RulesState, RuleState, short
from consumers.monitor.rules.values import Measured, ServedValues, measure
from consumers.monitor.rules.version_lag import VersionLag
from consumers.monitor.windows import PREDICTIONS
from runtime.kafka_client.records import Output
from schemas.alerts import Alert
from schemas.duration_text import spoken
from schemas.model_names import version_text
from schemas.profiles import DAY_MS, FEATURE, HOUR_MS, Window
from schemas.topics import Names

MOST_FINDINGS: Final = 20
_IN_MESSAGE: Final = 3
_LONGEST_FINDING: Final = 300
_BY_CLOCK: Final = (EVENTS_PER_SECOND, MODEL_AGE, UNCHANGED_EXAMPLES)


@dataclass(frozen=True)
class RulesSettings:
    """Settings of the rules of a stream.

    Attributes
    ----------
    window_ms
        Length of a bucket.
    """

    names: Names
    rules: Sequence[AlertRule]
    window_ms: int


class _Seen(NamedTuple):
    """What a rule has seen: one measurement, or the findings. Times in ms.

    Attributes
    ----------
    at
        The rule's time: the end of the bucket, of drift that of the newest bucket of all kinds, or the clock.
    holds, ended
        Whether `when` holds, and whether what clears the alert does.
    bad_since
        Beginning of the first bad window, if it holds.
    late
        Why actions come too late, `None` if they do not.
    """

    at: int
    holds: bool
    ended: bool
    bad_since: int
    measured: Measured | None = None
    findings: Sequence[Finding] = ()
    late: str | None = None


class Rules:
    """The alert rules of a stream.

    Parameters
    ----------
    decisions
        Returns the decisions in force.
    served
        Computes the metrics of served answers from windows.
    say
        Prints one line for the operator.
    clock
        Milliseconds since 1970, for the time in an alert and a decision.
    """

    def __init__(
        self,
        settings: RulesSettings,
        decisions: Callable[[], InForce],
        versions: VersionsBefore,
        served: ServedValues,
        say: Callable[[str], None] = print,
        clock: Callable[[], int] | None = None,
    ) -> None:
        rules = [replace(each, over_ms=_whole(each.over_ms, settings.window_ms)) for each in settings.rules]
        self._settings = replace(settings, rules=rules)
        self._decisions = decisions
        self._served = served
        self._say = say
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._actions = Actions(settings.names, decisions, versions)
        self._store = versions
        self._lag = VersionLag()
        self._compares_versions = any(rule.when.metric == VERSION_LAG for rule in settings.rules)
        self._state = RulesState()
        self._ticked = self._judged_at = self._clock()

    # --- across a start ----------------------------------------------------------------------------

    def restore(self, remembered: str) -> None:
        """Take what `remembered` returned at the last commit; an empty text if there was none."""
        self._state = RulesState.decode(remembered)
        self._ticked = self._judged_at = self._clock()

    def remembered(self) -> str:
        """Return what does not follow from the windows: raised alerts, and times of actions."""
        return self._state.encode()

    def _gone(self) -> list[Output]:
        """Clear the alerts of rules that the stream file does not have any more."""
        known = {rule.name for rule in self._settings.rules}
        outputs: list[Output] = []
        for name in [name for name in self._state.rules if name not in known]:
            state = self._state.rules.pop(name)
            if state.raised:
                self._say(f"alert {ROLE_PREFIX}{name} has cleared: its rule is gone")
                alert = Alert(f"{ROLE_PREFIX}{name}", "info", "cleared", "its rule is gone", self._clock(), {})
                outputs.append(Output(self._settings.names.topic("alerts"), 0, alert.name.encode(), alert.encode()))
        return outputs

    # --- evaluation --------------------------------------------------------------------------------

    def take(self, window: Window) -> None:
        """Take a window of the profiles topic, before its judgement: also one that was judged before."""
        if self._compares_versions:
            self._lag.take(window)

    def judged(self, judgement: Judgement, judge: Judge, kind: str) -> list[Output]:
        """Evaluate the rules about one kind of windows, of which a bucket was judged; return alerts and actions.

        Each kind has buckets of its own: when one of the examples is judged, the predictions may be hours ahead, or not
        there yet.
        """
        end, state = judgement.at_ms, self._state
        self._judged_at = self._clock()
        if not end or end // 1000 < max(state.began, state.judged.get(kind, 0)):
            return []
        if not state.began:
            if self._late(end) is not None:
                return []  # a new monitor reads the past for its reference, and raises no alert about it
            state.began = end // 1000
        state.judged[kind] = end // 1000
        outputs: list[Output] = []
        for rule in self._settings.rules:
            if rule.when.metric == DRIFT:
                outputs += self._step(rule, self._drift(rule.when, judgement))
            elif rule.when.metric not in _BY_CLOCK and rule.when.kind == kind:
                outputs += self._step(rule, self._compared(rule, self._measured(rule, end, judge), end))
        return outputs

    def _measured(self, rule: AlertRule, end: int, judge: Judge) -> Measured | None:
        if rule.when.metric == VERSION_LAG:
            return self._lag.measure(end)
        return measure(rule.when, judge.windows(end - rule.over_ms, end), rule.over_ms, self._served)

    def tick(self, now_ms: int, judge: Judge) -> list[Output]:
        """Evaluate the rules about the rate of events and the newest version, once for each length of a window."""
        outputs = self._gone()
        if now_ms < self._ticked + self._settings.window_ms or self._is_behind(now_ms):
            return outputs
        self._ticked = now_ms
        for rule in self._settings.rules:
            if rule.when.metric in _BY_CLOCK:
                found = self._by_clock(rule, now_ms, judge)
                outputs += self._step(rule, self._compared(rule, found, now_ms))
        return outputs

    def _is_behind(self, now_ms: int) -> bool:
        """Return whether old windows are still being judged: what seems not to have come may not be read yet."""
        window = self._settings.window_ms
        judged = self._state.judged.get(PREDICTIONS, 0)
        return self._judged_at > now_ms - 2 * window and 1000 * judged < now_ms - 4 * window

    def _by_clock(self, rule: AlertRule, now_ms: int, judge: Judge) -> Measured | None:
        if rule.when.metric == MODEL_AGE:
            announced = self._decisions().announced_ms
            return None if announced is None else Measured(max(0, now_ms - announced) / 1000, rule.least)
        if rule.when.metric == UNCHANGED_EXAMPLES:
            return self._unchanged(rule)
        window = self._settings.window_ms
        # The newest windows may be open still: one length until they close, and one until they are here.
        until = _whole(now_ms - 3 * window + 1, window)
        # Of older stretches there are only hours and days: a rate is of whole ones.
        step = max(window, HOUR_MS if rule.over_ms > HOUR_MS else 0, DAY_MS if rule.over_ms > DAY_MS else 0)
        since = (until - rule.over_ms) // step * step
        if not judge.knows(since):
            return None  # the monitor does not know a stretch of this length yet
        found = measure(rule.when, judge.windows(since, until), until - since, self._served)
        return None if found is None else Measured(found.value, max(found.count, rule.least))

    def _unchanged(self, rule: AlertRule) -> Measured | None:
        """Return how many examples the newest version has learned since its answers changed."""
        newest = self._decisions().newest
        since = None if newest is None else self._store.answers_since(newest)
        if newest is None or since is None:
            return None
        first = version_text(newest.model, newest.epoch, since)
        told = f"versions {first} to {newest.epoch}/{newest.examples} answer the same events alike"
        return Measured(newest.examples - since, rule.least, told if since < newest.examples else "")

    def _compared(self, rule: AlertRule, found: Measured | None, at: int) -> _Seen | None:
        if found is None or found.count < rule.least:
            return None
        holds = rule.when.holds(found.value)
        ended = not holds if rule.clear is None else rule.clear.holds(found.value)
        return _Seen(at, holds, ended, at - rule.over_ms, found, late=self._late(at))

    def _drift(self, when: Condition, judgement: Judgement) -> _Seen:
        # Findings are of all kinds, so their time is that of the newest; a kind that is behind would turn it back.
        at = max(judgement.at_ms, 1000 * max(self._state.judged.values()))
        of = [each for each in judgement.findings if not when.of or _is_about(each.subject, when.of)]
        findings = sorted(of, key=lambda each: (each.since_ms, each.check, each.subject))
        since = min((each.since_ms for each in findings), default=at)
        return _Seen(at, bool(findings), not findings, since, None, findings, self._late(judgement.at_ms))

    def _late(self, at: int) -> str | None:
        behind = self._clock() - at
        if behind <= max(HOUR_MS, 4 * self._settings.window_ms):
            return None
        return f"the window was judged {behind / HOUR_MS:.0f} h late"

    # --- states ------------------------------------------------------------------------------------

    def _step(self, rule: AlertRule, seen: _Seen | None) -> list[Output]:
        """Bring a rule's state up to date; `None` means that there was too little to tell."""
        state = self._state.of(rule.name)
        turned = seen is not None and (seen.ended if state.raised else seen.holds)
        if seen is None or not turned:
            state.since = 0
            return [] if seen is None or not state.raised else self._tell_changes(rule, state, seen)
        at = seen.at // 1000
        state.since = state.since or at
        if at - state.since < rule.hold_ms // 1000:
            return []
        if state.raised:
            return self._clear(rule, state)
        # Findings know since when they are; a value is of the windows that were measured last.
        first_at = state.since * 1000
        bad_since = min(seen.bad_since, first_at) if seen.findings else seen.bad_since - (at * 1000 - first_at)
        return self._raise(rule, state, seen._replace(bad_since=bad_since))

    def _raise(self, rule: AlertRule, state: RuleState, seen: _Seen) -> list[Output]:
        now = self._clock()
        state.raised = state.told = seen.at // 1000
        state.since, state.digest = 0, _digest(seen.findings)
        message, details = _described(rule, seen)
        cause = Cause(
            f"{rule.alert}@{seen.at}",
            message,
            seen.bad_since,
            now,
            {}
            if seen.measured is None
            else {rule.when.metric: seen.measured.value, "count": float(seen.measured.count)},
            seen.late,
        )
        outputs: list[Output] = []
        for action in rule.do:
            if action.kind != "notify":
                done = self._actions.act(rule, action, cause, self._state)
                details[f"action.{action.kind}"] = done.text
                message += f". {action.kind}: {done.text}"
                outputs += done.outputs
        self._say(f"alert {rule.alert} ({rule.severity}): {message}")
        return [self._alert(rule, "raised", message, now, details), *outputs]

    def _tell_changes(self, rule: AlertRule, state: RuleState, seen: _Seen) -> list[Output]:
        """Send the alert again if the list of findings has changed, `repeat` after the last time."""
        digest, at = _digest(seen.findings), seen.at // 1000
        if not seen.findings or digest == state.digest or at - state.told < rule.repeat_ms // 1000:
            return []
        state.told, state.digest = at, digest
        message, details = _described(rule, seen)
        self._say(f"alert {rule.alert} ({rule.severity}): {message}")
        return [self._alert(rule, "raised", message, self._clock(), details)]

    def _clear(self, rule: AlertRule, state: RuleState) -> list[Output]:
        state.raised = state.since = state.told = 0
        state.digest = ""
        self._say(f"alert {rule.alert} has cleared")
        return [self._alert(rule, "cleared", "it has cleared", self._clock(), {})]

    def _alert(self, rule: AlertRule, state: str, message: str, at: int, details: dict[str, str]) -> Output:
        severity = rule.severity if state == "raised" else "info"
        if rule.targets:
            details = {**details, "notify": " ".join(rule.targets)}
        alert = Alert(rule.alert, severity, "raised" if state == "raised" else "cleared", message, at, details)
        return Output(self._settings.names.topic("alerts"), 0, alert.name.encode(), alert.encode())


def _whole(length_ms: int, unit_ms: int) -> int:
    """Return a time rounded up to whole units."""
    return -(-length_ms // unit_ms) * unit_ms


def _described(rule: AlertRule, seen: _Seen) -> tuple[str, dict[str, str]]:
    """Return the message and the details of an alert."""
    details = {"rule": str(rule.when), "since_ms": str(seen.bad_since)}
    if seen.measured is not None:
        value, count = rule.when.said(seen.measured.value), seen.measured.count
        details |= {"value": f"{seen.measured.value:.6g}", "count": str(count)}
        if seen.measured.text:
            details["what"] = seen.measured.text
            return f"{rule.when.subject} is {value} ({rule.when}): {seen.measured.text}", details
        return f"{rule.when.subject} is {value}, over {spoken(rule.over_ms)} ({rule.when})", details
    texts = [each.text[:_LONGEST_FINDING] for each in seen.findings]
    details |= {f"finding.{number:02}": text for number, text in enumerate(texts[:MOST_FINDINGS], 1)}
    details["findings"] = str(len(texts))
    if len(texts) > MOST_FINDINGS:
        details["more"] = str(len(texts) - MOST_FINDINGS)
    more = f"; and {len(texts) - _IN_MESSAGE} more" if len(texts) > _IN_MESSAGE else ""
    return f"drift: {'; '.join(texts[:_IN_MESSAGE])}{more}", details


def _digest(findings: Iterable[Finding]) -> str:
    listed = sorted(f"{each.check} {each.subject}" for each in findings)
    return short("\n".join(listed)) if listed else ""


def _is_about(subject: str, feature: str) -> bool:
    """Return whether a finding's subject is a feature, or a pair with it."""
    return feature in [each.strip().removeprefix(f"{FEATURE}:") for each in (subject, *subject.split(" ~ "))]
