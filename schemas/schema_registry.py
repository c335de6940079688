"""Client of a schema registry (Confluent's REST interface): schemas by id or GUID, ids of own schemas.

Each schema is requested once and cached for ever, because an id's schema never changes. So the standard library's HTTP
client is enough: a persistent connection would not help, and nothing more must be installed.

A fault of a message is a `CodecError`. If the registry does not answer, that is not the message's fault but a
`RegistryError`: the reader waits, or ends and is started again.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, TypeAlias
from urllib.parse import quote, urlsplit

from runtime.deadline import Overdue, within
from schemas.codec import CodecError
from schemas.schema_registry_errors import LARGEST, RegistryError, UnknownSchema, meaning

__all__ = ["Registered", "Registry", "RegistryError", "RegistrySettings", "SchemaKey", "UnknownSchema", "check_url"]

SchemaKey: TypeAlias = int | uuid.UUID
CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_MOST_PARTS: Final = 100
_MOST_IDS: Final = 1 << 31
_FAILED_S: Final = 5.0
_MOST_FAILED: Final = 10_000


@dataclass(frozen=True)
class Registered:
    """A schema from the registry.

    Attributes
    ----------
    kind
        ``AVRO``, ``JSON`` or ``PROTOBUF``.
    parts
        The texts of referenced schemas, each after the schemas that it references itself.
    """

    kind: str
    text: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RegistrySettings:
    """Settings of a registry.

    Attributes
    ----------
    urls
        Addresses, tried one after the other.
    ca
        A file of certificates to trust instead of the system's.
    timeout_s
        Time limit of a complete request.
    patience_s
        Time for which a request is repeated while no address answers.
    auto_register
        True if Millstream may register its schema when a subject does not have it.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    timeout_s: float = 5.0
    patience_s: float = 10.0  # much shorter than the time after which a group gives up a member
    auto_register: bool = False


