"""The console as people and tools use it: it says what the commands say, and decides what they decide."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from system.commands import lines, millstream, told, traced
from system.console_rig import EVENTS, Site, console, free_port, site, until
from system.oracle import Stream, read_all
from unit.test_cli_names import HOSTILE

from model_store import open_store
from schemas.model_updates import ModelUpdate, Serving, read_model_update

NEWEST = f"1/{EVENTS}"


@pytest.fixture(scope="module")
def at(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(bootstrap, f"con-{secrets.token_hex(4)}-", tmp_path_factory.mktemp("console")) as found:
        yield found


@pytest.fixture
def _as_before(at: Site) -> Iterator[None]:
    """End every decision of a test, and wait until that is seen."""
    yield
    at.console.decide("unpin")
    at.console.decide("resume")
    until(lambda: at.status()["model"]["served"] == at.status()["model"]["newest"], "the newest version serves again")


# --- reads -------------------------------------------------------------------------------------------


def at_rest(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status without what changes from one moment to the next."""
    for name in ("at", "disk_free_bytes"):
        assert status.pop(name) > 0
    assert status["model"].pop("age_ms") > 0
    assert status["http"].pop("since_ms") >= 0
    assert all(each.pop("cpu_seconds") >= 0 and each.pop("memory_bytes") > 0 for each in status["usage"].values())
    for stage in status["stages"].values():
        assert stage.pop("per_second") >= 0
        assert stage.pop("lag") >= 0  # the joiner's ticks come and go
    return status


def test_the_status_is_that_of_the_command(at: Site) -> None:
    def agree() -> bool:
        return at_rest(at.status()) == at_rest(told(at.stream, "status", at.stream.ref))

    until(agree, "console and command say the same once the stream is at rest")
    assert at.status()["consoles"] == 1


def test_versions_are_those_of_the_commands(at: Site) -> None:
    assert at.console.get("/v1/models") == told(at.stream, "models", "list", at.stream.ref)
    shown = told(at.stream, "models", "show", at.stream.ref, NEWEST)
    assert at.console.get(f"/v1/models/{NEWEST}") == shown
    assert at.console.get(f"/v1/models/{quote(NEWEST, safe='')}") == shown
    assert shown["serving"] is True


def test_dead_letters_and_alerts_are_those_of_the_commands(at: Site) -> None:
    letters = lines(at.stream, "dead-letters", at.stream.ref)
    assert len(letters) == 1
    assert at.console.get("/v1/dead-letters") == {"dead_letters": letters, "before": None}
    before = letters[0]["offset"]
    assert at.console.get(f"/v1/dead-letters?before={before}&limit=5") == {"dead_letters": [], "before": None}
    alerts = lines(at.stream, "alerts", at.stream.ref)
    assert at.console.get("/v1/alerts") == {
        "alerts": alerts,
        "before": None,
        "open": lines(at.stream, "alerts", at.stream.ref, "--open"),
    }
    assert at.console.get("/v1/alerts?before=0") == {"alerts": [], "before": None}, "only the newest page has `open`"


def test_an_event_is_traced_as_by_the_command(at: Site) -> None:
    code, said = traced(at.stream, "e/3")
    assert code == 0
    found = at.console.get("/v1/events/" + quote("e/3", safe=""))
    assert found == said == at.console.get("/v1/events/e/3")
    assert (found["again"]["equal"], found["learned"] is None) == (True, False)


