"""Two watches over the loop: that it turns at all, and that each partition moves while there is something."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from consumers.processor import Partition

EXIT_CODE: Final = 75


class TurnWatch:
    """Ends the process when the loop has not turned for `limit` seconds.

    A deserializer that raises, or a defect of the client, can make `poll()` spin for ever; no signal
    handler of Python's runs then either.
    """

    def __init__(self, limit: float, end: Callable[[str], None] | None = None) -> None:
        self._limit = limit
        self._end = end or _exit
        self._turned = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="turn-watch", daemon=True)
        self._thread.start()

    def turned(self) -> None:
        """Note that the loop has come round."""
        self._turned = time.monotonic()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._limit / 4)):
            still = time.monotonic() - self._turned
            if still > self._limit:
                self._end(f"the loop has not turned for {still:.0f} s: starting anew")
                return


def _exit(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


class ProgressWatch:
    """Tells when a partition has records to read, is not paused, and yet has not moved for `limit` seconds.

    Young versions of the client stalled after a rebalance, or after one batch, without a word.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seen: dict[Partition, tuple[int, float]] = {}

    def stalled(
        self, positions: Mapping[Partition, int], ends: Mapping[Partition, int | None], now: float
    ) -> list[Partition]:
        """Return the partitions that stand still. `positions`: those that are read; `now`: monotonic seconds."""
        stuck = []
        for partition, position in positions.items():
            known, since = self._seen.get(partition, (-1, now))
            end = ends.get(partition)
            if position != known or end is None or position >= end:
                self._seen[partition] = (position, now)
            elif now - since > self._limit:
                stuck.append(partition)
        for partition in set(self._seen) - set(positions):
            del self._seen[partition]
        return stuck
