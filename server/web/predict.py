"""``POST /v1/predict`` and ``POST /v1/labels``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from consumers.predictor.predictor import ServedVersion
from schemas.codec import CodecError
from schemas.events import Event
from server.answering.answerer import Answerer, LabelRefused, Said
from server.answering.requests import event_rows, label_rows, lines, read_event_row
from server.answering.versions import Versions, VersionTooOld
from server.spool.errors import SpoolFull, SpoolUnavailable
from server.spool.spool import Conflict, Logged, Pending, Repeated, Result
from server.spool.turns import Turns
from server.web.messages import NDJSON, Headers, HttpError, Request, Response, error_body

_SLICE: Final = 32
"""Events of one request that are answered and logged before other requests have their turn."""
_MOST_ROWS: Final = 100_000
_LONGEST_KEY: Final = 1000
VERSION_HEADER: Final = "x-model-version"
EVENT_HEADER: Final = "x-event-id"
CONFLICT: Final = "this id was answered before, for other content: give each event its own id"
_said: Final = msgspec.json.Decoder(Said)


class Predict:
    """The endpoints that the spool logs."""

    def __init__(self, answerer: Answerer, versions: Versions, turns: Turns) -> None:
        self._answerer = answerer
        self._versions = versions
        self._turns = turns

    # --- predictions -------------------------------------------------------------------------------

    async def predict(self, request: Request) -> Response:
        """Answer one event, or many."""
        key = idempotency_key(request)
        serving = await self.version(request)
        now = time.time_ns() // 1_000_000
        rows = lines(request.body) if request.is_ndjson else _read(event_rows, request.body)
        if rows is None:
            event_id = key or secrets.token_hex(12)
            try:
                event = read_event_row(request.body, event_id, now)
            except CodecError as error:
                raise HttpError(400, "json", str(error)) from error
            [pending] = self._answerer.answer([event], serving)
            [result] = await self._turns.log([pending])
            return _single(event.event_id, result, serving)
        check_count(len(rows))
        answers: list[bytes] = []
        for begin in range(0, len(rows), _SLICE):
            answers += await self._slice(rows[begin : begin + _SLICE], begin, key, serving, now)
        return _many(answers, "answers", request, ((VERSION_HEADER, version_name(serving)),))

    async def _slice(
        self, rows: Sequence[bytes], begin: int, key: str | None, serving: ServedVersion, now: int
    ) -> list[bytes]:
        """Answer some rows of a request; the others wait, so that other requests do not."""
        events: list[Event] = []
        answers: list[bytes] = []
        at: list[int] = []
        for number, row in enumerate(rows):
            event_id = secrets.token_hex(12) if key is None else f"{key}-{begin + number}"
            try:
                events.append(read_event_row(row, event_id, now))
                at.append(number)
                answers.append(b"")
            except CodecError as error:
                answers.append(error_body("json", str(error)))
        results = await self._turns.log(self._answerer.answer(events, serving)) if events else []
        for number, event, result in zip(at, events, results, strict=True):
            answers[number] = _row(event.event_id, result)
        await asyncio.sleep(0)
        return answers

    async def answer_rows(
        self, rows: int, events: Callable[[int, int], Sequence[Event]], serving: ServedVersion
    ) -> list[tuple[str, Result]]:
        """Answer and log the rows of a request in slices; return each row's event id, and what became of it.

        Parameters
        ----------
        events
            Makes the events from a row up to another.
        """
        answered: list[tuple[str, Result]] = []
        for begin in range(0, rows, _SLICE):
            asked = events(begin, min(begin + _SLICE, rows))
            results = await self._turns.log(self._answerer.answer(asked, serving))
            answered += zip((event.event_id for event in asked), results, strict=True)
            if len(asked) < rows:
                await asyncio.sleep(0)
        return answered

    def newest(self) -> ServedVersion | None:
        """Return the version that answers now."""
        return self._versions.newest()

    async def version(self, request: Request) -> ServedVersion:
        """Return the version that answers this request; one of at least `min_version`, if the query names one."""
        query = request.query()
        try:
            return await self._versions.at_least(query.pop("min_version", None), query.pop("wait", None), query)
        except ValueError as error:
            raise HttpError(400, "query", str(error)) from error
        except VersionTooOld as error:
            raise HttpError(error.status, error.code, str(error)) from error

    # --- labels ------------------------------------------------------------------------------------

    async def labels(self, request: Request) -> Response:
        """Take one label or correction, or many."""
        if request.query_string:
            raise HttpError(400, "query", "/v1/labels takes no parameters")
        key = idempotency_key(request)
        rows = lines(request.body) if request.is_ndjson else _read(label_rows, request.body)
        if rows is None:
            try:
                pending = self._answerer.label(request.body, key)
            except CodecError as error:
                raise HttpError(400, "json", str(error)) from error
            except LabelRefused as error:
                raise HttpError(422, error.code, str(error)) from error
            [result] = await self._turns.log([pending])
            if isinstance(result, Conflict):
                raise HttpError(422, "conflict", CONFLICT)
            return Response(202, answer_of(result))
        check_count(len(rows))
        answers: list[bytes] = []
        for begin in range(0, len(rows), _SLICE):
            answers += await self._labels(rows[begin : begin + _SLICE], begin, key)
        return _many(answers, "labels", request, ())

    async def _labels(self, rows: Sequence[bytes], begin: int, key: str | None) -> list[bytes]:
        taken: list[tuple[int, Pending]] = []
        answers = [b""] * len(rows)
        for number, row in enumerate(rows):
            try:
                pending = self._answerer.label(row, None if key is None else f"{key}-{begin + number}")
                taken.append((number, pending))
            except CodecError as error:
                answers[number] = error_body("json", str(error))
            except LabelRefused as error:
                answers[number] = error_body(error.code, str(error))
        results = await self._turns.log([pending for _, pending in taken]) if taken else []
        for (number, _), result in zip(taken, results, strict=True):
            answers[number] = _row(None, result)
        await asyncio.sleep(0)
        return answers


def _read(rows: object, body: bytes) -> list[bytes] | None:
    try:
        found: list[bytes] | None = rows(body)  # type: ignore[operator]
    except CodecError as error:
        raise HttpError(400, "json", str(error)) from error
    return found


def check_count(rows: int) -> None:
    """Raise HttpError if a request has too many rows."""
    if rows > _MOST_ROWS:
        raise HttpError(413, "too-many", f"{rows} rows; at most {_MOST_ROWS} are taken: send several requests")


def idempotency_key(request: Request) -> str | None:
    """Return the key that the request's header gives, if any. Raises HttpError."""
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _LONGEST_KEY:
        raise HttpError(400, "id", f"the Idempotency-Key has {len(key)} characters; 1 to {_LONGEST_KEY} are taken")
    return key


