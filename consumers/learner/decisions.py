"""What people have decided, as those who learn need to know it."""

from __future__ import annotations

from typing import Protocol

from model_store import VersionId


class Control(Protocol):
    """Where a learner asks."""

    def is_paused(self) -> bool:
        """Tell whether learning is paused."""

    def adopted(self) -> VersionId | None:
        """Return the version made anew that learning is to go on from, if somebody has decided so."""

    def protected(self) -> set[VersionId]:
        """Return the versions that serve: retention keeps them."""
