"""The console's threads: bounded, in nobody's way, and with an end for who waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from millstream.console.workers import Workers
from server.web.messages import HttpError


def workers(threads: int = 1, waiting: int = 1, seconds: float = 30.0) -> Workers:
    return Workers("test", threads, waiting=waiting, seconds=seconds, late="too late")


def test_a_result_and_an_error_are_those_of_the_function() -> None:
    async def ask() -> int:
        some = workers()
        with pytest.raises(ZeroDivisionError):
            await some.run(lambda: 1 // 0)
        with pytest.raises(TimeoutError, match="the function's own"):
            await some.run(lambda: (_ for _ in ()).throw(TimeoutError("the function's own")))
        return await some.run(lambda: 7)

    assert asyncio.run(ask()) == 7


def test_more_than_may_wait_are_refused_at_once_and_let_in_again_later() -> None:
    async def ask() -> list[int]:
        some, free = workers(threads=2, waiting=1), threading.Event()

        def work() -> int:
            free.wait(30)
            return 1

        asked = [asyncio.create_task(some.run(work)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(HttpError) as refused:
            await some.run(work)
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        free.set()
        return [*await asyncio.gather(*asked), await some.run(work)]

    assert asyncio.run(ask()) == [1, 1, 1, 1]


def test_who_waits_too_long_is_told_and_others_are_answered_meanwhile() -> None:
    free = threading.Event()

    async def ask() -> int:
        slow, quick = workers(seconds=0.05), workers()
        late = asyncio.create_task(slow.run(lambda: free.wait(30)))
        found = await quick.run(lambda: 5)
        with pytest.raises(HttpError, match="too late") as told:
            await late
        assert (told.value.status, told.value.code) == (503, "slow")
        return found

    assert asyncio.run(ask()) == 5
    free.set()


def test_a_thread_that_is_done_after_the_loop_has_ended_goes_on_to_the_next() -> None:
    free, some = threading.Event(), workers(waiting=5, seconds=0.05)

    async def late() -> None:
        with pytest.raises(HttpError):
            await some.run(lambda: free.wait(30))

    asyncio.run(late())
    free.set()
    assert asyncio.run(workers().run(lambda: 3)) == 3

    async def again() -> int:
        return await some.run(lambda: 4)

    assert asyncio.run(again()) == 4
