"""Who may do what at a console: every endpoint with every scope, and with no token, a wrong and a revoked one."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from system.commands import millstream, told
from system.console_rig import FLOW, Console, answers, console, free_port, until
from system.oracle import Stream

from server.tokens.token_file import TokenFile

SCOPES = {
    "GET /v1/status": "read",
    "GET /v1/models": "read",
    "GET /v1/models/1/0": "read",
    "GET /v1/decisions": "read",
    "GET /v1/alerts": "read",
    "GET /v1/jobs": "read",
    "GET /v1/jobs/e1": "read",
    "GET /v1/events/e1": "data",
    "GET /v1/dead-letters": "data",
    "POST /v1/pin": "admin",
    "POST /v1/unpin": "admin",
    "POST /v1/promote": "admin",
    "POST /v1/rollback": "admin",
    "POST /v1/adopt": "admin",
    "POST /v1/pause": "admin",
    "POST /v1/resume": "admin",
    "POST /v1/ack": "admin",
    "POST /v1/silence": "admin",
    "POST /v1/unsilence": "admin",
    "POST /v1/jobs": "admin",
    "POST /v1/cancel": "admin",
    "GET /livez": None,
    "HEAD /livez": None,
    "GET /readyz": None,
    "HEAD /readyz": None,
    "GET /openapi.json": None,
    "HEAD /openapi.json": None,
    "GET /docs": None,
    "HEAD /docs": None,
}
SLACK_S = 5.0  # of a request on a busy machine; revocation is in force within a second
HOLDERS = ("predict", "label", "upload", "read", "data", "admin")


class Guarded:
    """A console of a home with a token for each scope."""

    def __init__(self, stream: Stream, found: Console, tokens: dict[str, str]) -> None:
        self.stream, self.tokens, self._console = stream, tokens, found
        file = TokenFile(stream.home / "tokens")
        self.expired, self.revoked = (file.create(name, HOLDERS, "ann", lasts_ms=1)[0] for name in ("old", "gone"))
        file.revoke("gone")

    def status(self, endpoint: str, token: str | None) -> int:
        method, path = endpoint.split()
        given = {} if token is None else {"authorization": f"Bearer {token}"}
        further = {
            "/v1/pin": {"version": "1/0"},
            "/v1/adopt": {"version": "1/0"},
            "/v1/promote": {"model": "main"},
            "/v1/ack": {"alert": "monitor.drift"},
            "/v1/silence": {"alert": "monitor.drift", "for": "1m"},
            "/v1/unsilence": {"alert": "monitor.drift"},
            "/v1/jobs": {"model": "gbdt"},
            "/v1/cancel": {"job": "gbdt.1"},
        }
        body = {"why": "who may?", **further.get(path, {})}
        client = self._console.client
        response = client.request(method, path, headers=given, json=body if method == "POST" else None)
        self.by = response.json().get("by") if response.status_code == 200 and method == "POST" else None
        return response.status_code


@pytest.fixture(scope="module")
def at(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    stream = Stream(str(FLOW), bootstrap, f"acc-{secrets.token_hex(4)}-", tmp_path_factory.mktemp("home"))
    millstream(stream, "topics", "create", stream.ref)
    millstream(stream, "keys", "init")
    made = {scope: millstream(stream, "tokens", "create", f"has-{scope}", "--scope", scope) for scope in HOLDERS}
    with console(stream) as found:
        yield Guarded(stream, found, {scope: token.strip() for scope, token in made.items()})


@pytest.mark.parametrize("endpoint", SCOPES)
def test_an_endpoint_is_for_the_holders_of_its_scope_alone(at: Guarded, endpoint: str) -> None:
    needs = SCOPES[endpoint]
    for scope, token in at.tokens.items():
        found = at.status(endpoint, token)
        assert (found == 403) == (needs not in (None, scope)), (scope, found)
        assert found in (200, 403, 404, 409, 422), (scope, found)
    refused = 200 if needs is None else 401
    for useless in (None, "ms_wrong", with_another_end(at.tokens["admin"]), at.expired, at.revoked):
        assert at.status(endpoint, useless) == refused


def with_another_end(token: str) -> str:
    return token[:-1] + ("y" if token.endswith("x") else "x")


def test_what_cannot_be_decided_is_409(at: Guarded) -> None:
    assert at.status("POST /v1/rollback", at.tokens["admin"]) == 409, "nothing serves yet"


def test_every_endpoint_is_in_the_table(at: Guarded) -> None:
    told = at._console.client.get("/nothing", headers={"authorization": f"Bearer {at.tokens['read']}"}).json()
    named = told["error"]["message"].partition("; there are ")[2].split(", ")
    tried = {each.split()[1] for each in SCOPES}
    assert {"/v1/models/{version}": "/v1/models/1/0", "/v1/events/{id}": "/v1/events/e1"}.keys() <= {*named}
    assert {each.replace("{version}", "1/0").replace("{id}", "e1") for each in named} == tried


def test_a_decision_is_by_the_tokens_name_until_it_is_revoked(at: Guarded) -> None:
    token = millstream(at.stream, "tokens", "create", "ann", "--scope", "admin").strip()
    until(lambda: at.status("POST /v1/unpin", token) == 200, "the new token is let in")
    assert at.by == "ann"
    shown = told(at.stream, "models", "history", at.stream.ref)[-1]
    assert (shown["decision"], shown["by"], shown["why"]) == ("serve main", "ann", "who may?")
    assert "serve main" in millstream(at.stream, "models", "history", at.stream.ref)
    millstream(at.stream, "tokens", "revoke", "ann")
    revoked = time.monotonic()
    until(lambda: at.status("POST /v1/unpin", token) == 401, "the revoked token is refused")
    assert time.monotonic() < revoked + 1 + SLACK_S


def test_a_console_that_ends_while_it_looks_at_the_stream_ends_in_order(at: Guarded) -> None:
    port = free_port()
    command = [sys.executable, "-m", "millstream", "console", at.stream.ref, "--port", str(port), "--instance", "5"]
    process = subprocess.Popen(command, env=at.stream.environment(), stderr=subprocess.PIPE, text=True)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        until(lambda: answers(client, "/livez") or process.poll() is not None, "it listens")
    process.terminate()
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, "Traceback" in said) == (0, False), said


def test_a_console_that_others_can_reach_needs_a_token(at: Guarded, tmp_path: Path) -> None:
    bare = Stream(at.stream.ref, at.stream.bootstrap, at.stream.prefix, tmp_path)
    said = millstream(bare, "console", bare.ref, "--host", "0.0.0.0", "--port", "18933", code=1)  # noqa: S104
    assert "millstream tokens create NAME --scope read,data,admin" in said
