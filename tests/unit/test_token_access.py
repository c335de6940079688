"""Tokens of callers over HTTP: their file, their check at each request, and the names that a server answers to."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from unit.rsgi import Headers, Protocol, Scope

from server.tokens.token_file import SCOPES, TokenFile, TokenFileProblem, TokensRefused, read_rate
from server.tokens.token_text import hash_of, id_of, new_token
from server.web.access import Access
from server.web.app import App, AppLimits
from server.web.messages import ANY, Caller, HttpError, Request, Response, Route


@dataclass
class _Request:
    headers: dict[str, str] = field(default_factory=dict)


def bearer(token: str, scheme: str = "Bearer") -> _Request:
    return _Request({"authorization": f"{scheme} {token}"})


def refusal(access: Access, request: _Request, scope: str | None = "predict") -> HttpError:
    with pytest.raises(HttpError) as refused:
        access.require(request, scope)
    return refused.value


def challenge(error: HttpError) -> str:
    return dict(error.headers)["www-authenticate"]


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "home" / "tokens")


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- the file ------------------------------------------------------------------------------------------


def test_a_token_is_stored_as_a_hash_alone_for_its_owner(file: TokenFile) -> None:
    text, token = file.create("web", ["label", "predict"], "ann")
    stored = file.path.read_text()
    assert text.startswith("ms_")
    assert len(text) == 59
    assert text not in stored
    assert text.rpartition("_")[2] not in stored
    assert token.sha256 == hash_of(text).hex()
    assert id_of(text) == token.id
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.folder.stat().st_mode) == 0o700
    assert json.loads(stored)["format"] == 1
    [read] = file.read()
    assert (read.name, read.scopes, read.by, read.expires, read.rate) == (
        "web",
        ("predict", "label"),
        "ann",
        None,
        None,
    )


def test_no_two_tokens_are_alike() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000


def test_a_valid_token_keeps_its_name_to_itself_until_it_is_revoked(file: TokenFile) -> None:
    first, _ = file.create("web", ["predict"], "ann")
    with pytest.raises(TokensRefused, match="there is a valid token web"):
        file.create("web", ["predict"], "ann")
    file.revoke("web")
    [revoked] = file.read()
    assert revoked.revoked is not None
    with pytest.raises(TokensRefused, match="revoked before"):
        file.revoke("web")
    second, _ = file.create("web", ["label"], "ann")
    assert first != second
    assert [each.scopes for each in file.read()] == [("label",)]


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "../x", "a\n", "x" * 64, "ä"])
def test_a_name_that_could_be_misread_is_refused(file: TokenFile, name: str) -> None:
    with pytest.raises(TokensRefused, match="name of a token"):
        file.create(name, ["predict"], "ann")
    with pytest.raises(TokensRefused, match="name of a token"):
        file.revoke(name)
    assert file.read() == ()


@pytest.mark.parametrize("scopes", [[], ["all"], ["predict", "Label"]])
def test_only_known_scopes_are_given(file: TokenFile, scopes: list[str]) -> None:
    with pytest.raises(TokensRefused, match="must be some of predict, label"):
        file.create("web", scopes, "ann")


@pytest.mark.parametrize("text", ["0/s", "5", "/s", "1.5/s", "5/d", "-1/s", "5/s\n", "٣/s", "1" * 10 + "/s"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TokensRefused, match="must be a number of requests"):
        read_rate(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is damaged"), ('{"format": 2, "tokens": []}', "has format 2"), ('{"format": 1}', "is damaged"),
     ("", "is damaged"), ('{"format": 1, "tokens": [{"id": "x"}]}', "is damaged")],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_named(file: TokenFile, content: str, said: str) -> None:
    file.create("web", ["predict"], "ann")
    file.path.write_text(content)
    with pytest.raises(TokenFileProblem, match=said) as problem:
        Access(file)
    assert str(file.path) in str(problem.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_change_is_not_trusted(file: TokenFile, mode: int) -> None:
    file.create("web", ["predict"], "ann")
    file.path.chmod(mode)
    with pytest.raises(TokenFileProblem, match="chmod 600"):
        file.read()


def test_tokens_made_at_the_same_time_are_all_kept(file: TokenFile) -> None:
    children = []
    for number in range(6):
        if (child := os.fork()) == 0:
            for each in range(5):
                file.create(f"t{number}-{each}", ["read"], "ann")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert len(file.read()) == 30


# --- the check -----------------------------------------------------------------------------------------


def test_without_a_token_everyone_is_let_in_on_loopback_and_nobody_beyond(file: TokenFile, clock: Clock) -> None:
    assert Access(file, clock=clock).require(_Request(), "admin") == Caller(None)
    public = Access(file, required=True, clock=clock)
    assert refusal(public, _Request()).status == 401
    assert refusal(public, bearer("ms_")).status == 401
    assert public.require(_Request(), None) == Caller(None)


def test_a_token_lets_in_by_its_scopes_and_tells_who_asks(file: TokenFile, clock: Clock) -> None:
    text, _ = file.create("web", ["predict", "label"], "ann")
    access = Access(file, clock=clock)
    for scope in ("predict", "label", ANY):
        assert access.require(bearer(text), scope) == Caller("web", frozenset({"predict", "label"}))
    assert access.require(bearer(text, "bEaReR"), "label").name == "web"
    refused = refusal(access, bearer(text), "admin")
    assert (refused.status, refused.code) == (403, "scope")
    assert challenge(refused) == 'Bearer realm="millstream", error="insufficient_scope", scope="admin"'


def test_unknown_and_wrong_tokens_get_the_same_answer(file: TokenFile, clock: Clock) -> None:
    text, _ = file.create("web", ["predict"], "ann")
    revoked, _ = file.create("old", ["predict"], "ann")
    file.revoke("old")
    access = Access(file, clock=clock)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    presented = [
        bearer(new_token()), bearer(wrong), bearer(revoked), bearer(""), bearer(text + "x"), bearer(text[:15]),
        bearer(text, "Basic"), bearer(text.upper()), _Request({"authorization": text}), _Request({"authorization": ""}),
        bearer("ms_" + "\udcff" * 50), bearer("ms_" + "é" * 50), bearer("x" * 100_000),
    ]  # fmt: skip
    answers = {(each.status, each.response().body, each.headers) for each in (refusal(access, p) for p in presented)}
    assert len(answers) == 1
    [(status, body, headers)] = answers
    assert status == 401
    assert headers == (("www-authenticate", 'Bearer realm="millstream", error="invalid_token"'),)
    assert text.encode() not in body
    assert challenge(refusal(access, _Request())) == 'Bearer realm="millstream"'


def test_a_token_expires(file: TokenFile, clock: Clock) -> None:
    text, token = file.create("web", ["predict"], "ann", lasts_ms=60_000)
    access = Access(file, clock=clock)
    assert access.require(bearer(text), "predict").name == "web"
    stored = json.loads(file.path.read_text())
    stored["tokens"][0]["expires"] = token.created
    file.path.write_text(json.dumps(stored))
    clock.now += 0.3
    refused = refusal(access, bearer(text))
    assert (refused.status, refused.code) == (401, "expired")
    assert 'error="invalid_token"' in challenge(refused)


def test_changes_are_in_force_within_a_second(file: TokenFile, clock: Clock) -> None:
    access = Access(file, clock=clock)
    assert access.require(_Request(), "predict").name is None
    text, _ = file.create("web", ["predict"], "ann")
    other, _ = file.create("other", ["predict"], "ann")
    clock.now += 0.5
    assert refusal(access, _Request()).status == 401, "with a token, loopback needs one too"
    assert access.require(bearer(text), "predict").name == "web"
    file.revoke("web")
    clock.now += 0.5
    assert refusal(access, bearer(text)).status == 401
    assert access.require(bearer(other), "predict").name == "other"
    file.revoke("other")
    clock.now += 0.5
    assert refusal(access, bearer(other)).status == 401
    assert refusal(access, _Request()).status == 401, "after the last one is revoked, nobody is let in"
    assert refusal(Access(file, clock=clock), _Request()).status == 401, "not after a restart either"


def test_a_file_that_is_gone_lets_nobody_in_and_a_damaged_one_changes_nothing(file: TokenFile, clock: Clock) -> None:
    said: list[str] = []
    text, _ = file.create("web", ["predict"], "ann")
    access = Access(file, clock=clock, say=said.append)
    good = file.path.read_bytes()
    file.path.write_text("{")
    for _ in range(3):
        clock.now += 0.5
        assert access.require(bearer(text), "predict").name == "web"
    assert len(said) == 1
    assert "is damaged" in said[0]
    file.path.unlink()
    clock.now += 0.5
    assert refusal(access, bearer(text)).status == 401
    assert refusal(access, _Request()).status == 401
    file.path.write_bytes(good)
    file.path.chmod(0o600)
    clock.now += 0.5
    assert access.require(bearer(text), "predict").name == "web"


def test_beyond_its_rate_a_token_waits(file: TokenFile, clock: Clock) -> None:
    text, _ = file.create("web", ["predict"], "ann", rate=read_rate("6/m"))
    free, _ = file.create("free", ["predict"], "ann")
    access = Access(file, clock=clock)
    for _ in range(6):
        access.require(bearer(text), "predict")
    refused = refusal(access, bearer(text))
    assert (refused.status, refused.code, dict(refused.headers)["retry-after"]) == (429, "rate", "10")
    file.create("third", ["predict"], "ann")
    clock.now += 4.0
    again = refusal(access, bearer(text))
    assert dict(again.headers)["retry-after"] == "6", "a change of another token gives it no new requests"
    assert access.require(bearer(free), "predict").name == "free"
    clock.now += 6.0
    assert access.require(bearer(text), "predict").name == "web"
    assert refusal(access, bearer(text)).status == 429


def test_the_latest_use_is_noted_once_a_minute(file: TokenFile, clock: Clock) -> None:
    text, token = file.create("web", ["predict"], "ann")
    access = Access(file, clock=clock)
    assert file.used_ms(token.id) is None
    access.require(bearer(text), "predict")
    noted = file.folder / "used" / token.id
    assert file.used_ms(token.id) is not None
    os.utime(noted, (1, 1))
    clock.now += 59
    access.require(bearer(text), "predict")
    assert file.used_ms(token.id) == 1000
    clock.now += 2
    access.require(bearer(text), "predict")
    assert (file.used_ms(token.id) or 0) > 1000
    file.revoke("web")
    file.create("web", ["predict"], "ann")
    assert not noted.exists()


# --- the application -----------------------------------------------------------------------------------


async def _named(request: Request) -> Response:
    return Response(200, (request.caller.name or "nobody").encode())


Ask = Callable[..., Protocol]


@pytest.fixture
def ask(file: TokenFile) -> Ask:
    """Return a function that sends one request to an application with one endpoint a scope."""
    routes = {f"/{scope}": {"POST": Route(_named, scope)} for scope in (*SCOPES, ANY)}
    routes["/livez"] = {"GET": Route(_named, None)}

    def send(
        path: str, token: str = "", method: str = "POST", limits: AppLimits | None = None, **headers: str
    ) -> Protocol:
        given = {"host": "localhost", "content-length": "2", **headers}
        given |= {"authorization": f"Bearer {token}"} if token else {}
        protocol = Protocol([b"{}"])
        app = App(routes, limits, access=Access(file, required=limits is not None and limits.is_public))
        asyncio.run(app.__rsgi__(Scope(method, path, Headers(given)), protocol))
        return protocol

    return send


def test_every_scope_opens_its_own_endpoints_and_no_other(ask: Ask, file: TokenFile) -> None:
    tokens = {scope: file.create(f"may-{scope}", [scope], "ann")[0] for scope in SCOPES}
    for (scope, token), asked in itertools.product(tokens.items(), SCOPES):
        assert ask(f"/{asked}", token).status == (200 if scope == asked else 403), (scope, asked)
        assert ask(f"/{ANY}", token).answer == f"may-{scope}".encode()
    for asked in (*SCOPES, ANY):
        assert ask(f"/{asked}").status == 401
    assert ask("/livez", method="GET").answer == b"nobody"


def test_without_a_token_nothing_is_said_about_the_endpoints_and_no_body_is_read(ask: Ask, file: TokenFile) -> None:
    token, _ = file.create("web", ["predict"], "ann")
    said = [ask("/predict"), ask("/nothing"), ask("/predict", method="PUT"), ask("/livez")]
    assert [each.status for each in said] == [401] * 4
    assert len({each.answer for each in said}) == 1
    assert not any(each.body_read for each in said)
    assert not ask("/label", token).body_read
    assert ask("/predict", token).body_read
    assert [ask("/nothing", token).status, ask("/livez", token).status] == [404, 405]


def test_names_beyond_loopback_are_those_that_are_allowed_and_addresses(ask: Ask, file: TokenFile) -> None:
    token, _ = file.create("web", ["predict"], "ann")

    def status(host: str, **more: Any) -> int:
        limits = AppLimits(hosts=frozenset({"localhost", "api.example.com"}), is_public=True)
        return ask("/predict", token, host=host, **{"limits": limits, **more}).status

    assert [
        status(each) for each in ("api.example.com:8080", "API.example.com", "10.1.2.3:80", "[2001:db8::1]:80")
    ] == [200] * 4
    assert [status(each) for each in ("evil.example", "", "api.example.com.evil.example", "10.1.2.3.nip.io")] == [
        421
    ] * 4
    assert status("10.1.2.3", limits=AppLimits()) == 421, "on loopback an address is not this server's"
    assert status("10.1.2.3", origin="http://10.1.2.3") == 200
    assert status("10.1.2.3", origin="https://api.example.com:444") == 200
    for origin in ("http://6.6.6.6", "null", "https://evil.example", "http://[::1", "", "http://"):
        assert status("10.1.2.3", origin=origin) == 403, origin
    assert ask("/livez", method="GET", host="any.name", limits=AppLimits(is_public=True)).status == 200
    assert ask("/livez", method="GET", host="any.name").status == 421
