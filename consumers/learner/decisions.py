"""Decisions of operators that a learner follows."""

from __future__ import annotations

from typing import Protocol

from model_store import VersionId


class Control(Protocol):
    """Source of the operators' decisions."""

    def is_paused(self) -> bool:
        """Return whether learning is paused."""

    def adopted(self) -> VersionId | None:
        """Return the rebuilt version that learning must continue from, if an operator has decided so."""

    def protected(self) -> set[VersionId]:
        """Return the versions that serve, which retention must keep."""
