"""Asking for single events: those of one turn of the event loop are asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Final, TypeAlias

from consumers.predictor.predictor import ServedVersion
from schemas.events import Event
from server.answering.answerer import Message
from server.answering.pacing import Pacing, VersionGone
from server.spool.spool import Pending

_Waiting: TypeAlias = tuple[ServedVersion, Event | Message, "asyncio.Future[Pending]"]
_VERSION: Final = 0


class Asking:
    """Asks the versions of single events, for the event loop of one worker.

    The interpreter is quicker with the same code again and again than with each request's code from its beginning to
    its end, because that is larger than the processor's first cache.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._waiting: list[_Waiting] = []

    async def ask(self, event: Event | Message, version: ServedVersion) -> Pending:
        """Return what is to be logged of an event. Raises VersionGone."""
        if self._pacing.is_slow(version):
            return (await self._pacing.answer([event], version))[0]
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Pending] = loop.create_future()
        if not self._waiting:
            # At the end of this turn: the other requests that are ready come before.
            loop.call_soon(self._ask, loop)
        self._waiting.append((version, event, done))
        return await done

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        for version, group in groupby(waiting, key=lambda each: each[_VERSION]):
            same = list(group)
            while same:
                some = same[: self._pacing.slice(version)]
                del same[: len(some)]
                self._ask_some(loop, version, some)

    def _ask_some(self, loop: asyncio.AbstractEventLoop, version: ServedVersion, some: Sequence[_Waiting]) -> None:
        try:
            found = self._pacing.at_once([event for _, event, _ in some], version)
        except VersionGone as error:
            for _, _, done in some:
                _fail(done, error)
        except Exception as error:  # noqa: BLE001 - an error in the code, perhaps with one of these events alone
            if len(some) == 1:
                _fail(some[0][2], error)
                return
            for each in some:
                self._ask_some(loop, version, [each])
        else:
            if found is None:  # the version has become slow
                for _, event, done in some:
                    asking = loop.create_task(self._pacing.answer([event], version))
                    asking.add_done_callback(partial(_pass_on, done))
                return
            for (_, _, done), pending in zip(some, found, strict=True):
                if not done.done():  # else its caller has gone
                    done.set_result(pending)


def _fail(done: asyncio.Future[Pending], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _pass_on(done: asyncio.Future[Pending], task: asyncio.Task[list[Pending]]) -> None:
    if task.cancelled():
        done.cancel()
    elif (error := task.exception()) is not None:
        if not done.done():
            done.set_exception(error)
    elif not done.done():
        done.set_result(task.result()[0])
