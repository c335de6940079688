"""Application for tools and browsers: values in paths, guards against other sites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from server.web.app import App, AppLimits
from server.web.messages import JSON, Handler, Headers, HttpError, Request, Response

Scope: TypeAlias = Literal["read", "data", "admin"]

_HEADERS: Final[Headers] = (
    ("content-security-policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
)
_OURS: Final = ("same-origin", "none")
"""Values of `Sec-Fetch-Site` of requests that no other site's page has caused."""


class Caller(Protocol):
    """Sender of a request."""

    @property
    def name(self) -> str | None:
        """Name of the token; `None` if none is needed."""


class Access(Protocol):
    """Decides who may do what."""

    def require(self, request: Request, scope: str) -> Caller:
        """Return the sender of a request. Raises HttpError if it may not do this."""


@dataclass(frozen=True)
class Anybody:
    """The sender, where no tokens are needed."""

    name: str | None = None


class OpenAccess:
    """Lets everybody in. Only for loopback addresses."""

    def require(self, request: Request, scope: str) -> Caller:
        """Return a sender without a name."""
        return Anybody()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in.

    Attributes
    ----------
    value
        What stands in the place of the path's value; empty if the path has none.
    by
        Name of the sender's token, `None` if none is needed.
    """

    request: Request
    value: str
    by: str | None


@dataclass(frozen=True)
class Route:
    """One endpoint.

    Attributes
    ----------
    path
        Such as ``/v1/status``; ``/v1/events/{id}`` takes a value, which may contain slashes.
    scope
        What a token must allow; `None` if the endpoint needs none.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    handler: Callable[[Call], Awaitable[Response]]


class GuardedApp(App):
    """Refuses what pages of other sites send through a person's browser, and lets browsers keep nothing.

    Parameters
    ----------
    routes
        The endpoints.
    access
        Decides who may call them.
    """

    headers = _HEADERS

    def __init__(
        self,
        routes: Sequence[Route],
        access: Access,
        limits: AppLimits | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._access = access
        plain: dict[str, dict[str, Handler]] = {}
        self._prefixes: dict[str, tuple[str, Mapping[str, Route]]] = {}
        for route in routes:
            begin, brace, _ = route.path.partition("{")
            if brace:
                self._prefixes[begin] = route.path, {route.method: route}
            else:
                plain.setdefault(route.path, {})[route.method] = self._handler(route, "")
        super().__init__(plain, limits, say)
        self.paths = tuple(dict.fromkeys(route.path for route in routes))

    def _methods(self, path: str) -> Mapping[str, Handler] | None:
        found = super()._methods(path)
        if found is not None:
            return found
        for begin, (_, routes) in self._prefixes.items():
            if path.startswith(begin) and len(path) > len(begin):
                value = path[len(begin) :]
                return {method: self._handler(route, value) for method, route in routes.items()}
        return None

    def _counted(self, path: str) -> str:
        for begin, (template, _) in self._prefixes.items():
            if path.startswith(begin) and len(path) > len(begin):
                return template
        return super()._counted(path)

    def _handler(self, route: Route, value: str) -> Handler:
        async def handle(request: Request) -> Response:
            by = None if route.scope is None else self._access.require(request, route.scope).name
            if route.method == "POST":
                _require_json(request)
            return await route.handler(Call(request, value, by))

        return handle

    def _check_host(self, scope: Any) -> None:
        """Refuse what a page of another site caused, which a person's browser sends with that person's rights."""
        super()._check_host(scope)
        headers = scope.headers
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
