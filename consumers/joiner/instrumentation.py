"""What a joiner tells of its work beside what its loop tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.joiner.join import Emitted


class JoinerMeter:
    """Hears what is joined, and does nothing with it; see `consumers.loop.instrumentation.Meter`."""

    def joined(self, emitted: Sequence[Emitted]) -> None:
        """The joiner made these examples; live, not while it recovers."""