def test_a_search_holds_no_status_up(at: Site) -> None:
    at.status()
    with ThreadPoolExecutor(40) as pool, httpx.Client(base_url=at.console.client.base_url, timeout=60) as client:
        searches = [pool.submit(client.get, f"/v1/events/nobody-{number}") for number in range(40)]
        asked = 0
        while not all(each.done() for each in searches):
            assert at.status()["stream"] == "flow"
            asked += 1
        codes = {each.result().status_code for each in searches}
    assert asked > 3, "statuses are answered while events are searched for"
    assert codes == {404, 503}, "what is too much at once is refused at once"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/models/9/9", 404, "version"),
        ("/v1/models/nine", 400, "version"),
        ("/v1/models/", 404, "not-found"),
        ("/v1/events/", 404, "not-found"),
        ("/v1/events/nobody", 404, "event"),
        (f"/v1/events/{'x' * 2000}", 400, "id"),
        ("/v1/dead-letters?limit=1001", 400, "query"),
        ("/v1/dead-letters?before=-1", 400, "query"),
        ("/v1/dead-letters?before=1&before=2", 400, "query"),
        ("/v1/alerts?last=3", 400, "query"),
        ("/v1/status?x", 400, "query"),
        ("/v1/pin", 405, "method"),
        ("/v1/predict", 404, "not-found"),
    ],
)
def test_a_read_that_cannot_be_is_refused_with_its_reason(at: Site, path: str, status: int, code: str) -> None:
    response = at.console.client.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


# --- decisions ---------------------------------------------------------------------------------------


def in_force(stream: Stream) -> Serving | None:
    """Return the decision that predictors and servers go by."""
    found = [read_model_update(each.value).state for each in read_all(stream.bootstrap, stream.names.topic("models"))]
    return next((each for each in reversed(found) if isinstance(each, Serving)), None)


def history(stream: Stream) -> list[ModelUpdate]:
    return [read_model_update(each.value) for each in read_all(stream.bootstrap, stream.names.topic("decisions"))]


def pinned(stream: Stream) -> set[str]:
    return {str(each) for each in open_store(stream.models, stream.home / "keys", sign=False).pinned("flow")}


@pytest.mark.usefixtures("_as_before")
def test_a_pin_is_seen_by_predictors_and_server_and_kept_from_retention(at: Site) -> None:
    made = at.console.decide("pin", "1/0", "labels look wrong")
    assert made == {**made, "stream": "flow", "epoch": 1, "examples": 0, "by": "console", "why": "labels look wrong"}
    assert history(at.stream)[-1] == ModelUpdate(made["at"], Serving("flow", 0, 1, 0, "console", "labels look wrong"))
    at.until_served("1/0")
    assert pinned(at.stream) == {"1/0"}
    assert at.status()["model"]["pinned"] == "1/0"
    by_command = told(at.stream, "models", "pin", at.stream.ref, "1/0", "--why", "labels look wrong")
    assert {**by_command, "at": 0, "by": ""} == {**made, "at": 0, "by": ""}
    at.console.decide("unpin")
    at.until_served(NEWEST)
    assert pinned(at.stream) == set()


@pytest.mark.usefixtures("_as_before")
def test_a_rollback_goes_to_what_served_before_or_to_the_version_that_is_named(at: Site) -> None:
    assert at.console.decide("rollback", "1/0")["examples"] == 0
    at.until_served("1/0")
    at.console.decide("pin", NEWEST)
    at.until_served(NEWEST)
    assert at.console.decide("rollback")["examples"] == 0, "what the decision before chose"
    at.until_served("1/0")


@pytest.mark.usefixtures("_as_before")
def test_learning_pauses_and_resumes(at: Site) -> None:
    made = at.console.decide("pause", why="a look at the labels")
    assert (made["paused"], made["by"]) == (True, "console")
    assert any("paused by console (a look at the labels)" in each for each in at.status()["alerts"])
    assert at.console.decide("resume")["paused"] is False
    assert not any("paused" in each for each in at.status()["alerts"])


