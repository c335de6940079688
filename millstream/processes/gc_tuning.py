"""How often the garbage collector looks, in processes that make and drop small objects by the million."""

from __future__ import annotations

import gc


def rest() -> None:
    """Have the collector leave what is loaded by now alone, and look more rarely at what comes.

    What is loaded lives as long as the process. By default the collector walks the whole model again after every few
    hundred events that are kept a while: 10 % of a learner's time. Cycles are rare here, and reference counts free the
    rest at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
