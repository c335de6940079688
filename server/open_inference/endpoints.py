"""The endpoints below ``/v2``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from consumers.predictor.predictor import ServedVersion
from schemas.contract import Contract
from schemas.target import Target
from server.answering.answerer import Refused, Said
from server.answering.requests import NUMBER_BYTES, TooMany
from server.answering.versions import NO_VERSION
from server.open_inference.inference_request import Inference, InvalidInference, Wanted, read_inference
from server.open_inference.inference_response import Outputs, Row, failure, response_body
from server.open_inference.model_metadata import model_metadata
from server.open_inference.tensors import InvalidTensor, shown
from server.spool.spool import Conflict, Repeated, Result, Unlogged
from server.web.messages import RETRY_AFTER, Handler, Headers, HttpError, Request, Response, Route, Routes
from server.web.predict import Predict, idempotency_key, too_many
from server.web.rows import CONFLICT, UNLOGGED, answer_of, is_final
from server.web.single_answer import VERSION_HEADER, version_name

JSON_LENGTH_HEADER: Final = "inference-header-content-length"
EXTENSIONS: Final = ("binary_tensor_data",)
_SCOPE: Final = "predict"
_BINARY: Final = "application/octet-stream"
_NO_ANSWER: Final = "no-answer: the model gives no prediction, because it has learned too little or abstains"
_LARGE_BYTES: Final = 128 << 10
_ROW_BYTES: Final = 128  # of a response, roughly
_P = ParamSpec("_P")
_T = TypeVar("_T")
_encoder: Final = msgspec.json.Encoder()
_said: Final = msgspec.json.Decoder(Said)
_refused: Final = msgspec.json.Decoder(Refused)


class OpenInference:
    """Open Inference Protocol V2 of one stream.

    Parameters
    ----------
    model
        Name of the model in paths: the stream's.
    release
        Release of Millstream.
    unready
        Returns why requests should go elsewhere, `None` if they should come.
    """

    def __init__(
        self,
        model: str,
        release: str,
        contract: Contract,
        target: Target,
        predict: Predict,
        unready: Callable[[], str | None],
    ) -> None:
        self._model, self._release = model, release
        self._contract = contract
        self._outputs = Outputs(target)
        self._predict = predict
        self._unready = unready

    def routes(self) -> Routes:
        """Return the routes."""
        model = "/v2/models/{model}"
        routes: dict[str, Mapping[str, Route]] = {
            "/v2": _reads(self.server),
            "/v2/health/live": _reads(self.live),
            "/v2/health/ready": _reads(self.ready),
        }
        # The web server decodes a path before it comes here, so that 3%2F81000 has become two parts.
        for path in (model, f"{model}/versions/{{version}}", f"{model}/versions/{{epoch}}/{{examples}}"):
            routes[path] = _reads(self.metadata)
            routes[f"{path}/ready"] = _reads(self.model_ready)
            routes[f"{path}/infer"] = {"POST": Route(self.infer, _SCOPE)}
        return routes

    # --- what there is -----------------------------------------------------------------------------

    async def server(self, request: Request) -> Response:
        """Describe the server."""
        return _json({"name": "millstream", "version": self._release, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:
        """Answer that the process lives."""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """Answer whether requests should come here."""
        why = self._unready()
        return _json({"ready": True}) if why is None else _json({"ready": False, "error": why}, 503)

    async def metadata(self, request: Request) -> Response:
        """Describe the model."""
        self._check_model(request)
        serving = self._predict.newest()
        self._check_version(request, serving)
        version = None if serving is None else _in_url(serving)
        return _json(model_metadata(self._model, self._contract, self._outputs, serving, version))

    async def model_ready(self, request: Request) -> Response:
        """Answer whether the model, or the version, answers."""
        self._check_model(request)
        self._check_version(request, self._predict.newest())
        why = self._unready()
        body: dict[str, Any] = {"name": self._model, "ready": why is None}
        return _json(body) if why is None else _json({**body, "error": why}, 503)

    def _check_model(self, request: Request) -> None:
        given = request.in_path["model"]
        if given != self._model:
            raise HttpError(404, "not-found", f"there is no model {shown(given)}; there is {self._model}")

    def _check_version(self, request: Request, serving: ServedVersion | None) -> None:
        """Raise HttpError if the path names another version than the one that serves."""
        parts = request.in_path
        given = f"{parts['epoch']}-{parts['examples']}" if "epoch" in parts else parts.get("version")
        if given is None:
            return
        if serving is None:
            raise HttpError(503, "not-ready", NO_VERSION)
        if _in_path(given) != _in_url(serving):
            raise HttpError(
                404,
                "not-found",
                f"version {shown(given)} does not serve; {_in_url(serving)} does. Without /versions/… in the path the "
                "version that serves answers, whichever it is",
            )

    # --- inference ---------------------------------------------------------------------------------

    async def infer(self, request: Request) -> Response:
        """Answer the rows of a request; each is an event, and logged like any."""
        self._check_model(request)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise HttpError(415, "encoding", f"a body in {shown(encoding)} is not read: send it uncompressed")
        key = idempotency_key(request)
        serving = await self._predict.version(request)
        self._check_version(request, serving)
        now = time.time_ns() // 1_000_000
        try:
            json_length = request.headers.get(JSON_LENGTH_HEADER)
            inference = await _apart(
                len(request.body),
                read_inference,
                request.body,
                json_length,
                self._contract,
                self._predict.largest_event // NUMBER_BYTES,
            )
            wanted = self._outputs.wanted(inference)
        except (InvalidInference, InvalidTensor) as error:
            raise HttpError(400, "json", str(error)) from error
        except TooMany as error:
            raise too_many(error) from error
        row_bytes = max(NUMBER_BYTES * inference.width, len(request.body) // inference.rows)
        answered = await self._predict.answer_rows(
            inference.rows, row_bytes, lambda begin, end: inference.events(begin, end, key, now), serving
        )
        return await _apart(inference.rows * _ROW_BYTES, self._response, inference, wanted, answered, serving)

    def _response(
        self, inference: Inference, wanted: list[Wanted], answered: list[tuple[str, Result]], serving: ServedVersion
    ) -> Response:
        rows = [_row(event_id, result, serving) for event_id, result in answered]
        headers: Headers = ((VERSION_HEADER, version_name(serving)),)
        if any(isinstance(result, Unlogged) for _, result in answered):
            headers = (*headers, UNLOGGED)
        why = failure(rows, inference)
        if why is not None:
            raise HttpError(422, "rows", why, headers)
        head: dict[str, Any] = {"model_name": self._model, "model_version": _in_url(serving)}
        if inference.id is not None:
            head["id"] = inference.id
        body, json_bytes = response_body(head, rows, self._outputs, wanted)
        if json_bytes is None:
            return Response(200, body, headers)
        return Response(200, body, (*headers, (JSON_LENGTH_HEADER, str(json_bytes))), _BINARY)


async def _apart(size: int, work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """Do some work; in a thread if it is on so many bytes that other requests would wait for it."""
    if size < _LARGE_BYTES:
        return work(*given, **named)
    return await asyncio.to_thread(work, *given, **named)


def _row(event_id: str, result: Result, serving: ServedVersion) -> Row:
    version = _in_url(serving)
    if isinstance(result, Conflict):
        return Row(event_id, version, error=f"conflict: {CONFLICT}")
    answer = answer_of(result)
    repeated = isinstance(result, Repeated)
    if not is_final(result):
        error = _refused.decode(answer).error
        return Row(event_id, version, repeated=repeated, error=f"{error.code}: {error.message}")
    said = _said.decode(answer)
    error_text = _NO_ANSWER if said.prediction is None else ""
    return Row(event_id, _in_path(said.version), said.prediction, said.probabilities, repeated, error_text)


def _in_url(serving: ServedVersion) -> str:
    """Return a version in a form that a path can hold, such as ``3-81000``."""
    return _in_path(version_name(serving))


def _in_path(version: str) -> str:
    return version.replace("/", "-").replace(":", "-")


def _reads(handler: Handler) -> Mapping[str, Route]:
    route = Route(handler, _SCOPE)
    return {"GET": route, "HEAD": route}


def _json(body: object, status: int = 200) -> Response:
    return Response(status, _encoder.encode(body), (RETRY_AFTER,) if status == 503 else ())
