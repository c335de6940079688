"""Time limit for reading bodies: one timer for all, as one for each costs as much as the reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


class ReadingTimeout:
    """Ends the readings that take longer than `seconds`, for one event loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun: dict[asyncio.Task[Any], float] = {}  # in the order in which they began
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        # asyncio asks for the process id at each look for the running loop.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def within(self, read: Awaitable[bytes]) -> bytes:
        """Return what is read. Raises TimeoutError if it takes too long."""
        loop = self._loop
        if loop is None:
            self._loop = loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._begun[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._look, loop)
        try:
            return await read
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise TimeoutError from None
        finally:
            del self._begun[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the readings that are late, and look again when the next one would be."""
        self._timer = None
        now = loop.time()
        for task, began in self._begun.items():
            if task in self._late:
                continue
            left = began + self.seconds - now
            if left > 0:
                self._timer = loop.call_later(left, self._look, loop)
                return
            self._late.add(task)
            task.cancel()
