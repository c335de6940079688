"""Application for tools and browsers: values in paths, guards against other sites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from server.web.access import Access
from server.web.app import App, AppLimits
from server.web.messages import JSON, Headers, HttpError, Request, Response, Route, Routes

Scope: TypeAlias = Literal["read", "data", "admin"]

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_VALUE: Final = "value"
_OURS: Final = ("same-origin", "none")
"""Values of `Sec-Fetch-Site` of requests that no other site's page has caused."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in, with what stands in the place of the path's value; empty if the path has none."""

    request: Request
    value: str


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes
    ----------
    path
        Such as ``/v1/status``; ``/v1/events/{id}`` takes a value, which may contain slashes.
    scope
        Scope that a token must have; `None` if none is needed.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    handler: Callable[[Call], Awaitable[Response]]

    def route(self) -> Route:
        """Return what answers its requests."""

        async def handle(request: Request) -> Response:
            if self.method == "POST":
                _require_json(request)
            return await self.handler(Call(request, request.in_path.get(_VALUE, "")))

        return Route(handle, self.scope)


class GuardedApp(App):
    """Refuses what pages of other sites send through a person's browser, and lets browsers keep nothing.

    Parameters
    ----------
    routes
        Further routes, such as those of the probes.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        routes: Routes,
        limits: AppLimits,
        say: Callable[[str], None],
        access: Access,
    ) -> None:
        all_routes: dict[str, Mapping[str, Route]] = {}
        for each in endpoints:
            all_routes[each.path] = {**all_routes.get(each.path, {}), each.method: each.route()}
        super().__init__({**all_routes, **routes}, limits, say, access)
        self._prefixes = [(path.partition("{")[0], path) for path in self._routes if "{" in path]

    def _headers(self, response: Response) -> Headers:
        # Of two content security policies, browsers apply both: a response's own replaces this one.
        return tuple({**_HEADERS, **dict(response.headers)}.items())

    def _find(self, path: str) -> tuple[str | None, Mapping[str, str]]:
        """Return the endpoint of a path, and the path's value, which may contain slashes."""
        found = super()._find(path)
        for begin, endpoint in self._prefixes:
            if path.startswith(begin) and len(path) > len(begin):
                return endpoint, {_VALUE: path[len(begin) :]}
        return found

    def _plain_paths(self) -> Iterable[str]:
        return self._routes

    def _check_host(self, scope: Any, headers: Any) -> None:
        """Refuse what a page of another site caused, which a person's browser sends with that person's rights."""
        super()._check_host(scope, headers)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        # A link on another page may lead to a GET; a page shows it to nobody but the person.
        followed = scope.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site is not None and site not in _OURS and not followed:
            raise HttpError(403, "origin", "pages of other sites may not send requests here")
        if origin is not None and origin.partition("://")[2] != (scope.authority or headers.get("host", "")):
            raise HttpError(403, "origin", f"pages of {origin[:100]!r} may not send requests here")


def _require_json(request: Request) -> None:
    """Refuse a body of another type: a browser sends JSON to another site only after that site has agreed."""
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != JSON:
        raise HttpError(415, "content-type", f"send JSON, with the header content-type: {JSON}")