@pytest.mark.usefixtures("_as_before")
def test_only_a_rebuilt_version_is_adopted(at: Site) -> None:
    refused = at.console.client.post("/v1/adopt", json={"version": NEWEST, "why": "no rebuild"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "refused")
    assert "is not a rebuilt version" in refused.json()["error"]["message"]
    rebuilt = told(at.stream, "models", "rebuild", at.stream.ref)["version"]
    made = at.console.decide("adopt", rebuilt)
    assert f"{made['epoch']}/{made['examples']}" == rebuilt
    until(lambda: at.status()["model"]["served"].startswith(f"{made['epoch']}/"), "the rebuilt epoch serves")


@pytest.mark.parametrize(
    ("deed", "body", "status", "code"),
    [
        ("pin", {"version": "9/9", "why": "x"}, 404, "version"),
        ("pin", {"version": "../x", "why": "x"}, 400, "version"),
        ("pin", {"why": "x"}, 422, "version"),
        ("adopt", {"version": "9/9", "why": "x"}, 404, "version"),
        ("adopt", {"why": "x"}, 422, "version"),
        ("pause", {"version": "1/0", "why": "x"}, 422, "version"),
        *((deed, {}, 422, "why") for deed in ("pin", "unpin", "rollback", "adopt", "pause", "resume")),
        ("pin", {"version": "1/0"}, 422, "why"),
        ("unpin", {"why": ""}, 422, "why"),
        ("unpin", {"why": " \n"}, 422, "why"),
        ("unpin", {"why": "x" * 1001}, 422, "why"),
        ("unpin", {"why": "x", "by": "somebody else"}, 400, "json"),
    ],
)
def test_a_decision_that_cannot_be_is_none(at: Site, deed: str, body: dict[str, str], status: int, code: str) -> None:
    before = len(history(at.stream))
    response = at.console.client.post(f"/v1/{deed}", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert len(history(at.stream)) == before


@pytest.mark.usefixtures("_as_before")
def test_two_consoles_that_decide_at_once_leave_one_version_that_serves_and_is_protected(at: Site) -> None:
    before = len(history(at.stream))
    with console(at.stream, "--instance", "1") as second, ThreadPoolExecutor(2) as pool:
        chosen = [(at.console, "1/0"), (second, NEWEST)]
        for turn in range(5):
            made = [pool.submit(each.decide, "pin", version, f"turn {turn}") for each, version in chosen]
            assert [each.result()["why"] for each in made] == [f"turn {turn}"] * 2
            holds = in_force(at.stream)
            assert holds is not None
            version = f"{holds.epoch}/{holds.examples}"
            assert version in pinned(at.stream), "retention would delete what serves"
            at.until_served(version)
    assert len(history(at.stream)) == before + 10


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(("place", "holds"), [("decision.models.before", False), ("decision.models.after", True)])
def test_a_console_that_is_killed_in_a_decision_has_made_all_of_it_or_none(at: Site, place: str, holds: bool) -> None:
    before, newest = len(history(at.stream)), at.status()["model"]["newest"]
    with console(at.stream, "--instance", "2", failpoints=f"{place}=kill") as killed:
        with pytest.raises(httpx.TransportError):
            killed.decide("pin", "1/0")
        assert killed.process.wait(30) == -signal.SIGKILL
    at.until_served("1/0" if holds else newest)
    assert len(history(at.stream)) == before + 1
    assert "1/0" in pinned(at.stream)
    with console(at.stream, "--instance", "2") as again:
        again.decide("pin", "1/0")
    at.until_served("1/0")
    assert pinned(at.stream) == {"1/0"}


# --- hostile senders ---------------------------------------------------------------------------------


def raw(at: Site, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """Send a request as it is; no client makes a path or a header better."""
    base = at.console.client.base_url
    connection = http.client.HTTPConnection(base.host, base.port or 0, timeout=60)
    connection.putrequest(method, path, skip_accept_encoding=True)
    given = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def encoded(name: str) -> str:
    return quote(name.encode(errors="surrogateescape"), safe="")


@pytest.mark.parametrize("begin", ["/v1/models/", pytest.param("/v1/events/", marks=pytest.mark.full)])
def test_no_trick_with_a_path_leads_anywhere(at: Site, begin: str) -> None:
    names = [name for name in HOSTILE if name]
    plain = [name for name in names if name.isascii() and name.isprintable() and " " not in name and len(name) < 400]
    paths = [begin + encoded(name) for name in names] + [
        begin + quote(name, safe="/%\\.;:$()~{}*[],|`&=@!") for name in plain
    ]
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(paths, pool.map(lambda path: raw(at, "GET", path), paths), strict=True))
    statuses = {path: status for path, (status, _) in found.items()}
    assert set(statuses.values()) <= {400, 404}, {
        path: each for path, each in statuses.items() if each not in (400, 404)
    }
    assert not [path for path, (_, body) in found.items() if b"root:" in body or b"Traceback" in body]
    assert at.console.process.poll() is None
    assert at.status()["stream"] == "flow"


HOSTILE_JSON = [
    b"", b" ", b"null", b"[]", b'"why"', b"7", b"{", b'{"why"', b'{"why":"x"', b'{"why":"x"} {}',
    b'{"why":"x",}', b'{"why":1}', b'{"why":null}', b'{"why":["x"]}', b'{"why":{"why":"x"}}',
    b'{"why":"x","why":"y"}', b'{"why":"x","WHY":"y"}', b'{"why":"x","\\u0077hy":"y"}', b'{"why":"\\ud800"}',
    b'{"why":"\xff"}', b'{"why":"\xc0\xae"}', b'{"why":"a\x00b"}', b'{"why":"x"}\x00', b"{'why':'x'}",
    b'{"why":"x","version":1}', b'{"why":"x","version":"1/0","version":"1/1"}', b'{"__proto__":{"why":"x"}}',
    b"[" * 60_000, b'{"why":' * 8_000, b'{"why":' + b"9" * 60_000 + b"}", b'{"why":NaN}', b'{"why":1e999}',
    b"\xff\xfe{\x00}\x00", b"why=x", b"<why>x</why>", b"x" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE_JSON, ids=lambda body: repr(body[:30]))
def test_json_that_is_none_decides_nothing(at: Site, body: bytes) -> None:
    before = len(history(at.stream))
    for deed in ("pin", "pause"):
        status, answer = raw(at, "POST", f"/v1/{deed}", body, content_type="application/json")
        assert (status, "error" in json.loads(answer)) == (413 if len(body) > 1 << 16 else 400, True)
    assert len(history(at.stream)) == before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
        ({"content_type": ""}, 415),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"content_type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_a_page_of_another_site_decides_nothing(at: Site, headers: dict[str, str], status: int) -> None:
    before = len(history(at.stream))
    given = {"content_type": "application/json", **headers}
    assert raw(at, "POST", "/v1/resume", b'{"why": "csrf"}', **given)[0] == status
    assert len(history(at.stream)) == before + (status == 200)


def test_a_page_of_another_site_reads_nothing_but_a_link_may_be_followed(at: Site) -> None:
    assert raw(at, "GET", "/v1/models", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert raw(at, "GET", "/v1/models", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200
    host = f"127.0.0.1:{at.console.client.base_url.port}"
    assert raw(at, "GET", "/v1/models", origin=f"http://{host}", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/9/9", "/nothing", "/livez"])
def test_no_browser_keeps_frames_or_runs_an_answer(at: Site, path: str) -> None:
    headers = at.console.client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (headers["cache-control"], headers["cross-origin-resource-policy"]) == ("no-store", "same-origin")
    assert "access-control-allow-origin" not in headers


# --- Kafka away --------------------------------------------------------------------------------------


def test_without_kafka_it_shows_the_store_and_decides_nothing(at: Site) -> None:
    stream = Stream(at.stream.ref, f"127.0.0.1:{free_port()}", at.stream.prefix, at.stream.home)
    with console(stream, "--instance", "3", ready=False) as alone:
        assert alone.client.get("/readyz").status_code == 503
        assert next(each["serving"] for each in alone.get("/v1/models")) is None
        for path in ("/v1/status", "/v1/alerts", "/v1/dead-letters", "/v1/events/e1"):
            response = alone.client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "kafka"), path
            assert response.headers["retry-after"] == "1"
        response = alone.client.post("/v1/pin", json={"version": "1/0", "why": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "kafka")
        alone.process.terminate()
        began = time.monotonic()
        assert alone.process.wait(20) == 0
        assert time.monotonic() - began < 15


def test_an_address_that_is_none_or_that_is_taken_is_refused_in_one_line(at: Site) -> None:
    said = millstream(at.stream, "console", at.stream.ref, "--host", "everywhere", code=2)
    assert "must be an address of this machine" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = millstream(at.stream, "console", at.stream.ref, "--port", str(taken.getsockname()[1]), code=1)
    assert "--port names another port" in said
    assert "--console-port" in millstream(
        at.stream, "serve", at.stream.ref, "--port", "8080", "--console-port", "8080", code=2
    )
