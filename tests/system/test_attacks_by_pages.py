"""Attacks by web pages in a real browser (S5, S7): other sites' requests, names that rebind, and stored markup."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from system.browser import Browser, Page, browser, json_text
from system.commands import lines, millstream
from system.console_rig import running
from system.http_server import FLOW, free_port, until
from system.oracle import Stream, read_all

EVIL, REBOUND = "evil.example", "rebound.example"
MARKUP = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\"'><svg onload=alert(1)>"


@dataclass
class Attacker:
    """A site of an attacker: an empty page, and a list of what was sent there."""

    port: int = 0
    came: list[str] = field(default_factory=list)

    def address(self, name: str) -> str:
        return f"http://{name}:{self.port}/"


@dataclass
class Victim:
    """Server and console of a stream, each on a port of this machine, where nobody needs a token."""

    stream: Stream
    server: str
    console: str

    def logged(self) -> dict[str, int]:
        """Return how much there is of all that a request can cause."""
        kinds = ("decisions", "labels", "dead-letters", "examples")
        found = {kind: len([*read_all(self.stream.bootstrap, self.stream.names.topic(kind))]) for kind in kinds}
        return found | {"uploads": len([*self.stream.home.rglob("uploads/*")])}


@pytest.fixture(scope="module")
def attacker(client: str) -> Iterator[Attacker]:
    found = Attacker()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.came.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>a nice page</title>")

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture(scope="module")
def chromium(client: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium"), EVIL, REBOUND) as found:
        yield found


@pytest.fixture(scope="module")
def at(client: str, chromium: Browser, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    stream = Stream(str(FLOW), bootstrap, f"xss-{secrets.token_hex(4)}-", tmp_path_factory.mktemp("home"))
    millstream(stream, "topics", "create", stream.ref)
    millstream(stream, "keys", "init")
    ports = free_port(), free_port()
    words = ("serve", stream.ref, "--port", str(ports[0]), "--console-port", str(ports[1]))
    with running(stream.environment(), *words) as process:
        found = Victim(stream, *(f"http://127.0.0.1:{port}" for port in ports))
        for address in (found.server, found.console):
            until(lambda address=address: _lives(address) or process.poll() is not None, f"{address} answers")
        yield found


def _lives(address: str) -> bool:
    try:
        return httpx.get(f"{address}/livez").status_code == 200
    except httpx.TransportError:
        return False


# --- requests of other sites -----------------------------------------------------------------------------

_SEND = """
(async (address, body) => {
  const quietly = (mode, type) =>
    fetch(address, {method: "POST", mode, body, credentials: "include", headers: type ? {"content-type": type} : {}})
      .then(answer => answer.type + " " + answer.status, error => "refused by the browser");
  const said = [await quietly("no-cors", ""), await quietly("no-cors", "text/plain")];
  said.push(await quietly("cors", "application/json"));
  navigator.sendBeacon(address, new Blob([body], {type: "text/plain"}));
  const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), {name: "f"}));
  const form = Object.assign(document.createElement("form"), {method: "POST", action: address, target: "f"});
  form.enctype = "text/plain";
  form.append(Object.assign(document.createElement("input"), {name: body.slice(0, -1) + ', "x": "', value: '"}'}));
  document.body.append(form);
  const loaded = new Promise(done => frame.addEventListener("load", done, {once: true}));
  form.submit();
  await loaded;
  return said;
})(ADDRESS, BODY)
"""


_ASKED = (
    ("console", "/v1/pause", '{"why": "csrf"}'),
    ("console", "/v1/unpin", '{"why": "csrf"}'),
    ("server", "/v1/labels", '{"event_id": "csrf", "value": true}'),
    ("server", "/v1/metrics/orders", '{"value": 1}'),
    ("server", "/v1/predict", '{"event_id": "csrf", "features": {"x": 1, "y": 1}}'),
    ("server", "/v1/uploads", "event_id,x,y,label\n1,1,1,true\n"),
    ("server", "/v2/models/flow/infer", '{"inputs": []}'),
)


@pytest.mark.parametrize("site", [EVIL, "127.0.0.1", "localhost"])
def test_a_page_of_another_site_causes_nothing(chromium: Browser, at: Victim, attacker: Attacker, site: str) -> None:
    before = at.logged()

    async def attack(page: Page, role: str, path: str, body: str) -> list[str]:
        await page.open(attacker.address(site))
        address = getattr(at, role) + path
        said: list[str] = await page.run(_SEND.replace("ADDRESS", json_text(address)).replace("BODY", json_text(body)))
        statuses = [each["response"]["status"] for each in page.told("Network.responseReceived")]
        assert {status for status in statuses if status != 200} == {403}, "the page itself is the 200"
        return said

    for asked in _ASKED:
        said = chromium.visit(lambda page, asked=asked: attack(page, *asked))
        assert {*said} <= {"opaque 0", "refused by the browser"}, "the page can read no answer"
    assert at.logged() == before


def test_a_page_of_another_site_reads_and_frames_nothing(chromium: Browser, at: Victim, attacker: Attacker) -> None:
    script = """(address => fetch(address).then(answer => answer.text(), error => "refused"))"""
    frame = """(address => new Promise(done => {
      const frame = document.createElement("iframe");
      frame.onload = done;
      frame.src = address;
      document.body.append(frame);
    }).then(() => true))"""

    async def attack(page: Page) -> list[str]:
        await page.open(attacker.address("127.0.0.1"))
        for address in (f"{at.console}/v1/models", f"{at.console}/docs", f"{at.server}/docs", f"{at.server}/v2"):
            assert await page.run(f"{script}({json_text(address)})") == "refused"
        for address in (at.console, at.server):
            await page.run(f"{frame}({json_text(address + '/docs')})")
        tree = await page.call("Page.getFrameTree")
        return [each["frame"]["url"] for each in tree["frameTree"]["childFrames"]]

    assert chromium.visit(attack) == ["chrome-error://chromewebdata/"] * 2, "neither page is framed"


@pytest.mark.parametrize(("role", "path"), [("console", "/v1/pause"), ("server", "/v1/labels")])
def test_a_name_that_rebinds_to_this_machine_reaches_nothing(
    chromium: Browser, at: Victim, role: str, path: str
) -> None:
    before = at.logged()
    own = getattr(at, role).replace("127.0.0.1", REBOUND)
    ask = """((path, body) => fetch(path, {method: "POST", body, headers: {"content-type": "application/json"}})
      .then(answer => answer.status))"""

    async def attack(page: Page) -> list[int]:
        await page.call("Page.setBypassCSP", enabled=True)  # the attacker's own page had none
        await page.open(own + "/docs")
        assert "the Host header names" in await page.run("document.body.innerText")
        given = f"({json_text(path)}, {json_text({'why': 'rebound', 'event_id': 'r', 'value': True})})"
        found = [await page.run(f"{ask}{given}".replace("body,", "body: JSON.stringify(body),"))]
        return [*found, await page.run('fetch("/readyz").then(answer => answer.status)')]

    assert chromium.visit(attack) == [421, 421]
    assert at.logged() == before


# --- pages that people open ------------------------------------------------------------------------------

_INJECT = """(() => {
  const script = document.createElement("script");
  script.textContent = "window.hit = 1";
  document.body.append(script);
  const image = document.body.appendChild(document.createElement("div"));
  image.innerHTML = "<img src=x onerror='window.hit = 1'><b style='color: rgb(1, 2, 3)' id=styled>b</b>";
  return new Promise(done => setTimeout(() => done(
    [window.hit === undefined, getComputedStyle(document.getElementById("styled")).color !== "rgb(1, 2, 3)"]), 50));
})()"""
_SIZES = "[document.documentElement.scrollWidth, innerWidth, getComputedStyle(document.body).backgroundColor]"


@pytest.mark.parametrize("role", ["server", "console"])
def test_the_description_is_readable_in_light_and_dark_on_a_phone_and_runs_nothing(
    chromium: Browser, at: Victim, role: str
) -> None:
    async def read(page: Page) -> dict[str, str]:
        await page.open(getattr(at, role) + "/docs")
        assert page.told("Log.entryAdded") == [], "the page's own policy refuses nothing of the page"
        backs = {}
        await page.run('document.querySelectorAll("details").forEach(each => { each.open = true; })')
        for name, dark, width in (("light", False, 375), ("dark", True, 375), ("wide", False, 1280)):
            await page.look(dark=dark, width=width)
            scroll, inner, backs[name] = await page.run(_SIZES)
            assert scroll <= inner, f"{name}: it is {scroll} pixels wide"
        assert await page.run(_INJECT) == [True, True]
        assert len(page.told("Log.entryAdded")) >= 2, "refused by the policy"
        return backs

    assert chromium.visit(read) == {
        "light": "rgb(255, 255, 255)",
        "dark": "rgb(18, 22, 28)",
        "wide": "rgb(255, 255, 255)",
    }


def test_markup_that_was_stored_is_text_when_a_person_opens_it(chromium: Browser, at: Victim) -> None:
    label = httpx.post(f"{at.server}/v1/labels", json={"event_id": MARKUP, "value": MARKUP})
    assert label.status_code == 422
    why = {"why": MARKUP}
    assert httpx.post(f"{at.console}/v1/pause", json=why).status_code == 200
    until(lambda: lines(at.stream, "dead-letters", at.stream.ref), "the dead letter")
    paths = ["/v1/status", "/v1/alerts", "/v1/dead-letters", "/v1/models", f"/v1/events/{quote(MARKUP, safe='')}"]
    paths += [f"/{quote(MARKUP)}", f"/v1/models/{quote(MARKUP, safe='')}", f"/v1/alerts?{quote(MARKUP)}=1"]

    async def read(page: Page) -> list[str]:
        texts = []
        for path in paths:
            await page.open(at.console + path)
            said = await page.run("[document.contentType, window.hit === undefined, document.body.innerText]")
            assert said[:2] == ["application/json", True], path
            texts.append(said[2])
        assert page.told("Page.javascriptDialogOpening") == []
        return texts

    texts = dict(zip(paths, chromium.visit(read), strict=True))
    shown = [path for path, text in texts.items() if "window.hit" in text]
    assert {"/v1/status", "/v1/dead-letters"} <= {*shown}, "it is there, as text"
