"""Bodies of requests, whole or piece by piece, within a time; one that is cut is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from server.web.messages import Headers, HttpError
from server.web.reading_timeout import ReadingTimeout

_CLOSE: Final[Headers] = (("connection", "close"),)
_PIECE_S: Final = 30.0
_LEAST_RATE: Final = 8 << 10  # bytes a second, after the first 30 s


def length_of(headers: Any) -> int | None:
    """Return the declared length of a body in bytes; `None` if it comes in chunks, or there is none.

    Raises
    ------
    HttpError
        If it is sent in any other way: a proxy in front may see another end of such a request.
    """
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.strip().lower() != "chunked":
            raise HttpError(
                400, "encoding", f"the transfer encoding {coding[:100]!r} is not read, only chunked", _CLOSE
            )
        return None
    given = headers.get("content-length")
    return int(given) if given is not None and given.isdecimal() and len(given) < 20 else None


async def whole(headers: Any, protocol: Any, most: int, timeout: ReadingTimeout) -> bytes:
    """Return a body of at most `most` bytes, which must have come within the time.

    Raises
    ------
    HttpError
        If it is larger, too slow, or cut.
    """
    expected = length_of(headers)
    if expected is not None and expected > most:
        raise _too_large(most)
    try:
        return await timeout.within(protocol() if expected is not None else _joined(protocol, most))
    except TimeoutError:
        raise HttpError(408, "timeout", f"the body did not come within {timeout.seconds:g} s", _CLOSE) from None
    except HttpError:
        raise
    except Exception as error:
        raise HttpError(400, "cut", "the body ended early: send it again", _CLOSE) from error


async def _joined(protocol: Any, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in _parts(protocol, None):
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


async def pieces(headers: Any, protocol: Any, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[bytes]:
    """Yield a body of any size.

    Parameters
    ----------
    clock
        Seconds, monotonic.

    Raises
    ------
    HttpError
        If it is cut, nothing of it comes for 30 s, or it comes slower than 8 KiB/s on average after that time.
    """
    parts = _parts(protocol, length_of(headers))
    began, size = clock(), 0
    while True:
        try:
            async with asyncio.timeout(_PIECE_S):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HttpError(408, "timeout", f"nothing of the body came for {_PIECE_S:g} s", _CLOSE) from None
        size += len(part)
        if clock() - began > _PIECE_S + size / _LEAST_RATE:
            # It would hold one of the few places for uploads for ever.
            said = f"the body came slower than {_LEAST_RATE} bytes a second: {size} bytes came"
            raise HttpError(408, "timeout", said, _CLOSE)
        yield part


async def _parts(protocol: Any, expected: int | None) -> AsyncIterator[bytes]:
    """Yield the parts of a body. Raises HttpError if it ends before its end."""
    size = empty = 0
    async for part in protocol:
        size += len(part)
        if part:
            yield part
        else:
            empty += 1
    # The web server ends the iteration also where the connection broke, or where a chunk cannot be read. Then it yields
    # one more empty part than the one that ends each body. It does so for the trailers of a chunked body, too.
    if empty > 1 or (expected is not None and size != expected):
        said = f"the body ended early, after {size} bytes, or it has trailers, which are not read: send it again"
        raise HttpError(400, "cut", said, _CLOSE)


def _too_large(most: int) -> HttpError:
    return HttpError(413, "too-large", f"the body is larger than {most} bytes: send several requests", _CLOSE)
