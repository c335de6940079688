"""Instrumentation of a monitor, in addition to that of its loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.profiles import Window


class MonitorMeter:
    """Receives the closed windows and ignores them; see `consumers.loop.instrumentation.Meter`."""

    def watched(self, windows: Sequence[Window]) -> None:
        """These windows have closed; not called for windows that are read again."""