class Registry:
    """Client of a schema registry; each process has one.

    Parameters
    ----------
    say
        Prints one line for the operator, once for each outage of the registry.

    Raises
    ------
    RegistryError
        By every request, if no address answers in time, access is denied, or the answer is invalid.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._schemas: dict[SchemaKey, Registered] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._failed: dict[SchemaKey, tuple[float, CodecError]] = {}
        self._opener = _opener(settings)
        self._first = 0

    @property
    def auto_register(self) -> bool:
        return self._settings.auto_register

    def schema(self, key: SchemaKey) -> Registered:
        """Return the schema of an id or a GUID.

        Raises
        ------
        CodecError
            If there is none (`UnknownSchema`), or it is unusable. Later calls repeat the request after a few seconds,
            because a registry may lag behind its writers.
        """
        found = self._schemas.get(key)
        if found is not None:
            return found
        until, failure = self._failed.get(key, (0.0, None))
        if failure is not None and self._clock() < until:
            raise type(failure)(str(failure))
        try:
            self._schemas[key] = self._looked_up(key)
        except CodecError as error:
            # A schema with a hundred references costs as many requests, and a topic may be full of its messages.
            if len(self._failed) >= _MOST_FAILED:
                self._failed.clear()
            self._failed[key] = self._clock() + _FAILED_S, type(error)(str(error))
            raise
        return self._schemas[key]

    def _looked_up(self, key: SchemaKey) -> Registered:
        missing = UnknownSchema(f"the registry at {self._settings.urls[0]} knows no schema {key}")
        if isinstance(key, int) and key >= _MOST_IDS:
            raise missing  # an id is a Java int, so registries refuse such a request
        answer = self._ask("GET", f"/schemas/ids/{key}" if isinstance(key, int) else f"/schemas/guids/{key}")
        if answer is None:
            raise missing
        return self._with_parts(answer)

    def latest(self, subject: str) -> Registered | None:
        """Return the newest schema of a subject, `None` if there is no such subject."""
        answer = self._ask("GET", f"/subjects/{_quoted(subject)}/versions/latest")
        return None if answer is None else self._with_parts(answer)

    def id_of(self, subject: str, text: str) -> int | None:
        """Return the id of an Avro schema in a subject, `None` if the subject does not have it."""
        return self._id(f"/subjects/{_quoted(subject)}", subject, text)

    def register(self, subject: str, text: str) -> int:
        """Register an Avro schema for a subject, and return its id.

        Raises
        ------
        RegistryError
            If the registry finds it incompatible with earlier schemas, or the settings do not allow it.
        """
        if not self.auto_register:
            raise RegistryError(f"registering {subject} is not allowed (auto_register is off)", passing=False)
        found = self._id(f"/subjects/{_quoted(subject)}/versions", subject, text)
        if found is None:
            raise RegistryError(f"the registry at {self._settings.urls[0]} does not take {subject}", passing=False)
        return found

    def _id(self, path: str, subject: str, text: str) -> int | None:
        if (subject, text) not in self._ids:
            answer = self._ask("POST", path, {"schema": text})  # a missing type means Avro
            if answer is None:
                return None
            self._ids[subject, text] = _id_in(answer, self._settings.urls[0])
        return self._ids[subject, text]

    def _with_parts(self, answer: Mapping[str, Any]) -> Registered:
        parts: dict[tuple[str, int], str] = {}
        self._gather(answer, parts, [_MOST_PARTS])
        return Registered(_text(answer, "schemaType", "AVRO"), _text(answer, "schema"), tuple(parts.values()))

    def _gather(self, answer: Mapping[str, Any], parts: dict[tuple[str, int], str], left: list[int]) -> None:
        """Add the referenced schemas, innermost first."""
        for each in answer.get("references") or ():
            left[0] -= 1
            if left[0] < 0:
                raise CodecError(f"the registry's schema refers to over {_MOST_PARTS} others, or to itself")
            try:
                subject, version = str(each["subject"]), int(each["version"])
            except (KeyError, TypeError, ValueError) as error:
                raise CodecError("the registry's schema refers to others in a way that cannot be read") from error
            if (subject, version) in parts:
                continue
            found = self._ask("GET", f"/subjects/{_quoted(subject)}/versions/{version}")
            if found is None:
                raise UnknownSchema(f"the registry knows no version {version} of {subject}, which a schema refers to")
            self._gather(found, parts, left)
            parts[subject, version] = _text(found, "schema")

    # --- requests ----------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the answer, `None` for "not found"; repeat the request for up to `patience_s`."""
        until = self._clock() + self._settings.patience_s
        pause, said = 0.1, False
        while True:
            try:
                return self._ask_all(method, path, body)
            except RegistryError as error:
                if not error.passing or self._clock() + pause > until:
                    raise
                if not said:
                    self._say(f"waiting for the schema registry: {error}")
                    said = True
            self._sleep(pause)
            pause = min(2 * pause, 2.0)

    def _ask_all(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Try the addresses until one has the answer, and begin with that one the next time.

        An address that answers "not found" may only lag behind another. If the others do not answer, "not found"
        counts; otherwise messages without a schema would block everything while one of several addresses is down.
        """
        urls = self._settings.urls
        absent, trouble = False, None
        for turn in range(len(urls)):
            number = (self._first + turn) % len(urls)
            try:
                answer = self._ask_one(urls[number], method, path, body)
            except RegistryError as error:
                if not error.passing and not absent:
                    raise
                trouble = error
                continue
            if answer is not None:
                self._first = number
                return answer
            absent = True
        if trouble is not None and not absent:
            raise trouble
        return None

    def _ask_one(self, url: str, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked with the settings
            url.rstrip("/") + path, method=method, data=None if body is None else json.dumps(body).encode()
        )
        for name, value in _headers(self._settings, body is not None).items():
            request.add_header(name, value)
        answered: list[tuple[int, bytes]] = []

        def ask() -> None:
            answered.append(self._answer(request))

        try:
            # A server that sends single bytes slowly never triggers a socket's time-out.
            within(self._settings.timeout_s + 0.5, ask, "schema-registry")
        except (OSError, http.client.HTTPException, Overdue) as error:
            raise _unreachable(url, error) from error
        status, data = answered[0]
        return meaning(url, path, status, data, "schema" if body is None else "id")

    def _answer(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self._opener.open(request, timeout=self._settings.timeout_s) as response:
                return response.status, response.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(LARGEST + 1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, because they would pass on the password."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _opener(settings: RegistrySettings) -> urllib.request.OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise RegistryError(
            f"the certificates in {settings.ca} cannot be read: {error}; see MILLSTREAM_REGISTRY_CA", passing=False
        ) from error
    return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))


def _headers(settings: RegistrySettings, has_body: bool) -> dict[str, str]:
    headers = {"Accept": f"{CONTENT_TYPE}, application/json"}
    if has_body:
        headers["Content-Type"] = CONTENT_TYPE
    if settings.user is not None:
        pair = f"{settings.user}:{settings.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return headers


def _unreachable(url: str, error: Exception) -> RegistryError:
    reason = getattr(error, "reason", error)
    certificate = isinstance(reason, ssl.SSLCertVerificationError)
    hint = "; its certificate: see MILLSTREAM_REGISTRY_CA" if certificate else ""
    text = str(reason) or type(reason).__name__
    return RegistryError(f"the schema registry at {url} does not answer ({text}){hint}", passing=not certificate)


def _text(answer: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = answer.get(name) or default
    if not isinstance(found, str):
        raise CodecError(f"the registry's answer has no {name}")
    return found


def _id_in(answer: Mapping[str, Any], url: str) -> int:
    found = answer.get("id")
    if not isinstance(found, int) or not 0 <= found < 1 << 32:
        raise RegistryError(f"the schema registry at {url} answers no id", passing=False)
    return found


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def check_url(url: str) -> str | None:
    """Return the error in a registry's address, `None` if it is valid. It does not show the address or its password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "it cannot be read as a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it must begin with http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "it holds a user or a password: give them as MILLSTREAM_REGISTRY_USER and MILLSTREAM_REGISTRY_PASSWORD"
    if parts.query or parts.fragment:
        return "it must have no ? or #"
    return None
