"""A request as a web server hands it to an RSGI application, and what the application answers, in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


class Headers(dict[str, str]):
    """Headers, each there once."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


@dataclass
class Scope:
    """Method, path and headers of a request."""

    method: str
    path: str
    headers: Headers
    query_string: str = ""
    authority: str | None = None
    proto: str = "http"


@dataclass
class Protocol:
    """The body of a request, in pieces, and the response to it."""

    pieces: list[bytes]
    body_read: bool = False
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    async def __call__(self) -> bytes:
        self.body_read = True
        return b"".join(self.pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.body_read = True
        for piece in self.pieces:
            yield piece

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.answer = status, dict(headers), body

    @property
    def json(self) -> Any:
        return json.loads(self.answer)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])
