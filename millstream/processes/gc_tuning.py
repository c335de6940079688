"""Tuning of the garbage collector for processes that create and drop millions of small objects."""

from __future__ import annotations

import gc


def rest() -> None:
    """Exclude all loaded objects from garbage collection, and collect new objects less often.

    The loaded objects live as long as the process. By default the collector walks the whole model after every few
    hundred events that are kept for a while: 10 % of a learner's time. Reference cycles are rare here, and reference
    counts free everything else at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
