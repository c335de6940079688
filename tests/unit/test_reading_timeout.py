"""Time limit of bodies: each reading has its own, although one timer serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from server.web.reading_timeout import ReadingTimeout


async def never() -> bytes:
    return await asyncio.get_running_loop().create_future()


async def at_once() -> bytes:
    return b"body"


def run(*readings: Coroutine[Any, Any, bytes], seconds: float = 0.01) -> list[Any]:
    async def all_at_once() -> list[Any]:
        limit = ReadingTimeout(seconds)
        return await asyncio.gather(*(limit.within(each) for each in readings), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_only_what_does_not_come_in_time_is_ended() -> None:
    found = run(at_once(), never(), at_once(), never())
    assert [each if isinstance(each, bytes) else type(each) for each in found] == [
        b"body",
        TimeoutError,
        b"body",
        TimeoutError,
    ]


def test_a_reading_that_begins_later_has_as_long_and_the_limit_serves_again() -> None:
    async def one_after_the_other() -> list[float]:
        limit, loop = ReadingTimeout(0.05), asyncio.get_running_loop()
        lasted: list[float] = []

        async def read() -> None:
            began = loop.time()
            with pytest.raises(TimeoutError):
                await limit.within(never())
            lasted.append(loop.time() - began)

        await asyncio.gather(read(), read())
        await read()
        return lasted

    lasted = asyncio.run(one_after_the_other())
    assert len(lasted) == 3
    assert min(lasted) >= 0.049


def test_an_error_and_a_cancellation_from_elsewhere_pass_through() -> None:
    async def broken() -> bytes:
        raise ConnectionResetError

    async def cancelled() -> None:
        reading = asyncio.create_task(ReadingTimeout(10).within(never()))
        await asyncio.sleep(0)
        reading.cancel()
        await reading

    [error] = run(broken())
    assert isinstance(error, ConnectionResetError)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
