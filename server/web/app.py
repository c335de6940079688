"""The application: lets requests in, reads their bodies, and finds their endpoints."""

from __future__ import annotations

import contextlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from server.web.access import Access
from server.web.bodies import whole
from server.web.messages import ANY, Headers, HttpError, Request, Response, Routes
from server.web.reading_timeout import ReadingTimeout
from server.web.singles import Singles
from server.web.streamed import NO_ROUTES, StreamedRequest, StreamedRoutes

_PLAIN_ERRORS: Final = "/v2"
"""Paths that begin so have the errors of the Open Inference Protocol."""
_NOTHING: Final[Mapping[str, str]] = types.MappingProxyType({})
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, kw_only=True)
class AppLimits:
    """Limits of one worker.

    Attributes
    ----------
    body_bytes
        Largest body of a request.
    requests, request_bytes
        Requests that are worked on at once, and the bytes of their bodies; the next are refused.
    body_seconds
        Time in which a body must have come.
    hosts
        Names that the `Host` header may have. The `Origin` header, if there is one, must name the same host and port,
        or one of these names that is no address and not this machine.
    is_public
        Other machines can reach this server. Then a `Host` that is an address is taken too, because a browser sends
        one only to that address; and endpoints that need no token, which are for probes, take any.
    """

    body_bytes: int = 8 << 20
    requests: int = 1024
    request_bytes: int = 128 << 20
    body_seconds: float = 10.0
    hosts: frozenset[str] = LOOPBACK
    is_public: bool = False


@dataclass
class Counts:
    """Requests of one worker since its start, by path and status."""

    requests: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, path: str, status: int) -> None:
        """Count one; a path that is no endpoint counts as ``other``."""
        self.requests[path, status] = self.requests.get((path, status), 0) + 1


