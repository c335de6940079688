"""``POST /v1/predict``, ``POST /v1/labels`` and ``POST /v1/metrics/NAME``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from consumers.predictor.feature_requests import LONGEST_ID
from consumers.predictor.predictor import ServedVersion
from runtime.exits import RoleFailure
from schemas.codec import CodecError
from schemas.events import Event
from schemas.sources.metrics import NAME as METRIC_NAME
from server.answering.answerer import Answerer, Message
from server.answering.made_ids import made_id
from server.answering.pacing import LARGEST_SLICE, Overloaded, Pacing, VersionGone
from server.answering.requests import (
    LARGEST_EVENT,
    TooLarge,
    TooMany,
    check_size,
    event_rows,
    label_rows,
    lines,
    read_event_row,
    value_rows,
)
from server.answering.versions import Versions, VersionTooOld
from server.spool.spool import Conflict, Pending, Result
from server.spool.turns import Turns
from server.web.messages import HttpError, Request, Response, error_body
from server.web.rows import CONFLICT, Rows, answer_of, is_final
from server.web.single_answer import VERSION_HEADER, single_answer, version_name
from server.web.singles import Singles

PREDICT: Final = "/v1/predict"
ReadRow: TypeAlias = Callable[[bytes, str | None], Pending]
_FRAMED: Final = (b"\0", b"\1")  # of a schema registry
_LONGEST_KEY: Final = 1000
_SLICE_BYTES: Final = 64 << 10


class Predict:
    """The endpoints that the spool logs.

    Parameters
    ----------
    largest_event
        Largest event or label, in bytes, see `check_size`.
    """

    def __init__(
        self,
        answerer: Answerer,
        versions: Versions,
        turns: Turns,
        pacing: Pacing | None = None,
        largest_event: int = LARGEST_EVENT,
    ) -> None:
        self._answerer = answerer
        self._versions = versions
        self._turns = turns
        self._pacing = pacing or Pacing(answerer)
        self.largest_event = largest_event
        self.singles = Singles(PREDICT, versions, turns, self._pacing, largest_event)
        """Answers most requests of one event in `predict`'s place."""

    # --- predictions -------------------------------------------------------------------------------

    async def predict(self, request: Request) -> Response:
        """Answer one event, or many."""
        key = idempotency_key(request)
        serving = await self.version(request)
        now = time.time_ns() // 1_000_000
        rows = self._rows(request)
        if rows is None:
            event_id = key or made_id(now)
            self._check_size(request.body)
            try:
                if request.body[:1] in _FRAMED:  # the registry may be asked for its schema
                    event = await asyncio.to_thread(self._event, request.body, event_id, now)
                else:
                    event = self._event(request.body, event_id, now)
            except CodecError as error:
                raise HttpError(400, "json", str(error)) from error
            [result] = await self._turns.log(await self._asked([event], serving))
            return single_answer(_id(event), result, serving)
        answers = Rows()
        begin = 0
        while begin < len(rows):
            some = _share(rows, begin, self._pacing.slice(serving))
            await self._slice(answers, some, begin, key, serving, now)
            begin += len(some)
        return answers.response("answers", request, ((VERSION_HEADER, version_name(serving)),))

    def _rows(self, request: Request) -> list[bytes] | None:
        """Return the rows of a request with many events; `None` if it is a single one."""
        try:
            return lines(request.body) if request.is_ndjson else event_rows(request.body)
        except CodecError as error:
            if self._answerer.takes_messages:
                return None
            raise HttpError(400, "json", str(error)) from error
        except TooMany as error:
            raise too_many(error) from error

    def _check_size(self, row: bytes) -> None:
        try:
            check_size(row, self.largest_event)
        except TooLarge as error:
            raise HttpError(413, "too-large", str(error)) from error

    def _event(self, text: bytes, unnamed: str, now: int) -> Event | Message:
        """Read one event, or a raw message of the stream's external topic. Raises CodecError, or HttpError."""
        try:
            event = read_event_row(text, unnamed, now)
        except CodecError:
            if not self._answerer.takes_messages:
                raise
        else:
            if not 0 < (length := len(event.event_id)) <= LONGEST_ID:
                # It is the key of records: one with a long key could be larger than Kafka takes.
                raise HttpError(400, "id", f"the event id has {length} characters; 1 to {LONGEST_ID} are taken")
            return event
        try:
            return self._answerer.read_message(text, unnamed, now)
        except RoleFailure as failure:
            raise HttpError(503, "registry", str(failure)) from failure

    async def _slice(
        self, answers: Rows, rows: Sequence[bytes], begin: int, key: str | None, serving: ServedVersion, now: int
    ) -> None:
        """Answer some rows of a request; the others wait, so that other requests do not."""
        if answers.failure is not None:
            answers.fail(answers.failure, [None] * len(rows))
            return
        events: list[Event | Message | bytes] = []
        for number, row in enumerate(rows, begin):
            event_id = made_id(now) if key is None else f"{key}-{number}"
            try:
                self._check_size(row)
                events.append(self._event(row, event_id, now))
            except CodecError as error:
                events.append(error_body("json", str(error)))
            except HttpError as error:
                events.append(error_body(error.code, str(error)))
        read = [each for each in events if not isinstance(each, bytes)]
        ids = [None if isinstance(each, bytes) else _id(each) for each in events]
        try:
            results = iter(await self._turns.log(await self._asked(read, serving)) if read else [])
        except HttpError as failure:
            answers.fail(failure, ids)
            return
        answers.add(ids, [each if isinstance(each, bytes) else next(results) for each in events])
        await asyncio.sleep(0)

    async def _asked(self, events: Sequence[Event | Message], serving: ServedVersion) -> list[Pending]:
        try:
            found = self._pacing.at_once(events, serving)
            return await self._pacing.answer(events, serving) if found is None else found
        except VersionGone as error:
            raise _gone(error) from error

    async def answer_rows(
        self, rows: int, row_bytes: int, events: Callable[[int, int], Sequence[Event]], serving: ServedVersion
    ) -> list[tuple[str, Result]]:
        """Answer and log the rows of a request in slices; return each row's event id, and what became of it.

        Parameters
        ----------
        row_bytes
            Size of a row, roughly.
        events
            Makes the events from a row up to another.
        """
        answered: list[tuple[str, Result]] = []
        most = max(1, _SLICE_BYTES // row_bytes)
        while len(answered) < rows:
            begin = len(answered)
            asked = events(begin, min(begin + min(most, self._pacing.slice(serving)), rows))
            results = await self._turns.log(await self._asked(asked, serving))
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
            serving = await self._versions.at_least(query.pop("min_version", None), query.pop("wait", None), query)
            self._pacing.require_room(serving)
        except ValueError as error:
            raise HttpError(400, "query", str(error)) from error
        except VersionTooOld as error:
            raise HttpError(error.status, error.code, str(error)) from error
        except Overloaded as error:
            raise HttpError(503, "overloaded", f"{error}: send it again a little later") from error
        return serving

    # --- labels ------------------------------------------------------------------------------------

    async def labels(self, request: Request) -> Response:
        """Take one label or correction, or many."""
        if request.query_string:
            raise HttpError(400, "query", "/v1/labels takes no parameters")
        return await self._take(request, "labels", label_rows, self._answerer.label)

    async def metrics(self, request: Request) -> Response:
        """Take one value of a downstream metric, or many."""
        name = request.in_path["name"]
        if request.query_string:
            raise HttpError(400, "query", "/v1/metrics takes no parameters")
        if not self._answerer.takes_metrics:
            raise HttpError(
                404, "no-metrics", "the stream takes no metrics: metrics_from='http' in its file asks for them"
            )
        if METRIC_NAME.fullmatch(name) is None:
            raise HttpError(
                400,
                "name",
                f"the metric {name[:100]!r} must be named with 1 to 64 of a-z, A-Z, 0-9, '_', '.' and '-', beginning "
                "with a letter",
            )
        return await self._take(request, "values", value_rows, partial(self._answerer.metric, name))

    async def _take(
        self, request: Request, named: str, rows_of: Callable[[bytes], list[bytes] | None], read: ReadRow
    ) -> Response:
        """Log the rows of a request, which have no answer but that they were taken.

        Parameters
        ----------
        named
            Name of the list of answers to a request with many rows.
        rows_of
            Returns the rows of a request in JSON, `None` if it is a single one.
        read
            Returns what is to be logged of a row, given an idempotency key.
        """
        key = idempotency_key(request)
        try:
            rows = lines(request.body) if request.is_ndjson else rows_of(request.body)
        except CodecError as error:
            raise HttpError(400, "json", str(error)) from error
        except TooMany as error:
            raise too_many(error) from error
        if rows is None:
            self._check_size(request.body)
            try:
                pending = read(request.body, key)
            except CodecError as error:
                raise HttpError(400, "json", str(error)) from error
            [result] = await self._turns.log([pending])
            if isinstance(result, Conflict):
                raise HttpError(422, "conflict", CONFLICT)
            return Response(202 if is_final(result) else 422, answer_of(result))
        answers = Rows()
        begin = 0
        while begin < len(rows):
            some = _share(rows, begin, LARGEST_SLICE)
            await self._take_some(answers, some, begin, key, read)
            begin += len(some)
        return answers.response(named, request, ())

    async def _take_some(
        self, answers: Rows, rows: Sequence[bytes], begin: int, key: str | None, read: ReadRow
    ) -> None:
        if answers.failure is not None:
            answers.fail(answers.failure, [None] * len(rows))
            return
        taken: list[Pending | bytes] = []
        for number, row in enumerate(rows, begin):
            try:
                self._check_size(row)
                taken.append(read(row, None if key is None else f"{key}-{number}"))
            except CodecError as error:
                taken.append(error_body("json", str(error)))
            except HttpError as error:
                taken.append(error_body(error.code, str(error)))
        pending = [each for each in taken if isinstance(each, Pending)]
        results = iter(await self._turns.log(pending) if pending else [])
        answers.add([None] * len(rows), [next(results) if isinstance(each, Pending) else each for each in taken])
        await asyncio.sleep(0)


def _gone(error: VersionGone) -> HttpError:
    return HttpError(503, "not-ready", f"{error}; the server starts again")


def _id(event: Event | Message) -> str:
    return event.event.event_id if isinstance(event, Message) else event.event_id


def _share(rows: Sequence[bytes], begin: int, most: int) -> Sequence[bytes]:
    """Return the next rows of a request: at most `most`, and of 64 KiB or one, so that other requests do not wait."""
    some = rows[begin : begin + most]
    size = 0
    for number, row in enumerate(some, 1):
        size += len(row)
        if size > _SLICE_BYTES:
            return some[: max(1, number - 1)]
    return some


def too_many(error: TooMany) -> HttpError:
    """Return the error of a request with too many rows."""
    return HttpError(413, "too-many", str(error))


def idempotency_key(request: Request) -> str | None:
    """Return the key that the request's header gives, if any. Raises HttpError."""
    key: str | None = request.headers.get("idempotency-key")
    if key is None and "idempotency-key" in request.headers:
        # Without it, a repeated request would count as a second event.
        raise HttpError(400, "id", "the Idempotency-Key has characters other than visible ASCII")
    if key is not None and not 0 < len(key) <= _LONGEST_KEY:
        raise HttpError(400, "id", f"the Idempotency-Key has {len(key)} characters; 1 to {_LONGEST_KEY} are taken")
    return key