def version_name(serving: ServedVersion) -> str:
    """Return a version as a header names it, such as ``3/81000``."""
    return f"{serving.epoch}/{serving.examples}"


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
    if isinstance(result, SpoolFull):
        raise HttpError(503, "spool-full", str(result))
    if isinstance(result, SpoolUnavailable):
        raise HttpError(503, "spool-failed", str(result))
    assert isinstance(result, Exception)  # noqa: S101 - callers have handled conflicts
    raise result


def _row(event_id: str | None, result: Result) -> bytes:
    return error_body("conflict", CONFLICT, event_id) if isinstance(result, Conflict) else answer_of(result)


def _single(event_id: str, result: Result, serving: ServedVersion) -> Response:
    headers: Headers = ((VERSION_HEADER, version_name(serving)), (EVENT_HEADER, _header_value(event_id)))
    if isinstance(result, Conflict):
        return Response(422, error_body("conflict", CONFLICT, event_id), headers)
    body = answer_of(result)
    final = isinstance(result, (Logged, Repeated)) and result.final
    if isinstance(result, Repeated) and final:
        headers = ((VERSION_HEADER, _said.decode(result.answer).version), *headers[1:])
    return Response(200 if final else 422, body, headers)


def _many(answers: list[bytes], name: str, request: Request, headers: Headers) -> Response:
    if request.is_ndjson:
        return Response(200, b"".join(answer + b"\n" for answer in answers), headers, NDJSON)
    return Response(200, b'{"' + name.encode() + b'":[' + b",".join(answers) + b"]}", headers)


def _header_value(text: str) -> str:
    """Return an id as a header can hold it: other characters than visible ASCII are percent-encoded."""
    return "".join(
        each if "!" <= each <= "~" and each != "%" else "".join(f"%{byte:02X}" for byte in each.encode())
        for each in text
    )
