"""Work that holds the interpreter, beside threads that must not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

Breath = Callable[[], None]
_LONGEST_SECONDS: Final = 0.005


def no_breath() -> None:
    """Work on: nobody waits."""


class Breather:
    """Rests for as long as was worked since the last rest, so that half of the time is the others'.

    A thread that answers needs the interpreter some twenty times for one answer, and each time waits for
    whoever has it: with a 3 MB version loading beside it, for the whole of a hold of 1.6 ms.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Rest, if it was worked for a while."""
        worked = time.perf_counter() - self._since
        if worked > 0.0005:
            time.sleep(min(worked, _LONGEST_SECONDS))
            self._since = time.perf_counter()
