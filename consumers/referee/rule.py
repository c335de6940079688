"""The rule by which a model is promoted, and a promotion is taken back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

from consumers.referee.confidence import Boundary
from consumers.referee.losses import LossRule

_TYPICAL: Final = 0.1
"""Sum of squared differences of losses for each label, in units of the bound squared, that the bounds are tuned for."""


@dataclass(frozen=True)
class GuardRule:
    """When a promotion is taken back; see `millstream.Guard`. Times in ms."""

    at_least: float = 0.0
    settle_ms: int = 0
    errors: float = 0.01


@dataclass(frozen=True)
class Rule:
    """When a challenger becomes the serving model; see `millstream.Promote`. Times in ms.

    Attributes
    ----------
    models
        Ids of all models of the stream.
    wait_ms
        The stream's label wait.
    """

    models: tuple[str, ...]
    loss: LossRule
    at_least: float = 0.0
    alpha: float = 0.05
    labels: int = 1000
    contest_ms: int = 7 * 86_400_000
    settle_ms: int = 0
    wait_ms: int = 0
    guard: GuardRule = field(default_factory=GuardRule)

    def boundary(self, challengers: int) -> Boundary:
        """Return the boundary of each of so many challengers: they share alpha, which is a union bound."""
        return self.boundary_at(self.alpha / max(1, challengers))

    def boundary_at(self, alpha: float) -> Boundary:
        """Return the boundary of a difference of two losses at this level."""
        return Boundary(alpha, 2.0 * self.loss.bound, self.labels * _TYPICAL * self.loss.bound**2)

    def fingerprint(self) -> str:
        """Return a hash of all that decides how events are counted and when a model is promoted."""
        function = self.loss.function
        named = None if function is None else (function.__module__, getattr(function, "__qualname__", ""))
        text = repr((replace(self, loss=replace(self.loss, function=None)), named))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
