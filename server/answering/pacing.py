"""Pacing: a slow version is asked in a thread and in small pieces, so that no request delays others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final

from consumers.predictor.predictor import ServedVersion
from runtime.exits import RoleFailure
from schemas.events import Event
from server.answering.answerer import Answerer, Message
from server.spool.spool import Pending

LARGEST_SLICE: Final = 32
"""Events of one request that are answered and logged before other requests have their turn."""
_SLICE_S: Final = 0.005
_SLOW_S: Final = 0.001  # an event; beyond it a version is asked in the thread
_SLOW_IN_A_ROW: Final = 3
_WAITED: Final = 1 / 8  # of a slow answer: without processor time, it is rather a pause of the machine than the version
_QUICK_IN_A_ROW: Final = 64  # then it is quick, and in the thread the machine was slow, and not the version
_UNKNOWN: Final = 0.0  # so that the first slow answer after many quick ones counts as a pause of the machine
_LONGEST_SAMPLE_S: Final = 0.01
_WEIGHT: Final = 1 / 8
_LONGEST_WAIT_S: Final = 2.0
_VERSIONS: Final = 8


class Overloaded(Exception):  # noqa: N818
    """More events wait for the version than it can answer soon."""


class VersionGone(Exception):  # noqa: N818
    """The version's process has ended, so it answers nothing any more; this worker must start again."""


class _Pace:
    """Time that one version takes for an event, in seconds, and where it is asked."""

    def __init__(self, version: ServedVersion, seconds: float, *, in_thread: bool) -> None:
        self.version = version
        self.seconds = seconds
        self.in_thread = in_thread
        self.lock = Lock()
        """Held while it is asked: a model is asked by one thread at a time."""
        self._slow, self._quick = 0.0, 0

    @property
    def may_be_slow(self) -> bool:
        """Return whether it may have to go to the thread. Only then is its processor time read, as that takes long."""
        return self._quick < _QUICK_IN_A_ROW

    def took(self, seconds: float, worked: float, events: int) -> None:
        """Note the time that some events took, and the processor time of it; `_UNKNOWN` after many quick ones."""
        sample = seconds / events
        self.seconds += (min(sample, _LONGEST_SAMPLE_S) - self.seconds) * _WEIGHT
        if sample <= _SLOW_S:
            self._slow = 0.0
        else:
            self._slow += 1.0 if 2 * worked > seconds else _WAITED
        self._quick = self._quick + 1 if sample < _SLOW_S / 2 else 0
        self.in_thread = self.in_thread or self._slow >= _SLOW_IN_A_ROW

    def leave_thread(self) -> None:
        """Ask it in the event loop again, if it was quick for long."""
        if self._quick >= _QUICK_IN_A_ROW and not self.version.apart:
            self.in_thread = False


class Pacing:
    """Asks versions: quick ones at once in the event loop, slow ones and those in a process of their own in a thread.

    A new version is expected to take as long as the one before it. Several are in use at a time, because each request
    keeps the version that it began with.

    Parameters
    ----------
    gone
        Called in the event loop when a version's process has ended.
    clock
        Seconds, monotonic.
    work
        Processor time of the calling thread, seconds.
    """

    def __init__(
        self,
        answerer: Answerer,
        gone: Callable[[RoleFailure], None] = lambda failure: None,
        clock: Callable[[], float] = time.perf_counter,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._answerer = answerer
        self._clock, self._work = clock, work
        self._gone = gone
        self._paces: deque[_Pace] = deque(maxlen=_VERSIONS)
        self._thread = ThreadPoolExecutor(1, "ask")
        self._waiting = 0

    def _pace(self, version: ServedVersion) -> _Pace:
        for each in self._paces:
            if each.version is version:
                return each
        before = self._paces[0] if self._paces else None
        in_thread = version.apart or (before is not None and before.in_thread)
        self._paces.appendleft(_Pace(version, _SLOW_S / 2 if before is None else before.seconds, in_thread=in_thread))
        return self._paces[0]

    def slice(self, version: ServedVersion) -> int:
        """Return how many events of one request to ask before others have their turn."""
        return max(1, min(LARGEST_SLICE, int(_SLICE_S / max(self._pace(version).seconds, 1e-9))))

    def require_room(self, version: ServedVersion) -> None:
        """Raise Overloaded if a new request would wait for long. Rows of a request that has begun are always taken."""
        if self._waiting and self._waiting * self._pace(version).seconds > _LONGEST_WAIT_S:
            raise Overloaded(f"{self._waiting} events wait for the model")

    def is_slow(self, version: ServedVersion) -> bool:
        """Return whether a version must be asked in the thread."""
        pace = self._pace(version)
        if pace.in_thread:
            pace.leave_thread()
        return pace.in_thread

    def at_once(self, events: Sequence[Event | Message], version: ServedVersion) -> list[Pending] | None:
        """Return what is to be logged of these events, `None` if the version must be asked in the thread.

        Raises
        ------
        VersionGone
            If the version's process has ended.
        """
        if self.is_slow(version):
            return None
        pace = self._pace(version)
        if not pace.lock.acquire(blocking=False):
            return None  # the thread asks it just now
        try:
            return self._timed(events, pace)
        except RoleFailure as failure:
            raise self._ended(failure) from failure
        finally:
            pace.lock.release()

    async def answer(self, events: Sequence[Event | Message], version: ServedVersion) -> list[Pending]:
        """Return what is to be logged of these events. Raises VersionGone."""
        found = self.at_once(events, version)
        return await self._in_thread(events, version) if found is None else found

    async def _in_thread(self, events: Sequence[Event | Message], version: ServedVersion) -> list[Pending]:
        self._waiting += len(events)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._locked, events, self._pace(version))
        except RoleFailure as failure:
            raise self._ended(failure) from failure
        finally:
            self._waiting -= len(events)

    def _locked(self, events: Sequence[Event | Message], pace: _Pace) -> list[Pending]:
        with pace.lock:
            return self._timed(events, pace)

    def _timed(self, events: Sequence[Event | Message], pace: _Pace) -> list[Pending]:
        """Ask, and note how long it took. Call it with the lock."""
        measured = pace.may_be_slow
        worked = self._work() if measured else _UNKNOWN
        began = self._clock()
        try:
            return self._answerer.answer(events, pace.version)
        finally:
            seconds = self._clock() - began
            pace.took(seconds, self._work() - worked if measured else _UNKNOWN, len(events))

    def _ended(self, failure: RoleFailure) -> VersionGone:
        self._gone(failure)
        return VersionGone(str(failure))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
