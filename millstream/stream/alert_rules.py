"""Alert rules in a stream file: `Rule`, and what it does: `Notify`, `Pause`, `Rollback`, `Retrain`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from consumers.monitor.rules.condition import (
    DRIFT,
    METRIC,
    MISSING,
    MODEL_AGE,
    SERVED,
    UNCHANGED_EXAMPLES,
    VERSION_LAG,
    Condition,
    InvalidCondition,
    parse,
)
from consumers.monitor.rules.rule import ROLE_PREFIX, Action, AlertRule
from millstream.stream.duration import milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_checks import check_choices, check_spans, known_parameters
from millstream.stream.parameter_groups import Span
from schemas.model_names import MAIN, is_model_name
from schemas.profiles import DAY_MS
from schemas.target import Task

MOST_RULES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_NOT_IN_NAME: Final = re.compile(r"[^a-z0-9_.]+")
_LEAST_LABELS: Final = 100
_NO_LEAST: Final = ("events_per_second", MODEL_AGE, VERSION_LAG, UNCHANGED_EXAMPLES, DRIFT)


@dataclass(frozen=True)
class Notify:
    """Deliver the alert to a target of `notify`, by its name."""

    target: str


@dataclass(frozen=True)
class Pause:
    """Pause learning: of every model, or of the one that is named."""

    model: str | None = None


@dataclass(frozen=True)
class Rollback:
    """Serve the newest kept version that was announced before the first bad window."""


@dataclass(frozen=True)
class Retrain:
    """Ask for a job that trains this model."""

    model: str


Do: TypeAlias = Notify | Pause | Rollback | Retrain


@known_parameters(unnamed=("when",))
@dataclass(frozen=True, kw_only=True)
class Rule:
    """When an alert is raised and cleared, and what is done about it.

    Parameters
    ----------
    when
        ``drift``, ``drift(FEATURE)``, or a comparison such as ``f1 < 0.7``: see the table of metrics in
        docs/monitoring.md.
    clear
        The comparison that clears the alert, such as ``f1 > 0.75``; by default when `when` no longer holds.
    over
        Length of the stretch of windows that a comparison is evaluated on: at least a window, rounded up to whole ones.
    least
        Number of events, or of labels for metrics of labelled answers, below which the alert is neither raised nor
        cleared: by default 100, and 1 for ``metric:NAME``.
    hold
        Time for which `when`, or what clears it, must hold.
    repeat
        An alert whose list of findings has changed is sent again after this time.
    severity
        ``info``, ``warning`` or ``critical``.
    do
        `Notify`, `Pause`, `Rollback`, `Retrain`. Without it, the alert is only shown. Each of the last three happens at
        most once an hour and three times a day in a stream, and never against the pin or the pause of a person.
    dry_run
        Only say in the alert what `Pause`, `Rollback` and `Retrain` would do.
    name
        The alert is called ``monitor.NAME``; by default after the metric.

    Examples
    --------
    >>> Rule("f1 < 0.7", clear="f1 > 0.75", over="1h", least=500, hold="15m", do=[Rollback()]).alert
    'monitor.f1'
    """

    when: str = field(kw_only=False)
    clear: str | None = None
    over: Span = "1h"
    least: int | None = None
    hold: Span = 0
    repeat: Span = "1d"
    severity: Literal["info", "warning", "critical"] = "warning"
    do: Sequence[Do] = ()
    dry_run: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check_spans(self, "over", "hold", "repeat")
        check_choices(self, {"severity": ("info", "warning", "critical"), "dry_run": (True, False)})
        self._check_clear()
        least = self.least
        if least is not None and (not isinstance(least, int) or isinstance(least, bool) or least < 0):
            raise InvalidStream(f"Rule: least={least!r:.60} must be a whole number, at least 0")
        if milliseconds(self.over) <= 0:
            raise InvalidStream(f"Rule: over={self.over!r:.60} must be above 0")
        self._check_actions()
        if self.name is not None and (not isinstance(self.name, str) or not _NAME.fullmatch(self.name)):
            raise InvalidStream(f"Rule: name={self.name!r:.60} must be 1 to 32 of a-z, 0-9, '_', '.' and '-'")

    def _check_clear(self) -> None:
        when = self.condition
        if self.clear is None:
            return
        clear = _parsed("clear", self.clear)
        if not when.sign:
            raise InvalidStream(f"Rule: clear={self.clear!r:.60} is for comparisons: {when} clears when it has ended")
        if clear.subject != when.subject:
            raise InvalidStream(
                f"Rule: clear={self.clear!r:.60} must be about {when.subject}, like when={self.when!r:.60}"
            )
        if clear.overlaps(when):
            way = ">" if when.falls else "<"
            raise InvalidStream(
                f"Rule: clear={self.clear!r:.60} is on the wrong side of when={self.when!r:.60}: it must be like "
                f"'{when.subject} {way} {when.number:g}', or further away"
            )

    def _check_actions(self) -> None:
        if isinstance(self.do, (str, Mapping)) or not isinstance(self.do, Sequence):
            raise InvalidStream(f"Rule: do={self.do!r:.60} must be a list, such as [Notify('ops'), Rollback()]")
        for each in self.do:
            if not isinstance(each, (Notify, Pause, Rollback, Retrain)):
                raise InvalidStream(f"Rule: do={each!r:.60} must be Notify(...), Pause(), Rollback() or Retrain(...)")
            named = each.model if isinstance(each, (Pause, Retrain)) else None
            unnamed = named is None and isinstance(each, (Notify, Pause, Rollback))
            if not unnamed and not (isinstance(named, str) and is_model_name(named)):
                raise InvalidStream(f"Rule: {type(each).__name__}({named!r:.60}) must name a model")
        kinds = [type(each) for each in self.do if not isinstance(each, Notify)]
        if len(set(kinds)) < len(kinds):
            raise InvalidStream("Rule: do= has an action twice; each happens at most once an hour")

    @property
    def condition(self) -> Condition:
        """`when`, parsed."""
        return _parsed("when", self.when)

    @property
    def called(self) -> str:
        """The name, or the default one: the metric and what it is of."""
        return self.name or _NOT_IN_NAME.sub("-", self.condition.subject.lower()).strip("-.")[:32].rstrip("-.")

    @property
    def alert(self) -> str:
        """Name of its alert."""
        return f"{ROLE_PREFIX}{self.called}"

    def evaluated(self) -> AlertRule:
        """Return the rule in the form that the monitor evaluates."""
        when = self.condition
        usual = 0 if when.metric in _NO_LEAST else 1 if when.metric == METRIC else _LEAST_LABELS
        return AlertRule(
            name=self.called,
            when=when,
            clear=None if self.clear is None else parse(self.clear),
            over_ms=milliseconds(self.over),
            least=usual if self.least is None else self.least,
            hold_ms=milliseconds(self.hold),
            repeat_ms=milliseconds(self.repeat),
            severity=self.severity,
            do=tuple(_action(each) for each in self.do),
            dry_run=self.dry_run,
        )


@dataclass(frozen=True)
class Known:
    """What the rules of a stream can be about.

    Attributes
    ----------
    task
        Task of the stream.
    features
        Names of the features that can reach the monitor, `None` if any can.
    metrics
        Names of the downstream metrics, `None` if any can come.
    models, targets, batch
        Names of the stream's other models that learn, of its targets of alerts, and of its batch models.
    window
        Length of a window, as the stream file says it.
    """

    task: Task
    features: Collection[str] | None
    metrics: Collection[str] | None
    models: Collection[str]
    targets: Collection[str]
    window: Span
    batch: Collection[str] = ()


def check_rules(rules: Sequence[Rule], known: Known) -> None:
    """Raise InvalidStream unless the rules fit a stream."""
    if isinstance(rules, (str, Mapping)) or not isinstance(rules, Sequence):
        raise InvalidStream(f"Stream: alerts={rules!r:.60} must be a list, such as [Rule('drift')]")
    if len(rules) > MOST_RULES:
        raise InvalidStream(f"Stream: alerts= has {len(rules)} rules; at most {MOST_RULES} are evaluated")
    names: dict[str, Rule] = {}
    for rule in rules:
        if not isinstance(rule, Rule):
            raise InvalidStream(f"Stream: alerts={rule!r:.60} must be Rule(...), such as Rule('drift')")
        before = names.setdefault(rule.called, rule)
        if before is not rule:
            raise InvalidStream(
                f"Stream: alerts= has two rules named {rule.called!r} ({before.when!r}, {rule.when!r}): "
                "name each differently with name="
            )
        _check_subject(rule, known)
        _check_over(rule, known.window)
        _check_names(rule, known.models, known.targets, known.batch)


def _check_subject(rule: Rule, known: Known) -> None:
    when, features, metrics = rule.condition, known.features, known.metrics
    tasks = SERVED.get(when.metric)
    if tasks is not None and known.task not in tasks:
        fit = ", ".join(name for name, tasks in SERVED.items() if known.task in tasks)
        raise InvalidStream(f"Rule: when={rule.when!r}: {when.metric} is not for task={known.task!r}, which has {fit}")
    if when.metric in (MISSING, DRIFT) and when.of and features is not None and when.of not in features:
        raise InvalidStream(
            f"Rule: when={rule.when!r}: there is no feature {when.of!r} in features={_near(when.of, features)}"
        )
    if when.metric == METRIC and metrics is not None and when.of not in metrics:
        way_out = _near(when.of, metrics) if metrics else ", which names no source of metrics"
        raise InvalidStream(f"Rule: when={rule.when!r}: there is no metric {when.of!r} in metrics_from={way_out}")


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_over(rule: Rule, window: Span) -> None:
    """Raise InvalidStream if no whole window lies within the stretch that a comparison is evaluated on."""
    by_window = rule.condition.metric not in (DRIFT, MODEL_AGE, UNCHANGED_EXAMPLES, VERSION_LAG)
    if by_window and milliseconds(rule.over) < milliseconds(window):
        raise InvalidStream(
            f"Rule: when={rule.when!r}: over={rule.over!r:.60} is shorter than a window of "
            f"watch=Watch(window={window!r:.60}), so it would never be evaluated"
        )


def _check_names(rule: Rule, models: Collection[str], targets: Collection[str], batch: Collection[str]) -> None:
    for each in rule.do:
        if isinstance(each, Notify) and each.target not in targets:
            known = f"there are {', '.join(targets)}" if targets else "notify= has no target"
            raise InvalidStream(f"Rule: when={rule.when!r}: Notify({each.target!r:.60}) names no target; {known}")
        if isinstance(each, Pause) and each.model not in (None, MAIN, *models):
            known = ", ".join((MAIN, *models))
            raise InvalidStream(f"Rule: when={rule.when!r}: there is no model {each.model!r}; there are {known}")
        if isinstance(each, Retrain) and each.model not in batch:
            known = f"there are {', '.join(batch)}" if batch else "batch= has none"
            raise InvalidStream(f"Rule: when={rule.when!r}: Retrain({each.model!r}) names no batch model; {known}")


def evaluated(rules: Sequence[Rule]) -> tuple[AlertRule, ...]:
    """Return rules in the form that the monitor evaluates."""
    return tuple(rule.evaluated() for rule in rules)


def rollback_days(rules: Sequence[Rule]) -> int | None:
    """Return how many days, rounded up, the first bad window of a rule that may roll back lies before its alert.

    `None` if no rule may roll back.
    """
    rolling = [rule for rule in rules if any(isinstance(each, Rollback) for each in rule.do)]
    spans = [milliseconds(rule.over) + milliseconds(rule.hold) for rule in rolling]
    return max((-(-each // DAY_MS) for each in spans), default=None)


def _action(each: Do) -> Action:
    if isinstance(each, Notify):
        return Action("notify", each.target)
    if isinstance(each, Retrain):
        return Action("retrain", each.model)
    return Action("rollback") if isinstance(each, Rollback) else Action("pause", each.model or "")


def _parsed(name: str, text: object) -> Condition:
    if not isinstance(text, str):
        raise InvalidStream(f"Rule: {name}={text!r:.60} must be a text, such as 'f1 < 0.7'")
    try:
        return parse(text)
    except InvalidCondition as error:
        raise InvalidStream(f"Rule: {name}={text!r:.60}: {error}") from error
