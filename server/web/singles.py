"""Single events: those that have come by a turn of the event loop are answered together.

Most requests hold one plain event. Here they take fewer steps than by their handler, `Predict.predict`, which is the
reference: whatever is not plain is declined, and the handler answers it from the beginning.

The interpreter is quicker with the same code again and again than with each request's code from its beginning to its
end, because that is larger than the processor's first cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from consumers.predictor.feature_requests import LONGEST_ID
from consumers.predictor.predictor import ServedVersion
from schemas.codec import CodecError
from schemas.events import Event
from server.answering.made_ids import made_ids
from server.answering.pacing import Pacing
from server.answering.requests import read_event_row
from server.answering.versions import Versions
from server.spool.spool import Logged, Result
from server.spool.turns import Turns
from server.web.messages import JSON, is_ndjson
from server.web.single_answer import EVENT_HEADER, VERSION_HEADER, single_answer, version_name

_ROWS: Final = b'"events"'
_OBJECT: Final = 0x7B  # {
_TYPE: Final = ("content-type", JSON)
_OK: Final = 200


class _Waiting(NamedTuple):
    """A request that waits for its answer.

    `done` gets the status of the answer, 0 if the handler must answer.
    """

    body: bytes
    protocol: Any
    done: asyncio.Future[int]


class _Asked(NamedTuple):
    """A request whose event was read; `unnamed` is the id that it got if it had none."""

    waiting: _Waiting
    event: Event
    unnamed: str


class Singles:
    """Answers requests of one plain event each, for the event loop of one worker.

    Parameters
    ----------
    path
        Path of the requests.
    largest_event
        Largest event, in bytes.
    """

    def __init__(self, path: str, versions: Versions, turns: Turns, pacing: Pacing, largest_event: int) -> None:
        self.path = path
        self._versions, self._turns, self._pacing = versions, turns, pacing
        self._most_bytes = largest_event // 4  # so that it cannot hold too many numbers, see `check_size`
        self._waiting: list[_Waiting] = []
        # asyncio asks for the process id at each look for the running loop.
        self._loop: asyncio.AbstractEventLoop | None = None

    def takes(self, query: str, headers: Any) -> bool:
        """Return whether a request with this query and these headers may be answered here."""
        return not query and "idempotency-key" not in headers and not is_ndjson(headers.get("content-type"))

    def answer(self, body: bytes, protocol: Any) -> asyncio.Future[int]:
        """Answer a request at the end of this turn; return the status, 0 if its handler must answer.

        Raises
        ------
        HttpError
            If it cannot be logged.
        """
        loop = self._loop
        if loop is None:
            self._loop = loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        if not self._waiting:
            # At the end of this turn: the other requests that are ready come before.
            loop.call_soon(self._turn)
        self._waiting.append(_Waiting(body, protocol, done))
        return done

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        serving = self._versions.newest()
        if serving is None or not self._turns.are_plain or self._pacing.is_slow(serving):
            _decline(waiting)
            return
        now = time.time_ns() // 1_000_000
        asked: list[_Asked] = []
        for each, unnamed in zip(waiting, made_ids(now, len(waiting)), strict=True):
            if (read := self._read(each, unnamed, now)) is None:
                _decline([each])
            else:
                asked.append(read)
        while asked:
            some = asked[: self._pacing.slice(serving)]
            del asked[: len(some)]
            self._ask(some, serving)

    def _read(self, waiting: _Waiting, unnamed: str, now: int) -> _Asked | None:
        """Return the event in a body, `None` if that is not plain; `unnamed` is its id if it has none."""
        body = waiting.body
        if not body or body[0] != _OBJECT or len(body) > self._most_bytes or _ROWS in body:
            return None
        try:
            event = read_event_row(body, unnamed, now)
        except CodecError:
            return None
        return _Asked(waiting, event, unnamed) if 0 < len(event.event_id) <= LONGEST_ID else None

    def _ask(self, asked: Sequence[_Asked], serving: ServedVersion) -> None:
        try:
            found = self._pacing.at_once([each.event for each in asked], serving)
        except Exception:  # noqa: BLE001 - perhaps of one of these events alone: each handler tells its own
            found = None
        if found is None:
            _decline([each.waiting for each in asked])
        else:
            for (_, event, unnamed), pending in zip(asked, found, strict=True):
                pending.is_new = event.event_id is unnamed
            self._turns.hand_in(found, partial(self._respond, asked, serving))

    def _respond(self, asked: Sequence[_Asked], serving: ServedVersion, results: Sequence[Result]) -> None:
        version = VERSION_HEADER, version_name(serving)
        for ((_, protocol, done), event, unnamed), result in zip(asked, results, strict=True):
            event_id = event.event_id
            try:
                if event_id is unnamed and isinstance(result, Logged) and result.final:  # most
                    status, body = _OK, result.answer
                    headers = [_TYPE, version, (EVENT_HEADER, event_id)]
                else:
                    response = single_answer(event_id, result, serving)
                    status, body = response.status, response.body
                    headers = [(_TYPE[0], response.content_type), *response.headers]
            except Exception as error:  # noqa: BLE001 - it concerns this one alone
                if not done.done():
                    done.set_exception(error)
                continue
            try:  # noqa: SIM105 - quicker than `suppress`
                protocol.response_bytes(status, headers, body)
            except Exception:  # noqa: BLE001, S110 - the caller has gone
                pass
            if not done.done():
                done.set_result(status)


def _decline(waiting: Sequence[_Waiting]) -> None:
    for each in waiting:
        if not each.done.done():  # else its caller has gone
            each.done.set_result(0)
