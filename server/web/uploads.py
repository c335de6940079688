"""``POST /v1/uploads`` and ``/v1/uploads/{id}``: labelled history, at once or in parts (tus)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from server.answering.versions import wait_seconds
from server.uploads.file_checks import InvalidName, UnknownFormat, file_name, suffix_of
from server.uploads.folder import Meta, NoSuchUpload, Result, UploadBusy
from server.uploads.receiving import DiskFailed, NoSpace, TooLarge
from server.web.messages import Headers, HttpError, Response
from server.web.streamed import StreamedRoute, StreamedRoutes
from server.web.tus import TUS_HEADER, Tus

if TYPE_CHECKING:
    from server.uploads.receiving import Receiver
    from server.web.streamed import StreamedHandler, StreamedRequest

PATH: Final = "/v1/uploads"
SCOPE: Final = "upload"
_WAIT_S: Final = 10.0
_LOOK_S: Final = 0.05
_PARAMETERS: Final = ("name", "strict", "wait")


class Uploads:
    """The endpoints of uploads.

    Parameters
    ----------
    draining
        Returns whether the worker is about to end: then nobody is kept waiting.
    """

    def __init__(self, receiver: Receiver, draining: Callable[[], bool]) -> None:
        self._receiver = receiver
        self._folder = receiver.folder
        self._draining = draining
        self._tus = Tus(receiver, PATH)
        self._running = 0

    def routes(self) -> StreamedRoutes:
        """Return the routes."""
        one: dict[str, StreamedHandler] = {
            "GET": self.state,
            "HEAD": self._tus.head,
            "PATCH": self.patch,
            "DELETE": self._tus.delete,
            "OPTIONS": self._tus.options,
            "POST": self.overridden,
        }
        named = {method: _told(handler) for method, handler in one.items()}
        many = {"POST": _told(self.create), "OPTIONS": _told(self._tus.options)}
        return StreamedRoutes((StreamedRoute(PATH, SCOPE, many), StreamedRoute(f"{PATH}/", SCOPE, named)))

    async def create(self, request: StreamedRequest) -> Response:
        """Take a whole upload, or begin a resumable one."""
        with self._counted():
            await self._receiver.require_space()
            if request.headers.get(TUS_HEADER) is not None:
                return await self._tus.create(request)
            upload_id, wait_s = await self._take(request)
        return await self._answer(upload_id, wait_s, self._status)

    async def patch(self, request: StreamedRequest) -> Response:
        """Take a part of a resumable upload."""
        with self._counted():
            return await self._tus.patch(request)

    async def overridden(self, request: StreamedRequest) -> Response:
        """Take PATCH and DELETE from clients that can send only POST."""
        method = request.headers.get("x-http-method-override", "").upper()
        if method == "PATCH":
            return await self.patch(request)
        if method == "DELETE":
            return await self._tus.delete(request)
        raise HttpError(
            405, "method", f"send a whole file to {PATH}", (("allow", "GET, HEAD, PATCH, DELETE, OPTIONS"),)
        )

    async def state(self, request: StreamedRequest) -> Response:
        """Answer what has become of an upload."""
        query = request.query()
        wait_s = _wait(query.pop("wait", "0s"))
        if query:
            raise HttpError(400, "query", f"there is no parameter {next(iter(query))[:100]!r}; there is wait")
        return await self._answer(request.path.rpartition("/")[2], wait_s, lambda _result: 200)

    async def _take(self, request: StreamedRequest) -> tuple[str, float]:
        """Receive a whole upload; return its id, and how long its caller waits."""
        query = request.query()
        for name in query:
            if name not in _PARAMETERS:
                raise HttpError(
                    400, "query", f"there is no parameter {name[:100]!r}; there are {', '.join(_PARAMETERS)}"
                )
        wait_s = _wait(query.get("wait", f"{_WAIT_S:g}s"))
        name = file_name(query.get("name", ""))
        suffix = suffix_of(name, request.headers.get("content-type", ""))
        strict = {"": True, "true": True, "false": False}.get(query.get("strict", "false"))
        if strict is None:
            raise HttpError(400, "query", "strict is true or false")
        length = request.length
        if length is not None and length > self._receiver.limits.largest:
            raise TooLarge
        meta = Meta(name, suffix, -1 if length is None else length, strict=strict, by=request.caller.name or "")
        run, folder = self._receiver.run, self._folder
        upload = await run(lambda: folder.create(meta))
        try:
            with folder.writing(upload) as descriptor:
                size = await self._receiver.receive(descriptor, request.pieces(), self._receiver.limits.largest)
                if not size:
                    raise HttpError(400, "empty", "the body is empty: send the file as the body")
                await run(lambda: folder.complete(upload, descriptor))
        finally:
            await run(lambda: folder.remove(upload))  # of a complete one, nothing is there any more
        return upload.id, wait_s

    async def _answer(self, upload_id: str, wait_s: float, status: Callable[[Result], int]) -> Response:
        """Answer the state of an upload, at the latest after `wait_s` seconds."""
        await self._receiver.run(lambda: self._folder.settle(upload_id))
        until = time.monotonic() + wait_s
        look_s = _LOOK_S
        while True:
            found = await self._receiver.run(lambda: self._folder.state(upload_id))
            left = until - time.monotonic()
            if found.state not in ("receiving", "waiting") or left <= 0 or self._draining():
                break
            await asyncio.sleep(min(look_s, left))
            look_s = min(2 * look_s, 1.0)
        headers: Headers = (("location", f"{PATH}/{upload_id}"),)
        return Response(status(found), msgspec.json.encode(found), headers)

    @staticmethod
    def _status(found: Result) -> int:
        return {"imported": 200, "refused": 422}.get(found.state, 202)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._running >= self._receiver.limits.at_once:
            raise HttpError(503, "overloaded", "too many uploads at once: send it again a little later")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def _told(handler: StreamedHandler) -> StreamedHandler:
    """Return the handler with the errors of uploads as responses."""

    async def handled(request: StreamedRequest) -> Response:
        try:
            return await handler(request)
        except TooLarge as error:
            said = str(error) or "the upload is larger than --largest-upload: send it in several files"
            raise HttpError(413, "too-large", said, (("connection", "close"),)) from error
        except NoSpace as error:
            raise HttpError(507, "uploads-full", str(error), (("retry-after", "10"),)) from error
        except DiskFailed as error:
            raise HttpError(503, "uploads-failed", str(error)) from error
        except NoSuchUpload as error:
            raise HttpError(404, "not-found", str(error)) from error
        except UploadBusy as error:
            raise HttpError(423, "locked", str(error)) from error
        except InvalidName as error:
            raise HttpError(400, "name", str(error)) from error
        except UnknownFormat as error:
            raise HttpError(415, "format", str(error)) from error

    return handled


def _wait(given: str) -> float:
    try:
        return wait_seconds(given)
    except ValueError as error:
        raise HttpError(400, "query", str(error)) from error
