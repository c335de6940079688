"""Bodies of requests: none is taken for whole if it is not, and none may come without end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from unit.rsgi import Headers

from server.web import bodies
from server.web.messages import HttpError
from server.web.reading_timeout import ReadingTimeout


@dataclass
class Body:
    """A body as the web server hands it on: an empty part ends it, one more says that it was cut."""

    parts: list[bytes]
    cut: bool = False

    async def __call__(self) -> bytes:
        if self.cut:
            raise RuntimeError("transport is closed")
        return b"".join(self.parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in [*self.parts, *([b""] if self.cut else []), b""]:
            yield part


def whole(headers: dict[str, str], body: Body, most: int = 100) -> bytes:
    return asyncio.run(bodies.whole(Headers(headers), body, most, ReadingTimeout(5.0)))


def streamed(headers: dict[str, str], body: Body, clock: Callable[[], float] = time.monotonic) -> bytes:
    async def joined() -> bytes:
        return b"".join([piece async for piece in bodies.pieces(Headers(headers), body, clock)])

    return asyncio.run(joined())


CHUNKED = {"transfer-encoding": "chunked"}


@pytest.mark.parametrize("headers", [CHUNKED, {"transfer-encoding": " Chunked"}, {"content-length": "4"}, {}])
def test_a_whole_body_is_read(headers: dict[str, str]) -> None:
    assert whole(headers, Body([b"ab", b"cd"])) == streamed(headers, Body([b"ab", b"cd"])) == b"abcd"


@pytest.mark.parametrize("read", [whole, streamed])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (CHUNKED, Body([b"ab"], cut=True)),
        (CHUNKED, Body([], cut=True)),
        ({"content-length": "4"}, Body([b"ab"], cut=True)),
        ({"content-length": "2"}, Body([b"ab"], cut=True)),
    ],
)
def test_a_cut_body_is_refused_even_where_what_came_is_whole_json(
    read: object, headers: dict[str, str], body: Body
) -> None:
    with pytest.raises(HttpError) as raised:
        read(headers, body)  # type: ignore[operator]
    assert (raised.value.status, raised.value.code) == (400, "cut")
    assert ("connection", "close") in raised.value.headers


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity", "x", ""])
def test_a_body_that_a_proxy_may_see_in_another_way_is_refused(coding: str) -> None:
    for read in (whole, streamed):
        with pytest.raises(HttpError) as raised:
            read({"transfer-encoding": coding, "content-length": "2"}, Body([b"ab"]))
        assert (raised.value.status, raised.value.code) == (400, "encoding")


def test_a_body_that_comes_slower_than_the_least_rate_is_given_up() -> None:
    def ten_seconds_each() -> Callable[[], float]:
        seconds = itertools.count(step=10)
        return lambda: next(seconds)

    assert len(streamed(CHUNKED, Body([bytes(100_000)] * 50), ten_seconds_each())) == 5_000_000
    with pytest.raises(HttpError, match="slower than 8192 bytes a second: 4 bytes came") as raised:
        streamed(CHUNKED, Body([b"x"] * 50), ten_seconds_each())
    assert (raised.value.status, raised.value.code) == (408, "timeout")