class App:
    """The application for RSGI 1.

    Parameters
    ----------
    routes
        By path, the route of each method. A name in braces stands for one part of a path: ``/v2/models/{model}``.
    say
        Prints one line for the operator, about an error in the code.
    access
        Who is let in; everyone by default.
    streamed
        The routes whose bodies are read piece by piece, by their handlers.
    singles
        Answers what it can of the requests to one path, in the place of their handler.
    """

    def __init__(
        self,
        routes: Routes,
        limits: AppLimits | None = None,
        say: Callable[[str], None] = print,
        access: Access | None = None,
        streamed: StreamedRoutes = NO_ROUTES,
        singles: Singles | None = None,
    ) -> None:
        self._routes = routes
        self._patterns = [(_pattern(path), path) for path in routes if "{" in path]
        self._streamed = streamed
        self._singles = singles
        self._limits = limits or AppLimits()
        self._say = say
        self._access = access or Access()
        self._bodies = ReadingTimeout(self._limits.body_seconds)
        self._bytes = 0
        self.running = 0
        """Requests that are worked on now."""
        self.counts = Counts()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            protocol.close(403)
            return
        self.running += 1
        asked = scope.path
        path, in_path = self._find(asked)
        try:
            response = await self._respond(scope, protocol, path, in_path)
            if isinstance(response, int):
                self.counts.add(asked, response)
                return
        except HttpError as error:
            response = error.response(plain=asked.startswith(_PLAIN_ERRORS))
        except Exception as error:  # noqa: BLE001 - one request must not end the worker
            self._say(f"{scope.method} {asked} failed: {type(error).__name__}: {error}")
            said = "the request failed; the server's log has the reason"
            response = HttpError(503, "internal", said).response(plain=asked.startswith(_PLAIN_ERRORS))
        finally:
            self.running -= 1
        self.counts.add(path or self._streamed.name_of(asked) or "other", response.status)
        headers = [("content-type", response.content_type), *self._headers(response)]
        try:  # noqa: SIM105 - quicker than `suppress`, and each response passes here
            protocol.response_bytes(response.status, headers, response.body)
        except Exception:  # noqa: BLE001, S110 - the caller has gone
            pass

    def _headers(self, response: Response) -> Headers:
        """Return the headers of a response, besides its type."""
        return response.headers

    def _plain_paths(self) -> Iterable[str]:
        """Return the paths that the answer to an unknown one names."""
        return (path for path in self._routes if "{" not in path)

    def _find(self, path: str) -> tuple[str | None, Mapping[str, str]]:
        """Return the route of a path, `None` if there is none, and the values of the names in it."""
        if path in self._routes:
            return path, _NOTHING
        for pattern, route in self._patterns:
            if found := pattern.fullmatch(path):
                return route, found.groupdict()
        return None, _NOTHING

    async def _respond(self, scope: Any, protocol: Any, path: str | None, in_path: Mapping[str, str]) -> Response | int:
        """Return the response, or the status of one that was sent."""
        streamed = self._streamed.find(scope.path) if path is None else None
        methods = {} if path is None else self._routes[path]
        method, headers = scope.method, scope.headers  # the web server copies the headers at each look
        route = methods.get(method)
        if route is None or route.scope is not None or not self._limits.is_public:
            self._check_host(scope, headers)
        if streamed is not None:
            needed = streamed.scope if method in streamed.methods else ANY
        else:
            needed = ANY if route is None else route.scope
        # Before anything is said about the endpoints, and before a body is read.
        caller = self._access.require(scope, needed)
        if streamed is not None:
            return await streamed.handler(method)(StreamedRequest(scope, protocol, caller))
        if path is None:
            there = ", ".join((*self._plain_paths(), *self._streamed.paths()))
            raise HttpError(404, "not-found", f"there is no {scope.path[:100]}; there are {there}")
        if route is None:
            allowed = ", ".join(methods)
            raise HttpError(405, "method", f"{scope.path} takes {allowed}", (("allow", allowed),))
        if method != "POST":
            return await route.handler(Request(method, scope.path, scope.query_string, headers, b"", caller, in_path))
        limits = self._limits
        if self.running > limits.requests or self._bytes > limits.request_bytes:
            raise HttpError(503, "overloaded", "too many requests at once: send it again a little later")
        body = await whole(headers, protocol, limits.body_bytes, self._bodies)
        size = len(body)
        self._bytes += size
        try:
            query, singles = scope.query_string, self._singles
            quick = singles is not None and path == singles.path and singles.takes(query, headers)
            if quick and singles is not None and (status := await singles.answer(body, protocol)):
                return status
            return await route.handler(Request(method, scope.path, query, headers, body, caller, in_path))
        finally:
            self._bytes -= size

    def _check_host(self, scope: Any, headers: Any) -> None:
        """Refuse what a web page of another site sends through the user's browser."""
        host = scope.authority or headers.get("host", "")
        if len(headers.get_all("host")) > 1:
            # A proxy in front may have let the request in by the other one.
            raise HttpError(400, "host", "the request has two Host headers", (("connection", "close"),))
        hosts, name = self._limits.hosts, _name(host)
        if name not in hosts and not (self._limits.is_public and _is_address(name)):
            raise HttpError(
                421,
                "host",
                f"the Host header names {host[:100]!r}, which is not this server (--allowed-host adds a name)",
            )
        origin = headers.get("origin")
        if origin is not None and (page := origin.partition("://")[2]) != host and not self._is_allowed(_name(page)):
            raise HttpError(403, "origin", f"pages of {origin[:100]!r} may not send requests here")

    def _is_allowed(self, name: str) -> bool:
        """Return whether pages of a host may send requests here; at another port of this machine may be anybody's."""
        return name in self._limits.hosts and name not in LOOPBACK and not _is_address(name)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


@lru_cache(maxsize=256)
def _name(host: str) -> str:
    """Return the name in ``name:port``, without the brackets of an IPv6 address."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


@lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
