"""Instrumentation of a joiner, in addition to that of its loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted


class JoinerMeter:
    """Receives the joined examples and ignores them; see `consumers.loop.instrumentation.Meter`."""

    def joined(self, emitted: Sequence[Emitted]) -> None:
        """The joiner made these examples; not called during recovery."""
