"""Thread that makes a snapshot of the joiner's local store at regular intervals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consumers.joiner.local_store import LocalStore, LocalStoreError, View
from consumers.joiner.snapshots import Snapshots
from model_store import StoreError

_FIRST_SECONDS: Final = 30.0
_WORK_SECONDS: Final = 0.001
# Share of the time: with more, the joiner waits too often for the interpreter lock.
_SHARE: Final = 0.2
_LONGEST_REST_SECONDS: Final = 0.05
_END_SECONDS: Final = 5.0


class _Ended(Exception):  # noqa: N818
    """The joiner is closing, so the snapshot is abandoned."""


class _Rests:
    """Pauses the snapshot thread so that it works only a share of the time; raises when the joiner closes."""

    def __init__(self, end: threading.Event) -> None:
        self._end = end
        self._since = time.perf_counter()

    def __call__(self) -> None:
        worked = time.perf_counter() - self._since
        if worked < _WORK_SECONDS:
            return
        if self._end.wait(min(worked * (1 - _SHARE) / _SHARE, _LONGEST_REST_SECONDS)):
            raise _Ended
        self._since = time.perf_counter()


@dataclass(frozen=True)
class SnapshotPace:
    """The interval between snapshots.

    Attributes
    ----------
    every
        Seconds between two snapshots, at least; snapshots that take long are made less often.
    """

    every: float

    def due(self, since_begun: float, last_cost: float) -> bool:
        """Return whether a snapshot is due, given the seconds since the last one began and the seconds it took.

        >>> pace = SnapshotPace(every=300)
        >>> pace.due(since_begun=301, last_cost=20), pace.due(since_begun=301, last_cost=100)
        (True, False)
        """
        return since_begun >= max(self.every, 4 * last_cost)


class SnapshotKeeper:
    """Makes snapshots when they are due; reports a failed one and tries again at the next interval.

    Parameters
    ----------
    every
        Seconds.
    say
        Prints one line for the operator.
    beside
        Work in a thread; `False` makes the snapshot at once, for simulation.
    """

    def __init__(
        self, snapshots: Snapshots, every: float, say: Callable[[str], None] = print, *, beside: bool = True
    ) -> None:
        self.snapshots = snapshots
        self._pace = SnapshotPace(every)
        self._say = say
        self._beside = beside
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        # A process that restarts often must also get to make a snapshot.
        self._begun = time.monotonic() - every + min(every, _FIRST_SECONDS)
        self._cost = 0.0
        self._written: dict[int, tuple[int, int]] = {}

    def offer(self, store: LocalStore, numbers: Sequence[int]) -> None:
        """Begin a snapshot of these partitions if one is due. Quick: called after each commit of the store."""
        now = time.monotonic()
        if not numbers or not self._pace.due(now - self._begun, self._cost):
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._begun = now
        if not self._beside:
            self._take(store, numbers, lambda: None)
            return
        self._thread = threading.Thread(
            target=self._take, args=(store, numbers, _Rests(self._end)), name="snapshot", daemon=True
        )
        self._thread.start()

    def _take(self, store: LocalStore, numbers: Sequence[int], rest: Callable[[], None]) -> None:
        try:
            with store.view() as view:
                for number in numbers:
                    self._write(view, number, rest)
        except _Ended:
            return
        except (StoreError, LocalStoreError) as error:
            self._say(f"no snapshot of the local store now: {error}")
        self._cost = time.monotonic() - self._begun

    def _write(self, view: View, number: int, rest: Callable[[], None]) -> None:
        standing = self.snapshots.standing(view, number)
        if standing is None or self._written.get(number) == standing:
            return  # nothing has been read since
        began = time.monotonic()
        made = self.snapshots.write(view, number, time.time_ns() // 1_000_000, rest)
        if made is not None:
            self._written[number] = made.local.offsets
            self._say(
                f"snapshot of partition {number}: {made.entries} entries, {made.size_bytes / 1e6:.1f} MB "
                f"in {time.monotonic() - began:.1f} s"
            )

    def close(self) -> None:
        """Abandon a snapshot that is under way; nothing of it is visible."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
