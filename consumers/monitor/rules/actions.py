"""Actions of a rule when its alert is raised: records for the transaction that holds the alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from consumers.monitor.rules.decisions import SHARD, InForce
from consumers.monitor.rules.rule import Action, AlertRule
from consumers.monitor.rules.state import RulesState
from consumers.roles import models_that_learn
from model_store import StoreError, VersionId
from runtime.kafka_client.records import Output
from schemas.jobs import Job
from schemas.model_names import is_named, model_id, name_of
from schemas.model_updates import Decision, Learning, ModelUpdate, RolledBack
from schemas.topics import Names


class VersionsBefore(Protocol):
    """The kept versions of a stream's models."""

    def before(self, model: str, at_ms: int) -> VersionId | None:
        """Return the newest version announced before a time that predictors would serve, `None` if there is none."""

    def keep(self, version: VersionId) -> None:
        """Protect a version from retention."""

    def answers_since(self, version: VersionId) -> int | None:
        """Return with how many examples a version's answers changed last, `None` if nobody can tell now."""


@dataclass(frozen=True)
class Cause:
    """The alert that is raised.

    Attributes
    ----------
    id
        The same whenever this alert is raised for this bucket of the log.
    text
        One line: what was found.
    bad_since_ms
        Beginning of the first bad window.
    now_ms
        Time of the decision.
    evidence
        Figures, by name.
    late
        Why the bucket was judged too late for actions, `None` if it was not.
    """

    id: str
    text: str
    bad_since_ms: int
    now_ms: int
    evidence: dict[str, float]
    late: str | None = None


class Done(NamedTuple):
    """Result of an action: a line for the alert, the records to send, and the version to protect from retention."""

    text: str
    outputs: tuple[Output, ...] = ()
    keep: VersionId | None = None


class Actions:
    """Carries out the actions of alert rules, unless a person's decision, or their number, stands against it."""

    def __init__(self, names: Names, decisions: Callable[[], InForce], versions: VersionsBefore) -> None:
        self._names = names
        self._decisions = decisions
        self._versions = versions

    def act(self, rule: AlertRule, action: Action, cause: Cause, state: RulesState) -> Done:
        """Return the records of an action, and what to say of it."""
        act = {"pause": self._pause, "rollback": self._roll_back, "retrain": self._retrain}[action.kind]
        now_s = cause.now_ms // 1000
        try:
            done = act(rule, action, cause)
            why_not = cause.late or state.why_not_again(action.kind, now_s)
            if not done.outputs:
                return done
            if rule.dry_run:
                return Done(f"would do: {done.text}" + (f" (not now: {why_not})" if why_not else ""))
            if why_not is not None:
                return Done(f"not done: {why_not}")
            if done.keep is not None:
                self._versions.keep(done.keep)
        except (StoreError, OSError) as error:
            return Done(f"not done: {error}")
        state.note(action.kind, now_s)
        return done

    def _pause(self, rule: AlertRule, action: Action, cause: Cause) -> Done:
        every = tuple(model_id(self._names.stream, name) for name in ("", *models_that_learn(self._names)))
        wanted = every if not action.name else (model_id(self._names.stream, action.name),)
        paused = self._decisions().paused
        running = [each for each in wanted if each not in paused]
        if not running:
            return Done(f"not done: learning of {_listed(wanted)} is paused already")
        outputs: list[Output] = []
        for model in running:
            named = model if is_named(model) else ""
            outputs += self._decided(Learning(SHARD, True, rule.alert, cause.text, named), cause.now_ms)
        return Done(
            f"learning of {_listed(running)} is paused; `millstream resume {self._names.stream}` continues it",
            tuple(outputs),
        )

    def _roll_back(self, rule: AlertRule, action: Action, cause: Cause) -> Done:
        now = self._decisions()
        if now.version is not None and not now.by_rule:
            return Done(f"not done: a person has pinned {now.version}")
        if now.version is not None:
            return Done(f"not done: {now.by_rule} has rolled back to {now.version} already")
        version = self._versions.before(now.model, cause.bad_since_ms)
        if version is None:
            return Done(f"not done: no version of {name_of(now.model)} from before the first bad window is kept")
        decision = RolledBack(
            version.model,
            SHARD,
            version.epoch,
            version.examples,
            now.follows,
            rule.alert,
            cause.text,
            cause.evidence,
        )
        undo = f"`millstream models unpin {self._names.stream}` lets the newest serve again"
        return Done(f"{version} serves; {undo}", self._decided(decision, cause.now_ms), version)

    def _retrain(self, rule: AlertRule, action: Action, cause: Cause) -> Done:
        job = Job(cause.id, action.name, cause.text, rule.alert, cause.now_ms)
        output = Output(self._names.topic("jobs"), 0, job.id.encode(), job.encode())
        return Done(f"job {job.id} asks for a training of {action.name}", (output,))

    def _decided(self, decision: Decision, now_ms: int) -> tuple[Output, ...]:
        """Return the records of a decision: the history first, as with a person's."""
        key, value = decision.key.encode(), ModelUpdate(now_ms, decision).encode()
        return tuple(Output(self._names.topic(kind), 0, key, value) for kind in ("decisions", "models"))


def _listed(models: tuple[str, ...] | list[str]) -> str:
    return ", ".join(name_of(each) for each in models)
