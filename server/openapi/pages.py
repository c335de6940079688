"""``/openapi.json`` and ``/docs``."""

from __future__ import annotations

from functools import cache
from typing import Final

import msgspec

from consumers.roles import SERVER
from server.openapi.document import document
from server.openapi.html import STYLE_HASH, page
from server.web.messages import Request, Response, Route, Routes

_CSP: Final = (
    f"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (("content-security-policy", _CSP), ("x-content-type-options", "nosniff"))


def description(stream: str, release: str, role: str = SERVER) -> Routes:
    """Return the routes that describe the endpoints of a role; both are made when they are first asked for."""

    @cache
    def as_json() -> Response:
        return Response(200, msgspec.json.encode(document(stream, release, role)), _HEADERS)

    @cache
    def as_page() -> Response:
        return Response(200, page(stream, release, role).encode(), _HEADERS, "text/html; charset=utf-8")

    async def openapi(request: Request) -> Response:
        return as_json()

    async def docs(request: Request) -> Response:
        return as_page()

    json, html = Route(openapi, None), Route(docs, None)
    return {"/openapi.json": {"GET": json, "HEAD": json}, "/docs": {"GET": html, "HEAD": html}}
