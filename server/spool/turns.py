"""Turns: what the requests of one turn of the event loop log goes into one write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from server.spool.folder import Forwarded
from server.spool.spool import Logged, Pending, Result, Spool, Sync

_COMMIT_LOOK_S: Final = 0.005


class Turns:
    """Collects what requests log, for the event loop of one worker.

    With `sync` ``process`` the write is made in the event loop, which costs less than a thread. Syncs of a disk are
    slow, so with ``disk`` a thread makes them. With ``kafka`` each request waits for the forwarder's commit.
    """

    def __init__(self, spool: Spool, sync: Sync) -> None:
        self._spool = spool
        self._sync = sync
        self._waiting: list[tuple[Sequence[Pending], asyncio.Future[list[Result]]]] = []
        self._due = False
        self._thread = ThreadPoolExecutor(1, "spool") if sync == "disk" else None
        self._commits: asyncio.Task[None] | None = None
        self._uncommitted: list[tuple[int, asyncio.Future[None]]] = []

    async def log(self, asked: Sequence[Pending]) -> list[Result]:
        """Log these with everything else of this turn; return what became of each."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Result]] = loop.create_future()
        self._waiting.append((asked, done))
        if not self._due:
            self._due = True
            # At the end of this turn: the other requests that are ready come before.
            loop.call_soon(self._write if self._thread is None else self._hand_over)
        results = await done
        if self._sync == "kafka":
            last = max((each.sequence for each in results if isinstance(each, Logged)), default=-1)
            if last >= 0:
                await self._committed(last)
        return results

    def _write(self) -> None:
        self._due = False
        waiting, self._waiting = self._waiting, []
        self._answer(waiting, self._spool.write([each for asked, _ in waiting for each in asked]))

    def _hand_over(self) -> None:
        assert self._thread is not None  # noqa: S101 - only then this is called
        waiting, self._waiting = self._waiting, []
        asked = [each for some, _ in waiting for each in some]
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._spool.write, asked)

        def written(done: asyncio.Future[list[Result]]) -> None:
            self._answer(waiting, done.result())
            if self._waiting:
                self._hand_over()
            else:
                self._due = False

        work.add_done_callback(written)

    @staticmethod
    def _answer(
        waiting: Sequence[tuple[Sequence[Pending], asyncio.Future[list[Result]]]], results: Sequence[Result]
    ) -> None:
        at = 0
        for asked, done in waiting:
            if not done.done():  # else its caller has gone
                done.set_result(list(results[at : at + len(asked)]))
            at += len(asked)

    # --- sync with Kafka ---------------------------------------------------------------------------

    async def _committed(self, sequence: int) -> None:
        """Wait until the forwarder has committed this entry."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._uncommitted.append((sequence, done))
        if self._commits is None or self._commits.done():
            self._commits = asyncio.create_task(self._watch())
        await done

    async def _watch(self) -> None:
        while self._uncommitted:
            await asyncio.sleep(_COMMIT_LOOK_S)
            noted: Forwarded | None = self._spool.folder.forwarded()
            place = 0 if noted is None else noted.done.get(self._spool.lane, 0)
            for sequence, done in self._uncommitted:
                if sequence < place and not done.done():
                    done.set_result(None)
            self._uncommitted = [(sequence, done) for sequence, done in self._uncommitted if not done.done()]

    def close(self) -> None:
        """Finish the write that is under way."""
        if self._thread is not None:
            self._thread.shutdown()
