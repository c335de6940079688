"""Threads for what an endpoint waits for: bounded, as are the requests before them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from server.web.messages import HttpError

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Workers:
    """Runs functions in threads, for the event loop of one process.

    The threads do not hold the process up at its end, as those of an executor would.

    Parameters
    ----------
    waiting
        Requests that may wait for a thread; the next are refused.
    seconds
        Time after which a request is told that it takes too long. Its thread goes on until it is done.
    late
        What such a request is told.
    """

    def __init__(self, name: str, threads: int, *, waiting: int, seconds: float, late: str) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._most: Final = threads + waiting
        self._seconds, self._late = seconds, late
        self._busy = 0
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises.

        Raises
        ------
        HttpError
            If too many requests wait already, or if it takes too long.
        """
        if self._busy >= self._most:
            raise HttpError(503, "overloaded", "too many requests at once: send it again a little later")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        done.add_done_callback(self._finished)
        self._busy += 1
        self._jobs.put((work, done, loop))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(done)
        except TimeoutError:
            if done.done():
                raise  # the function's own
            raise HttpError(503, "slow", self._late) from None

    def _finished(self, done: asyncio.Future[Any]) -> None:
        self._busy -= 1
        if not done.cancelled():
            done.exception()  # a request that has been told so already does not take it

    def _work(self) -> None:
        while True:
            work, done, loop = self._jobs.get()
            try:
                result, error = work(), None
            except Exception as raised:  # noqa: BLE001 - it is the request's result
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, done, result, error)


def _settle(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
