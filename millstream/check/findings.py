"""What `millstream check` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "ok"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    severity
        ``error``: the stream must not run like this. ``warning``: it works, with a consequence one should
        know. ``ok``.
    about
        A word for what was looked at, the same for the same matter: ``builds``, ``events``, ``saves``,
        ``predicts``, ``seeds``, ``time``, ``transformers``, ``weight``, ``metrics``, ``contract``.
    """

    severity: Severity
    about: str
    text: str


@dataclass(frozen=True)
class CheckReport:
    """The findings on one stream.

    Attributes
    ----------
    events
        How many events the model was tried on; `origin` says where they were from.
    predict_on_copy
        Predicting changes the model: whoever predicts must do so on a copy.
    """

    stream: str
    findings: tuple[Finding, ...]
    events: int
    origin: str
    predict_on_copy: bool = False

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that forbid running; with any, `millstream check` exits with 1."""
        return tuple(each for each in self.findings if each.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "warning")
