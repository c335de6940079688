"""Two watches over the loop: it must turn, and each partition must move while it has records."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.exits import TRY_AGAIN, Doubt
from runtime.kafka_client.client import GroupConsumer
from runtime.kafka_client.records import Partition, Positions


class TurnWatch:
    """Ends the process when the loop has not turned for `limit` seconds.

    A deserializer that raises, or a defect of the client, can make `poll()` spin for ever; then Python runs no signal
    handlers either.
    """

    def __init__(self, limit: float, end: Callable[[str], None] | None = None) -> None:
        self._limit = limit
        self._end = end or _exit
        self._turned = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="turn-watch", daemon=True)
        self._thread.start()

    def turned(self) -> None:
        """Record that the loop has completed a turn."""
        self._turned = time.monotonic()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._limit / 4)):
            still = time.monotonic() - self._turned
            if still > self._limit:
                self._end(f"the loop has not turned for {still:.0f} s: restarting")
                return


def _exit(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(TRY_AGAIN)


@dataclass
class _Stand:
    """A partition's offset, the time since when it has not changed, and whether there was more to read."""

    position: int
    since: float
    behind: bool = False


class ProgressWatch:
    """Finds partitions that have records to read but have not moved for `limit` seconds.

    Early versions of the client stalled silently after a rebalance, or after one batch. A fetch reports the end of a
    partition, but it is the fetches that stall, so the watch asks the broker.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._stands: dict[Partition, _Stand] = {}

    def check(self, consumer: GroupConsumer, read: Positions, request_ms: int) -> None:
        """Raise Doubt if a partition of `read` (next offsets) has stalled."""
        # A partition whose fetched records wait for their turn has not stalled. It can wait for minutes behind 1 MB of
        # another partition that is slow to process; that other partition moves.
        resting = consumer.paused() | consumer.waiting()
        reading = {partition: offset for partition, offset in read.items() if partition not in resting}
        standing = self.standing(reading, time.monotonic())
        if not standing:
            return
        # With read-committed, another producer's open transaction counts as the end of the log, not as a stall.
        stuck = self.stalled(consumer.end_offsets(standing, timeout_ms=request_ms), time.monotonic())
        if stuck:
            raise Doubt(f"reading stands still in {stuck[0]} although there is more to read")

    def standing(self, positions: Mapping[Partition, int], now: float) -> list[Partition]:
        """Return the partitions whose ends are needed: those that have not moved for half the limit.

        `positions`: next offsets of the partitions being read; `now`: monotonic seconds.
        """
        for partition in set(self._stands) - set(positions):
            del self._stands[partition]
        standing = []
        for partition, position in positions.items():
            stand = self._stands.get(partition)
            if stand is None or stand.position != position:
                self._stands[partition] = _Stand(position, now)
            elif now - stand.since > self._limit / 2:
                standing.append(partition)
        return standing

    def stalled(self, ends: Mapping[Partition, int], now: float) -> list[Partition]:
        """Return the partitions that were behind half a limit ago and have not moved since."""
        stuck = []
        for partition, end in ends.items():
            stand = self._stands[partition]
            behind = stand.position < end
            if behind and stand.behind:
                stuck.append(partition)
            self._stands[partition] = _Stand(stand.position, now, behind)
        return stuck
