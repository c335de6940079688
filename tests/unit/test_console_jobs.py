"""Jobs over HTTP: what is asked of the desk, in whose name, and what each error becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.test_console_endpoints import Site

from consumers.roles import CONSOLE
from millstream.reading.jobs import NoSuchJob
from millstream.versions.job_requests import AlreadyEnded, EmptyRange, NoBatchModel
from server.tokens.token_file import TokenFile


class Desk:
    """Notes what it is asked for, or raises what it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def _note(self, *what: Any) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.asked.append(what)
        return {"id": "gbdt.1"}

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        return [self._note("list", limit)]

    def job(self, job: str) -> dict[str, Any]:
        return self._note("show", job)

    def ask_job(self, model: str, begin: Any, end: Any, by: str, why: str) -> dict[str, Any]:
        return self._note("ask", model, begin.offset or begin.text, end.offset or end.text, by, why)

    def cancel_job(self, job: str, by: str, why: str) -> dict[str, Any]:
        return self._note("cancel", job, by, why)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    desk: Any = Desk()
    made.desk = desk
    return made


def asked(site: Site) -> list[tuple[Any, ...]]:
    desk: Any = site.desk
    return list(desk.asked)


def sent(site: Site, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    answer = site.send(method, path, body, token)
    return answer.status, answer.json


def test_jobs_are_listed_shown_asked_for_and_cancelled(site: Site, tmp_path: Path) -> None:
    token, _ = TokenFile(tmp_path).create("ann", ("read", "admin"), "bob")
    assert sent(site, "GET", "/v1/jobs?limit=3", token=token) == (200, {"jobs": [{"id": "gbdt.1"}]})
    assert sent(site, "GET", "/v1/jobs", token=token)[0] == 200
    assert sent(site, "GET", "/v1/jobs/gbdt.2026-05-01T02:00:00Z", token=token)[0] == 200
    body = {"model": "gbdt", "why": "new labels", "from": 10, "to": "2026-05-01T12:00"}
    assert sent(site, "POST", "/v1/jobs", body, token) == (200, {"id": "gbdt.1"})
    assert sent(site, "POST", "/v1/cancel", {"job": "gbdt.1", "why": "a mistake"}, token)[0] == 200
    assert asked(site) == [
        ("list", 3),
        ("list", 100),
        ("show", "gbdt.2026-05-01T02:00:00Z"),
        ("ask", "gbdt", 10, "2026-05-01T12:00", "ann", "new labels"),
        ("cancel", "gbdt.1", "ann", "a mistake"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/jobs?last=3", None, 400, "query"),
        ("GET", "/v1/jobs?limit=0", None, 400, "query"),
        ("GET", "/v1/jobs/a?x=1", None, 400, "query"),
        ("POST", "/v1/jobs", {"why": "x"}, 422, "model"),
        ("POST", "/v1/jobs", {"why": "x", "model": "gbdt", "job": "a"}, 422, "model"),
        ("POST", "/v1/jobs", {"model": "gbdt"}, 422, "why"),
        ("POST", "/v1/jobs", {"why": "x", "model": "gbdt", "from": "soon"}, 422, "from"),
        ("POST", "/v1/jobs", {"why": "x", "model": "gbdt", "to": -1}, 422, "to"),
        ("POST", "/v1/jobs", {"why": "x", "model": "gbdt", "begin": 1}, 400, "json"),
        ("POST", "/v1/jobs", {"why": "x", "model": 7}, 400, "json"),
        ("POST", "/v1/cancel", {"why": "x"}, 422, "job"),
        ("POST", "/v1/cancel", {"why": "x", "job": "a", "model": "gbdt"}, 422, "job"),
        ("POST", "/v1/cancel", {"job": "a"}, 422, "why"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_asked(
    site: Site, method: str, path: str, body: Any, status: int, code: str
) -> None:
    found, told = sent(site, method, path, body)
    assert (found, told["error"]["code"]) == (status, code), told
    assert asked(site) == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoBatchModel("it has no batch model 'x'"), 422, "model"),
        (EmptyRange("no examples"), 422, "from"),
        (NoSuchJob("no job"), 404, "job"),
        (AlreadyEnded("it has ended already: done"), 409, "refused"),
    ],
)
def test_an_error_becomes_its_status(site: Site, error: Exception, status: int, code: str) -> None:
    desk: Any = site.desk
    desk.error = error
    found, told = sent(site, "POST", "/v1/jobs", {"why": "x", "model": "gbdt"})
    assert (found, told["error"]["code"], told["error"]["message"]) == (status, code, str(error))
    assert CONSOLE == "console"
