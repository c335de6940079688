"""Endpoints of the console: from requests to its desk, and from errors to statuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

from consumers.roles import CONSOLE
from millstream.alerting.decisions import InvalidAlertName, InvalidSilence, NoSuchAlert
from millstream.console.desk import Decision, Deed, Desk
from millstream.console.workers import Workers
from millstream.reading.jobs import NoSuchJob
from millstream.reading.offset_ranges import Edge
from millstream.reading.timestamps import InvalidMoment, moment
from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.versions.decisions import NotDecided
from millstream.versions.job_requests import AlreadyEnded, EmptyRange, NoBatchModel
from millstream.versions.rebuild import CannotAdopt
from millstream.versions.rollback import NothingBefore
from millstream.versions.trace_event import NoSuchEvent
from model_store import InvalidVersion, NotFound, StoreError, VersionRefused
from runtime.kafka_client.cluster import KafkaAccessDenied, MissingTopic, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from schemas.alerts import AlertDecision
from schemas.json_text import NO_JSON, json_text, why_no_json
from server.web.guarded_app import Call, Endpoint
from server.web.messages import HttpError, Response

_MOST_ROWS: Final = 1000
_ROWS: Final = 100
_LONGEST_ID: Final = 1000
_LONGEST_WHY: Final = 1000
_LARGEST_OFFSET: Final = 2**63 - 1
_NAMELESS: Final = CONSOLE
"""Who decides, where nobody needs a token."""
_NEED_VERSION: Final = ("pin", "adopt")
_TAKE_VERSION: Final = (*_NEED_VERSION, "rollback")
_NEED_MODEL: Final = ("promote",)
_TAKE_MODEL: Final = (*_NEED_MODEL, "pause", "resume")
_encoder: Final = msgspec.json.Encoder(enc_hook=str)


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""
    version: str | None = None
    model: str | None = None


class _AlertWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""
    alert: str = ""
    for_: str | None = msgspec.field(default=None, name="for")


class _JobWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""
    model: str | None = None
    job: str | None = None
    from_: int | str | None = msgspec.field(default=None, name="from")
    to: int | str | None = None


_WantedT = TypeVar("_WantedT", _Wanted, _AlertWanted, _JobWanted)
_wanted: Final = msgspec.json.Decoder(_Wanted)
_alert_wanted: Final = msgspec.json.Decoder(_AlertWanted)
_job_wanted: Final = msgspec.json.Decoder(_JobWanted)


class Endpoints:
    """The endpoints of one console."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        late = "it takes too long: Kafka does not answer, or there is much to read"
        self._quick = Workers("read", 4, waiting=60, seconds=15, late=late)
        self._slow = Workers("search", 2, waiting=14, seconds=120, late=late)
        # One at a time, so that both topics of decisions have them in the same order.
        unknown = "it is not known yet whether the decision holds: look at /v1/status before you send it again"
        self._deciding = Workers("decide", 1, waiting=15, seconds=60, late=unknown)

    def all(self) -> Sequence[Endpoint]:
        """Return all of them."""
        deeds: tuple[Deed, ...] = get_args(Deed)
        return (
            Endpoint("GET", "/v1/status", "read", self._read(self._quick, self._status)),
            Endpoint("GET", "/v1/models", "read", self._read(self._quick, self._models)),
            Endpoint("GET", "/v1/models/{version}", "read", self._read(self._quick, self._model)),
            Endpoint("GET", "/v1/decisions", "read", self._read(self._slow, self._history)),
            Endpoint("GET", "/v1/alerts", "read", self._read(self._slow, self._page("alerts"))),
            Endpoint("GET", "/v1/jobs", "read", self._read(self._slow, self._jobs)),
            Endpoint("GET", "/v1/jobs/{id}", "read", self._read(self._slow, self._job)),
            Endpoint("GET", "/v1/events/{id}", "data", self._read(self._slow, self._event)),
            Endpoint("GET", "/v1/dead-letters", "data", self._read(self._slow, self._page("dead-letters"))),
            *(Endpoint("POST", f"/v1/{deed}", "admin", self._decide(deed)) for deed in deeds),
            *(Endpoint("POST", f"/v1/{each}", "admin", self._decide_alert(each)) for each in get_args(AlertDecision)),
            Endpoint("POST", "/v1/jobs", "admin", self._ask_job),
            Endpoint("POST", "/v1/cancel", "admin", self._cancel_job),
        )

    def _read(self, workers: Workers, work: Callable[[Call], Callable[[], Any]]) -> Callable[[Call], Any]:
        """Return the handler of a read. `work` checks the call at once, and returns what a thread is to do."""

        async def handle(call: Call) -> Response:
            return await _answer(workers, work(call))

        return handle

    def _status(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        return self._desk.status

    def _models(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        return self._desk.models

    def _model(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        return lambda: self._desk.model(call.value)

    def _history(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        return self._desk.history

    def _jobs(self, call: Call) -> Callable[[], Any]:
        query = call.request.query()
        limit = _number(query.pop("limit", None), "limit", 1, _MOST_ROWS)
        if query:
            raise HttpError(400, "query", f"there is no parameter {next(iter(query))[:100]!r}: limit is")
        return lambda: {"jobs": self._desk.jobs(_ROWS if limit is None else limit)}

    def _job(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        return lambda: self._desk.job(call.value)

    def _event(self, call: Call) -> Callable[[], Any]:
        _no_query(call)
        if len(call.value) > _LONGEST_ID:
            raise HttpError(400, "id", f"an event id of {len(call.value)} characters; 1 to {_LONGEST_ID} are taken")
        return lambda: self._desk.event(call.value)

    def _page(self, kind: Literal["alerts", "dead-letters"]) -> Callable[[Call], Callable[[], Any]]:
        def work(call: Call) -> Callable[[], Any]:
            query = call.request.query()
            limit = _number(query.pop("limit", None), "limit", 1, _MOST_ROWS)
            before = _number(query.pop("before", None), "before", 0, _LARGEST_OFFSET)
            if query:
                raise HttpError(
                    400, "query", f"there is no parameter {next(iter(query))[:100]!r}: limit and before are"
                )
            return lambda: self._desk.page(kind, _ROWS if limit is None else limit, before)

        return work

    def _decide(self, deed: Deed) -> Callable[[Call], Any]:
        async def handle(call: Call) -> Response:
            _no_query(call)
            wanted = _read_wanted(call.request.body, deed)
            decision = Decision(deed, wanted.version, wanted.model, call.request.caller.name or _NAMELESS, wanted.why)
            return await _answer(self._deciding, lambda: self._desk.decide(decision))

        return handle

    def _decide_alert(self, decision: AlertDecision) -> Callable[[Call], Any]:
        async def handle(call: Call) -> Response:
            _no_query(call)
            wanted = _read_alert_wanted(call.request.body, decision)
            by = call.request.caller.name or _NAMELESS

            def work() -> Any:
                for_ms = None if wanted.for_ is None else milliseconds(wanted.for_)
                return self._desk.decide_alert(decision, wanted.alert, by, wanted.why, for_ms)

            return await _answer(self._deciding, work)

        return handle

    async def _ask_job(self, call: Call) -> Response:
        _no_query(call)
        wanted = _decoded(call.request.body, _job_wanted, "a job")
        model, by = wanted.model, call.request.caller.name or _NAMELESS
        if model is None or wanted.job is not None:
            raise HttpError(422, "model", 'a job needs a batch model, and has no id yet: {"model": "NAME", "why": …}')
        begin, end = _edge("from", wanted.from_), _edge("to", wanted.to)
        return await _answer(self._deciding, lambda: self._desk.ask_job(model, begin, end, by, wanted.why))

    async def _cancel_job(self, call: Call) -> Response:
        _no_query(call)
        wanted = _decoded(call.request.body, _job_wanted, "cancel")
        job, by = wanted.job, call.request.caller.name or _NAMELESS
        if job is None or (wanted.model, wanted.from_, wanted.to) != (None, None, None):
            raise HttpError(422, "job", 'cancel needs a job, and nothing else: {"job": "ID", "why": …}')
        return await _answer(self._deciding, lambda: self._desk.cancel_job(job, by, wanted.why))


def _edge(name: str, given: int | str | None) -> Edge:
    """Return the begin or the end of a range: an offset, or a time as in the command line."""
    if given is None:
        return Edge()
    if isinstance(given, int):
        if not 0 <= given <= _LARGEST_OFFSET:
            raise HttpError(422, name, f"{name}={given} must be a number from 0 to {_LARGEST_OFFSET}")
        return Edge(str(given), offset=given)
    try:
        return Edge(given, time_ms=moment(given))
    except InvalidMoment as error:
        raise HttpError(422, name, f"{error}; or an offset, as a number") from error


def _no_query(call: Call) -> None:
    if call.request.query_string:
        raise HttpError(400, "query", f"{call.request.path[:100]} takes no parameters")


def _number(text: str | None, name: str, least: int, most: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise HttpError(400, "query", f"{name}={text[:100]!r} must be a number from {least} to {most}")
    return int(text)


def _decoded(body: bytes, decoder: msgspec.json.Decoder[_WantedT], decision: str) -> _WantedT:
    """Return what the body asks for. Raises HttpError if it is not JSON of this form, or gives no reason."""
    text = json_text(body)
    try:
        found = decoder.decode(text)
        # Of a name that is there twice, people and programs may read the first or the last.
        pairs = json.loads(text.decode(), object_pairs_hook=list)
    except NO_JSON as error:
        raise HttpError(400, "json", f'not {{"why": …}} in JSON: {why_no_json(error, text)}') from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise HttpError(400, "json", "a name is there twice")
    if not found.why.strip():
        raise HttpError(422, "why", f'{decision} needs a reason, which is kept with it: {{"why": …}}')
    if len(found.why) > _LONGEST_WHY:
        raise HttpError(422, "why", f"a reason of {len(found.why)} characters; at most {_LONGEST_WHY} are taken")
    return found


def _read_alert_wanted(body: bytes, decision: AlertDecision) -> _AlertWanted:
    """Return what the body asks for. Raises HttpError if it is not what this decision takes."""
    found = _decoded(body, _alert_wanted, decision)
    if not found.alert:
        raise HttpError(422, "alert", f'{decision} needs an alert: {{"alert": "monitor.drift", "why": …}}')
    if (found.for_ is None) is (decision == "silence"):
        text = 'needs a time: {"for": "2h", …}' if decision == "silence" else "takes no time"
        raise HttpError(422, "for", f"{decision} {text}")
    return found


def _read_wanted(body: bytes, deed: Deed) -> _Wanted:
    """Return what the body asks for. Raises HttpError if it is not what this decision takes."""
    found = _decoded(body, _wanted, deed)
    if found.version is None and deed in _NEED_VERSION:
        raise HttpError(422, "version", f'{deed} needs a version: {{"version": "EPOCH/EXAMPLES", "why": …}}')
    if found.version is not None and deed not in _TAKE_VERSION:
        raise HttpError(422, "version", f"{deed} takes no version")
    if found.model is None and deed in _NEED_MODEL:
        raise HttpError(422, "model", f'{deed} needs a model: {{"model": "NAME", "why": …}}')
    if found.model is not None and deed not in _TAKE_MODEL:
        raise HttpError(422, "model", f"{deed} takes no model")
    return found


async def _answer(workers: Workers, work: Callable[[], Any]) -> Response:
    try:
        found = await workers.run(work)
    except Exception as error:
        raise _explained(error) from error
    return Response(200, _encoder.encode(found))


def _explained(error: Exception) -> Exception:
    """Return the error that the sender gets; an error in our code stays as it is."""
    for kinds, status, code in _STATUSES:
        if isinstance(error, kinds):
            said = f"Kafka: {described(error)}" if isinstance(error, KafkaError) else str(error)
            return HttpError(status, code, said)
    return error


# The first that fits holds: some are kinds of those below.
_STATUSES: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], int, str], ...]] = (
    (InvalidVersion, 400, "version"),
    ((InvalidDuration, InvalidSilence), 422, "for"),
    (InvalidAlertName, 422, "alert"),
    (NoSuchAlert, 404, "alert"),
    (NoBatchModel, 422, "model"),
    (EmptyRange, 422, "from"),
    (NoSuchJob, 404, "job"),
    (NotFound, 404, "version"),
    (NoSuchEvent, 404, "event"),
    ((CannotAdopt, NothingBefore, VersionRefused, AlreadyEnded), 409, "refused"),
    ((KafkaError, NoBroker, NotDecided, MissingTopic, KafkaAccessDenied), 503, "kafka"),
    ((StoreError, OSError), 503, "store"),
)
