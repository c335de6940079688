"""Turns: what the requests of one turn of the event loop log goes into one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeAlias

from server.spool.errors import NotCommitted, SpoolUnavailable
from server.spool.folder import Forwarded
from server.spool.spool import Logged, Pending, Repeated, Result, Spool, Sync, Unlogged

Then: TypeAlias = Callable[[list[Result]], None]
_COMMIT_LOOK_S: Final = 0.005
_NO_SEQUENCE: Final = -1
_NEVER: Final = SpoolUnavailable("this server publishes nothing (--publish never), so it takes no labels")


class Turns:
    """Collects what requests log, for the event loop of one worker.

    With `sync` ``process`` the write is made in the event loop, which costs less than a thread. Syncs of a disk are
    slow, so with ``disk`` a thread makes them. With ``kafka`` each request waits for the forwarder's commit, for at
    most `commit_s` seconds.

    Parameters
    ----------
    unlogged
        True to answer also what the spool does not take.
    log_nothing
        True to answer without the spool.
    """

    def __init__(
        self, spool: Spool, sync: Sync, *, unlogged: bool = False, commit_s: float = 30.0, log_nothing: bool = False
    ) -> None:
        self._spool = spool
        self._sync = sync
        self._unlogged = unlogged
        self._commit_s = commit_s
        self._log_nothing = log_nothing
        self.unlogged = 0
        """Number of answers that were not logged."""
        self._waiting: list[tuple[Sequence[Pending], Then]] = []
        self._due = False
        self._thread = ThreadPoolExecutor(1, "spool") if sync == "disk" else None
        self._commits: asyncio.Task[None] | None = None
        self._uncommitted: list[tuple[dict[int, int], asyncio.Future[None]]] = []

    async def log(self, asked: Sequence[Pending]) -> list[Result]:
        """Log these with everything else of this turn; return what became of each."""
        if self._log_nothing:
            return [self._without(each, _NEVER) for each in asked]
        done: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self.hand_in(asked, partial(_set, done))
        results = await done
        if self._sync == "kafka":
            results = await self._committed(results)
        if self._unlogged and any(isinstance(each, SpoolUnavailable) for each in results):
            results = [self._without(each, result) for each, result in zip(asked, results, strict=True)]
        return results

    @property
    def are_plain(self) -> bool:
        """Return whether what the spool says is the answer, so that `hand_in` is enough."""
        return not (self._log_nothing or self._unlogged or self._sync == "kafka")

    def hand_in(self, asked: Sequence[Pending], then: Then) -> None:
        """Log these with everything else of this turn; `then` gets what became of each, and must not raise."""
        self._waiting.append((asked, then))
        if not self._due:
            self._due = True
            # At the end of this turn: the other requests that are ready come before.
            asyncio.get_running_loop().call_soon(self._write if self._thread is None else self._hand_over)

    def _without(self, asked: Pending, result: Result) -> Result:
        """Return the answer without a log, if it may be given, in place of the spool's failure."""
        # With an entry in the spool it would be logged and marked as not.
        if not isinstance(result, SpoolUnavailable) or isinstance(result, NotCommitted) or not asked.may_be_unlogged:
            return result
        try:
            made = asked.make(_NO_SEQUENCE)
        except Exception as error:  # noqa: BLE001 - it concerns this one alone
            return error
        self.unlogged += 1
        return Unlogged(made.answer, made.final)

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
    def _answer(waiting: Sequence[tuple[Sequence[Pending], Then]], results: Sequence[Result]) -> None:
        at = 0
        for asked, then in waiting:
            then(list(results[at : at + len(asked)]))
            at += len(asked)

    # --- sync with Kafka ---------------------------------------------------------------------------

    async def _committed(self, results: list[Result]) -> list[Result]:
        """Return the results when the forwarder has committed their entries; NotCommitted for each if it is late."""
        last = max((each.sequence for each in results if isinstance(each, Logged)), default=-1)
        if any(isinstance(each, Repeated) for each in results):
            try:
                # The entry of a repeated answer is somewhere before the ends, perhaps of another worker's lane.
                places = self._spool.ends()
            except SpoolUnavailable as error:
                return [error if isinstance(each, (Logged, Repeated)) else each for each in results]
        elif last >= 0:
            places = {self._spool.lane: last + 1}
        else:
            return results
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._uncommitted.append((places, done))
        if self._commits is None or self._commits.done():
            self._commits = asyncio.create_task(self._watch())
        try:
            await asyncio.wait_for(done, self._commit_s)
        except TimeoutError:
            late = NotCommitted("it is logged, and not committed on Kafka yet: send it again with the same id")
            return [late if isinstance(each, (Logged, Repeated)) else each for each in results]
        return results

    async def _watch(self) -> None:
        while self._uncommitted:
            await asyncio.sleep(_COMMIT_LOOK_S)
            noted: Forwarded | None = self._spool.folder.forwarded()
            committed = {} if noted is None else noted.done
            for places, done in self._uncommitted:
                if not done.done() and all(committed.get(lane, 0) >= place for lane, place in places.items()):
                    done.set_result(None)
            self._uncommitted = [each for each in self._uncommitted if not each[1].done()]

    def close(self) -> None:
        """Finish the write that is under way."""
        if self._thread is not None:
            self._thread.shutdown()


def _set(done: asyncio.Future[list[Result]], results: list[Result]) -> None:
    if not done.done():  # else its caller has gone
        done.set_result(results)
