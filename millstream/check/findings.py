"""Findings and report of `millstream check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "ok"]


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    severity
        ``error``: the stream must not run like this. ``warning``: it works, with a consequence to know of. ``ok``: no
        problem.
    about
        A fixed word for the subject of the check: ``builds``, ``events``, ``saves``, ``predicts``, ``seeds``, ``time``,
        ``transformers``, ``weight``, ``metrics``, ``contract``, ``label``, ``code``, ``classes``, ``models``,
        ``alerts``, ``search``, ``extras``, ``onnx``.
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
        Number of events that the model was tried on; `origin` names their source.
    predict_on_copy
        True if predicting changes the model, so that it must be done on a copy.
    """

    stream: str
    findings: tuple[Finding, ...]
    events: int
    origin: str
    predict_on_copy: bool = False

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that forbid running; with any, `millstream check` exits with 1."""
        return tuple(each for each in self.findings if each.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "warning")
