"""docker-compose.yml with its profiles http and console, for real: answers, labels, an upload and decisions.

They survive the kill of every container that they pass, and `down` and `up` without the volumes being removed. It takes
minutes, so it runs only with ``MILLSTREAM_TEST_COMPOSE=1``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from river import datasets
from system.compose_project import Project, running

_HTTP_ROLES = ("server", "forwarder", "importer", "console")
_ASKED, _UPLOADED = 60, 40
_SECONDS = 180
_ROWS = [dict(features) for features, _ in datasets.Phishing()][:_ASKED]


class Site:
    """The running services, and callers of the server and the console."""

    def __init__(self, project: Project, tokens: tuple[str, str]) -> None:
        self.project, self._tokens = project, tokens

    def send(self, service: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request until the service answers it, as a caller does who repeats what got no response."""
        port, token = {"server": ("HTTP_PORT", self._tokens[0]), "console": ("CONSOLE_PORT", self._tokens[1])}[service]
        address = f"http://127.0.0.1:{self.project.environment[port]}{path}"
        headers = {"authorization": f"Bearer {token}"}
        deadline = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):  # it starts again
                response = httpx.request(method, address, headers=headers, timeout=40, **more)
                if response.status_code != 503:
                    return response
            assert time.monotonic() < deadline, self.project.compose("logs", service)
            time.sleep(0.2)

    def status(self) -> Any:
        return self.send("console", "GET", "/v1/status").json()

    def ask(self, number: int) -> Any:
        event = {"event_id": f"asked-{number}", "features": _ROWS[number % _ASKED]}
        response = self.send("server", "POST", "/v1/predict", json=event)
        assert response.status_code == 200, response.text
        return response.json()

    def label(self, number: int) -> None:
        label = {"event_id": f"asked-{number}", "value": number % 2 == 0}
        assert self.send("server", "POST", "/v1/labels", json=label).status_code in (200, 202)

    def until_learned(self, count: int) -> None:
        def learned() -> bool:
            status = self.status()
            newest = f"1/{count}"
            return bool(status["model"]["newest"] == newest == status["model"]["served"])

        self.project.until(learned, _SECONDS)


@pytest.fixture(scope="module")
def site(client: str) -> Iterator[Site]:
    with running("http", "console", with_demo=False) as project:
        tokens = [line for line in project.compose("logs", "--no-log-prefix", "token").split() if line[:3] == "ms_"]
        yield Site(project, (tokens[0], tokens[1]))


def upload() -> str:
    names = sorted(_ROWS[0])
    rows = [",".join(str(_ROWS[number][name]) for name in names) for number in range(_UPLOADED)]
    return "\n".join([f"is_phishing,{','.join(names)}", *(f"{n % 2 == 0},{row}" for n, row in enumerate(rows))])


def test_answers_labels_and_an_upload_survive_the_kill_of_each_container_on_their_way(site: Site) -> None:
    told = {}
    for number in range(_ASKED):
        told[number] = site.ask(number)
        site.label(number)
        if number % 15 == 7:
            site.project.kill(_HTTP_ROLES[number // 15])
    done = site.send("server", "POST", "/v1/uploads?wait=30s&name=more.csv", content=upload())
    assert (done.json()["taken"], done.json()["refused"]) == (_UPLOADED, 0), done.text
    again = site.ask(3)
    assert again == {**told[3], "repeated": True}
    site.until_learned(_ASKED + _UPLOADED)
    assert site.status()["stages"]["joiner"]["done"] == _ASKED
    assert site.status()["dead_letters"] == 0
    for service in _HTTP_ROLES:
        site.project.until(lambda service=service: site.project.is_healthy(service), 60)


def test_a_decision_of_the_console_has_its_tokens_name(site: Site) -> None:
    version = f"1/{_ASKED + _UPLOADED}"
    made = site.send("console", "POST", "/v1/pin", json={"version": version, "why": "a test"})
    assert (made.status_code, made.json()["by"], made.json()["why"]) == (200, "compose-admin", "a test")
    assert site.send("console", "POST", "/v1/pin", json={"version": version}).status_code == 422
    assert site.send("console", "POST", "/v1/unpin", json={"why": "a test"}).status_code == 200


def test_nothing_is_lost_by_down_and_up(site: Site) -> None:
    answer, versions = site.ask(1), site.send("console", "GET", "/v1/models").json()
    site.project.compose("down", "--timeout", "30")
    site.project.up(with_demo=False)
    assert site.ask(1) == answer, "remembered, by the tokens of before"
    site.until_learned(_ASKED + _UPLOADED)
    assert site.send("console", "GET", "/v1/models").json() == versions
    site.ask(_ASKED)
    site.label(_ASKED)
    site.until_learned(_ASKED + _UPLOADED + 1)
    assert site.project.compose("logs", "--no-log-prefix", "token").split() == [], "no token is made twice"
