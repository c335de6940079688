"""Answer to a request of one event: its status, its headers and its body."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from consumers.predictor.predictor import ServedVersion
from schemas.model_names import version_text
from server.answering.answerer import Said
from server.spool.spool import Conflict, Repeated, Result, Unlogged
from server.web.messages import Headers, Response, error_body
from server.web.rows import CONFLICT, UNLOGGED, answer_of, is_final

_LONGEST_HEADER: Final = 2048
VERSION_HEADER: Final = "x-model-version"
EVENT_HEADER: Final = "x-event-id"
_PLAIN: Final = re.compile("[!-$&-~]*").fullmatch
_said: Final = msgspec.json.Decoder(Said)


def version_name(serving: ServedVersion) -> str:
    """Return a version as a header names it, such as ``3/81000``."""
    return version_text(serving.name, serving.epoch, serving.examples)


def single_answer(event_id: str, result: Result, serving: ServedVersion) -> Response:
    """Return the response. Raises HttpError if the event could not be logged."""
    headers: Headers = ((VERSION_HEADER, version_name(serving)),)
    if len(named := _header_value(event_id)) <= _LONGEST_HEADER:
        headers = (*headers, (EVENT_HEADER, named))  # proxies refuse long headers
    if isinstance(result, Conflict):
        return Response(422, error_body("conflict", CONFLICT, event_id), headers)
    body = answer_of(result)
    final = is_final(result)
    if isinstance(result, Unlogged):
        headers = (*headers, UNLOGGED)
    if isinstance(result, Repeated) and final:
        headers = ((VERSION_HEADER, _said.decode(result.answer).version), *headers[1:])
    return Response(200 if final else 422, body, headers)


def _header_value(text: str) -> str:
    """Return an id as a header can hold it: other characters than visible ASCII are percent-encoded."""
    if _PLAIN(text) is not None:
        return text
    return "".join(
        each if "!" <= each <= "~" and each != "%" else "".join(f"%{byte:02X}" for byte in each.encode())
        for each in text
    )
