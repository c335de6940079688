"""Rules for alerts, in the form that the monitor evaluates. Times in ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from consumers.loop.alerts import Severity
from consumers.monitor.rules.condition import Condition

ROLE_PREFIX: Final = "monitor."
"""Names of alerts begin with the role."""


@dataclass(frozen=True)
class Action:
    """What a rule does when its alert is raised.

    Attributes
    ----------
    kind
        ``notify`` a target, ``pause`` learning, ``rollback`` the serving version, or ask to ``retrain`` a model.
    name
        Name of the target, or of a model; empty for all models.
    """

    kind: Literal["notify", "pause", "rollback", "retrain"]
    name: str = ""


@dataclass(frozen=True)
class AlertRule:
    """When an alert is raised and cleared, and what it does; see `millstream.Rule`.

    Attributes
    ----------
    over_ms
        Length of the stretch of windows that the condition is evaluated on.
    least
        Number of events, or labels, without which the rule is neither raised nor cleared.
    hold_ms
        Time for which the condition must hold, or have ended, before the alert is raised, or cleared.
    repeat_ms
        Least time between two reports of a list of findings that has changed.
    """

    name: str
    when: Condition
    clear: Condition | None
    over_ms: int
    least: int
    hold_ms: int
    repeat_ms: int
    severity: Severity
    do: tuple[Action, ...] = ()
    dry_run: bool = False

    @property
    def alert(self) -> str:
        """Name of its alert."""
        return f"{ROLE_PREFIX}{self.name}"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that it notifies."""
        return tuple(dict.fromkeys(each.name for each in self.do if each.kind == "notify"))
