"""Pauses in work that holds the interpreter lock, so that other threads can answer in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

Breath = Callable[[], None]
_LONGEST_SECONDS: Final = 0.005


def no_breath() -> None:
    """Do nothing: no other thread is waiting."""


class Breather:
    """Pauses for as long as the work since the last pause took, so that other threads get half of the time.

    A thread needs the interpreter lock about twenty times for one answer, and waits each time until it is free: while a
    3 MB version loads, for 1.6 ms each time.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Pause, if the work since the last pause was long enough."""
        worked = time.perf_counter() - self._since
        if worked > 0.0005:
            time.sleep(min(worked, _LONGEST_SECONDS))
            self._since = time.perf_counter()
