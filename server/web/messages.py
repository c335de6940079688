"""Requests and responses of the endpoints, apart from the web server's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from server.answering.answerer import Error

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_MOST_PARAMETERS: Final = 32
RETRY_AFTER: Final = ("retry-after", "1")
Headers: TypeAlias = tuple[tuple[str, str], ...]
_encoder: Final = msgspec.json.Encoder()


class _ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    error: Error
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: str = JSON


class HttpError(Exception):
    """Ends a request with an error: a status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.headers = (*headers, RETRY_AFTER) if status == 503 else headers

    def response(self, *, plain: bool = False) -> Response:
        """Return the response; `plain` as the Open Inference Protocol has it, ``{"error": "the sentence"}``."""
        body = _encoder.encode({"error": str(self)}) if plain else error_body(self.code, str(self))
        return Response(self.status, body, self.headers)


def error_body(code: str, message: str, event_id: str | None = None) -> bytes:
    """Return ``{"error": {"code": …, "message": …}}``, with the event's id if there is one."""
    return _encoder.encode(_ErrorBody(Error(code, message), event_id))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    name
        Name of the token; `None` where no token was needed.
    """

    name: str | None
    scopes: frozenset[str] = frozenset()


ANYONE: Final = Caller(None)
ANY: Final = "any"
"""Scope of an endpoint that every token may use."""


@dataclass(slots=True)
class Request:
    """A request that was read and let in.

    Attributes
    ----------
    headers
        The web server's headers: `get` takes a name in small letters.
    caller
        Who asks.
    in_path
        Values of the names in the route's path, such as ``model`` of ``/v2/models/{model}``.
    """

    method: str
    path: str
    query_string: str
    headers: Any
    body: bytes
    caller: Caller = ANYONE
    in_path: Mapping[str, str] = field(default_factory=dict)

    def query(self) -> dict[str, str]:
        """Return the parameters after the question mark. Raises HttpError if one is there twice, or there are many."""
        if not self.query_string:
            return {}
        try:
            pairs = parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
        except ValueError as error:
            raise HttpError(400, "query", f"the query has more than {_MOST_PARAMETERS} parameters") from error
        if len({name for name, _ in pairs}) < len(pairs):
            raise HttpError(400, "query", "a parameter of the query is given twice")
        return dict(pairs)

    @property
    def is_ndjson(self) -> bool:
        """Return whether the body is JSON line by line."""
        return is_ndjson(self.headers.get("content-type"))


@lru_cache(maxsize=256)
def is_ndjson(content_type: str | None) -> bool:
    """Return whether a body of this type is JSON line by line."""
    given = (content_type or "").split(";")[0].strip().lower()
    return given in (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one method of one path.

    Attributes
    ----------
    scope
        Scope that the caller's token must have; `ANY` for any token, `None` if none is needed.
    """

    handler: Handler
    scope: str | None


Routes: TypeAlias = Mapping[str, Mapping[str, Route]]
"""By path, the route of each method."""
