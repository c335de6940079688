"""The console's endpoints over a desk in memory: what is decided, in whose name, and what each error becomes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from unit.rsgi import Headers, Protocol, Scope

from consumers.roles import CONSOLE
from millstream.console.desk import Decision
from millstream.console.endpoints import Endpoints
from millstream.versions.decisions import NotDecided
from millstream.versions.rebuild import CannotAdopt
from millstream.versions.rollback import NothingBefore
from model_store import InvalidVersion, NotFound, VersionRefused
from runtime.kafka_client.errors import KafkaError
from server.openapi.pages import description
from server.tokens.token_file import TokenFile
from server.web.access import Access
from server.web.app import AppLimits
from server.web.guarded_app import GuardedApp
from server.web.worker import Health

DEEDS = ("pin", "unpin", "rollback", "adopt", "pause", "resume")


class Desk:
    """Notes what is decided, or raises what it was told to."""

    def __init__(self) -> None:
        self.decided: list[Decision] = []
        self.error: Exception | None = None

    def decide(self, wanted: Decision) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.decided.append(wanted)
        return {"by": wanted.by, "why": wanted.why}


class Site:
    """The console's application."""

    def __init__(self, tokens: Path) -> None:
        self.desk = Desk()
        self._tokens = TokenFile(tokens)
        self._said: list[str] = []

    def send(self, method: str, path: str, body: Any = None, token: str | None = None) -> Protocol:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"host": "127.0.0.1:8081", "content-type": "application/json", "content-length": str(len(data))}
        headers |= {} if token is None else {"authorization": f"Bearer {token}"}

        async def ask() -> Protocol:
            routes = {**Health(lambda: None).routes(), **description("fraud", "0.1.0", CONSOLE)}
            desk: Any = self.desk
            app = GuardedApp(Endpoints(desk).all(), routes, AppLimits(), self._said.append, Access(self._tokens))
            protocol = Protocol([data])
            where, _, query = path.partition("?")
            await app.__rsgi__(Scope(method, where, Headers(headers), query), protocol)
            return protocol

        return asyncio.run(ask())

    def decide(self, deed: str, **body: Any) -> Protocol:
        return self.send("POST", f"/v1/{deed}", body)

    def token(self, name: str) -> str:
        return self._tokens.create(name, ["admin"], "root")[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "tokens")


def complete(deed: str) -> dict[str, str]:
    further = {"pin": {"version": "1/30"}, "adopt": {"version": "1/30"}, "promote": {"model": "forest"}}
    return {"why": "a test", **further.get(deed, {})}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_decision_is_in_the_name_of_the_token_or_of_the_console(site: Site, deed: str) -> None:
    assert site.decide(deed, **complete(deed)).status == 200
    token = site.token("ann")
    said = site.send("POST", f"/v1/{deed}", complete(deed), token)
    assert (said.status, said.json) == (200, {"by": "ann", "why": "a test"})
    version, model = complete(deed).get("version"), complete(deed).get("model")
    expected: Any = [Decision(deed, version, model, by, "a test") for by in ("console", "ann")]  # type: ignore[arg-type]
    assert site.desk.decided == expected


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("why", [None, "", " \n", "x" * 1001])
def test_a_decision_without_a_reason_is_422(site: Site, deed: str, why: str | None) -> None:
    said = site.decide(deed, **{**complete(deed), "why": why} if why is not None else {})
    assert (said.status, said.code) == (422, "why")
    assert site.desk.decided == []


@pytest.mark.parametrize(
    ("deed", "body", "status", "code"),
    [
        ("pin", {"why": "x"}, 422, "version"),
        ("adopt", {"why": "x"}, 422, "version"),
        ("unpin", {"why": "x", "version": "1/30"}, 422, "version"),
        ("pause", {"why": "x", "version": "1/30"}, 422, "version"),
        ("resume", {"why": 1}, 400, "json"),
        ("resume", {"why": "x", "by": "somebody else"}, 400, "json"),
        ("resume", ["why"], 400, "json"),
    ],
)
def test_a_decision_that_says_too_little_or_too_much_is_none(
    site: Site, deed: str, body: Any, status: int, code: str
) -> None:
    said = site.send("POST", f"/v1/{deed}", body)
    assert (said.status, said.code) == (status, code)
    assert site.desk.decided == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidVersion("no version"), 400, "version"),
        (NotFound("it is gone"), 404, "version"),
        (NothingBefore("nothing before"), 409, "refused"),
        (CannotAdopt("not rebuilt"), 409, "refused"),
        (VersionRefused("no trusted key"), 409, "refused"),
        (NotDecided("not acknowledged"), 503, "kafka"),
        (KafkaError("away"), 503, "kafka"),
        (PermissionError("read-only"), 503, "store"),
    ],
)
def test_what_cannot_be_decided_says_why(site: Site, error: Exception, status: int, code: str) -> None:
    site.desk.error = error
    said = site.decide("rollback", why="a test")
    assert (said.status, said.code) == (status, code)
    assert str(error) in said.json["error"]["message"]


def test_the_page_has_its_own_policy_and_all_else_that_of_the_console(site: Site) -> None:
    page, probe = site.send("GET", "/docs"), site.send("HEAD", "/livez")
    assert (page.status, probe.status) == (200, 200)
    assert "style-src 'sha256-" in page.headers["content-security-policy"]
    assert "style-src" not in probe.headers["content-security-policy"]
    for said in (page, probe):
        assert said.headers["content-security-policy"].startswith("default-src 'none'; ")
        assert (said.headers["x-frame-options"], said.headers["cache-control"]) == ("DENY", "no-store")
    assert {*site.send("GET", "/openapi.json").json["paths"]} >= {f"/v1/{deed}" for deed in DEEDS}
