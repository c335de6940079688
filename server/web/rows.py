"""Answers to the rows of one request, in order; they say row by row what was logged and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from server.spool.errors import NotCommitted, SpoolFull, SpoolUnavailable
from server.spool.spool import Conflict, Logged, Repeated, Result, Unlogged
from server.web.messages import NDJSON, Headers, HttpError, Request, Response, error_body

UNLOGGED: Final = ("x-logged", "false")
"""Header of a response with an answer that is in no log."""
CONFLICT: Final = "this id was answered before, for other content: give each event its own id"


class Rows:
    """Answers to the rows of one request."""

    def __init__(self) -> None:
        self._answers: list[bytes] = []
        self._answered = False
        self._unlogged = False
        self.failure: HttpError | None = None
        """Why rows could not be logged: the next ones need not be tried."""

    def add(self, event_ids: Sequence[str | None], results: Sequence[Result | bytes]) -> None:
        """Add the next rows' results, or their finished answers. Raises what is an error in the code."""
        for event_id, result in zip(event_ids, results, strict=True):
            if isinstance(result, bytes):
                self._answers.append(result)
                continue
            try:
                self._answers.append(row(event_id, result))
                self._answered = self._answered or isinstance(result, (Logged, Repeated, Unlogged))
                self._unlogged = self._unlogged or isinstance(result, Unlogged)
            except HttpError as failure:
                self.fail(failure, [event_id])

    def fail(self, failure: HttpError, event_ids: Sequence[str | None]) -> None:
        """Add rows that could not be logged."""
        self.failure = failure
        self._answers += [error_body(failure.code, str(failure), each) for each in event_ids]

    def response(self, name: str, request: Request, headers: Headers) -> Response:
        """Return the whole response. Raises the HttpError of the rows if nothing was logged of any."""
        if self.failure is not None and not self._answered:
            raise self.failure
        if self._unlogged:
            headers = (*headers, UNLOGGED)
        if request.is_ndjson:
            return Response(200, b"".join(answer + b"\n" for answer in self._answers), headers, NDJSON)
        return Response(200, b'{"' + name.encode() + b'":[' + b",".join(self._answers) + b"]}", headers)


def row(event_id: str | None, result: Result) -> bytes:
    """Return the answer to one row. Raises as `answer_of` does, but has an answer for a conflict too."""
    return error_body("conflict", CONFLICT, event_id) if isinstance(result, Conflict) else answer_of(result)


def is_final(result: Result) -> bool:
    """Return whether there is an answer that binds its event's id, and not an error answer."""
    return isinstance(result, (Logged, Repeated, Unlogged)) and result.final


def answer_of(result: Result) -> bytes:
    """Return the answer that was logged; marked, if it was logged by an earlier request.

    Raises
    ------
    HttpError
        If it could not be logged.
    """
    if isinstance(result, Logged):
        return result.answer
    if isinstance(result, Repeated):
        return result.answer[:-1] + b',"repeated":true}'
    if isinstance(result, Unlogged):
        return result.answer[:-1] + b',"logged":false}'
    if isinstance(result, NotCommitted):
        raise HttpError(503, "not-committed", str(result))
    if isinstance(result, SpoolFull):
        raise HttpError(503, "spool-full", str(result))
    if isinstance(result, SpoolUnavailable):
        raise HttpError(503, "spool-failed", str(result))
    assert isinstance(result, Exception)  # noqa: S101 - callers have handled conflicts
    raise result
