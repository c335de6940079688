"""Routes whose bodies are read piece by piece: they are too large for memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from server.web.bodies import length_of, pieces
from server.web.messages import ANYONE, Caller, HttpError, Request, Response


class StreamedRequest(Request):
    """A request that was let in; its body is not read yet, so `body` is empty."""

    __slots__ = ("_protocol",)

    def __init__(self, scope: Any, protocol: Any, caller: Caller = ANYONE) -> None:
        super().__init__(scope.method, scope.path, scope.query_string, scope.headers, b"", caller)
        self._protocol = protocol

    @property
    def length(self) -> int | None:
        """Return the declared length of the body, bytes; `None` if it comes in chunks. Raises HttpError."""
        return length_of(self.headers)

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, as `server.web.bodies.pieces`."""
        return pieces(self.headers, self._protocol)


StreamedHandler: TypeAlias = Callable[[StreamedRequest], Awaitable[Response]]


@dataclass(frozen=True)
class StreamedRoute:
    """One route.

    Attributes
    ----------
    path
        The path; with ``/`` at its end, all paths with one more part.
    scope
        Scope that a caller needs.
    methods
        By method, its handler.
    """

    path: str
    scope: str | None
    methods: Mapping[str, StreamedHandler]

    def handler(self, method: str) -> StreamedHandler:
        """Return the handler of a method. Raises HttpError if there is none."""
        found = self.methods.get(method)
        if found is None:
            allowed = ", ".join(self.methods)
            raise HttpError(405, "method", f"{self.path} takes {allowed}", (("allow", allowed),))
        return found


class StreamedRoutes:
    """Streamed routes by their paths."""

    def __init__(self, routes: Sequence[StreamedRoute] = ()) -> None:
        self._routes = {route.path: route for route in routes}

    def find(self, path: str) -> StreamedRoute | None:
        """Return the route of a path, `None` if there is none."""
        return self._routes.get(path) or self._routes.get(path[: path.rfind("/") + 1])

    def name_of(self, path: str) -> str | None:
        """Return the path of the route that has this one."""
        found = self.find(path)
        return None if found is None else found.path

    def paths(self) -> tuple[str, ...]:
        """Return the paths of all routes."""
        return tuple(self._routes)


NO_ROUTES: Final = StreamedRoutes()
