"""A server that other machines can reach: HTTPS, and every endpoint with every scope (S5); tokens stay secret (S8)."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import command_server
import httpx
import psutil
import pytest
from certificates import self_signed
from system.http_server import FLOW, SECONDS, free_ports, is_ready, until
from system.oracle import Stream
from system.test_secrets import Said, found

from server.tokens.token_file import SCOPES, TokenFile

# A row for each endpoint: the scope that it asks for. A new endpoint needs a row here.
ENDPOINTS = {
    ("POST", "/v1/predict"): "predict",
    ("POST", "/v1/labels"): "label",
    ("GET", "/livez"): None,
    ("HEAD", "/livez"): None,
    ("GET", "/readyz"): None,
    ("HEAD", "/readyz"): None,
    ("GET", "/v2"): "predict",
    ("HEAD", "/v2"): "predict",
    ("GET", "/v2/health/live"): "predict",
    ("HEAD", "/v2/health/live"): "predict",
    ("GET", "/v2/health/ready"): "predict",
    ("HEAD", "/v2/health/ready"): "predict",
    ("GET", "/openapi.json"): None,
    ("HEAD", "/openapi.json"): None,
    ("GET", "/docs"): None,
    ("HEAD", "/docs"): None,
    ("POST", "/v1/uploads"): "upload",
    ("OPTIONS", "/v1/uploads"): "upload",
    ("GET", "/v1/uploads/"): "upload",
    ("HEAD", "/v1/uploads/"): "upload",
    ("PATCH", "/v1/uploads/"): "upload",
    ("DELETE", "/v1/uploads/"): "upload",
    ("OPTIONS", "/v1/uploads/"): "upload",
    ("POST", "/v1/uploads/"): "upload",
}
WITH_A_NAME = {("POST", "/v1/metrics/orders"): "metric"}
"""Endpoints with a name in their path, which an unknown path is not told of."""
EVENT = {"features": {"x": 1.0, "y": 2.0}}
_ROLES = 5
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - what is tested


@dataclass
class Serving:
    """A running server with its roles."""

    stream: Stream
    process: subprocess.Popen[str]
    base: str
    cert: Path
    metrics: int
    said: Said

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, verify=ssl.create_default_context(cafile=self.cert), timeout=30)

    def millstream(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = command_server.run(*words, env=self.stream.environment())
        assert done.returncode == 0, done.stderr
        self.said.all.append(done.stderr)
        return done


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream(str(FLOW), bootstrap, prefix, tmp_path / "home")


@pytest.fixture
def file(stream: Stream) -> TokenFile:
    return TokenFile(stream.home / "tokens")


@contextmanager
def serving(stream: Stream, folder: Path) -> Iterator[Serving]:
    cert, key = self_signed(folder)
    port, metrics = free_ports(2), free_ports(_ROLES + 2)
    words = [
        *("run", stream.ref, "--serve", "--host", _ALL_ADDRESSES, "--port", str(port), "--metrics-port", str(metrics)),
        *("--tls-cert", str(cert), "--tls-key", str(key)),
    ]
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "millstream", *words], env=stream.environment(), stdout=out, stderr=out, text=True
        )
    said = Said(stream, folder, "kafka-python")
    server = Serving(stream, process, f"https://127.0.0.1:{port}", cert, metrics, said)
    try:
        with server.client() as client:
            until(lambda: is_ready(client) or process.poll() is not None, "a server that is ready")
        yield server
    finally:
        process.kill()
        process.wait()
        said.all.append(log.read_text())
        print(log.read_text())


def asked(client: httpx.Client, method: str, path: str, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return client.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)


def endpoints_of(client: httpx.Client, token: str) -> set[tuple[str, str]]:
    """Return method and path of all that the server has, by what it says itself."""
    told = asked(client, "GET", "/nothing", token).json()["error"]["message"]
    paths = told.partition("there are ")[2].split(", ")
    allowed = {path: asked(client, "BREW", path, token).headers["allow"].split(", ") for path in paths}
    return {(method, path) for path in paths for method in allowed[path]}


def check_every_endpoint(client: httpx.Client, tokens: dict[str, str], useless: dict[str, str | None]) -> None:
    assert endpoints_of(client, tokens["read"]) == set(ENDPOINTS), "every endpoint has its row here"
    for ((method, path), needed), (scope, token) in itertools.product(
        {**ENDPOINTS, **WITH_A_NAME}.items(), tokens.items()
    ):
        status = asked(client, method, path, token).status_code
        if needed in (None, scope):
            assert status not in (401, 403), (method, path, scope)
        else:
            assert status == 403, (method, path, scope)
    for ((method, path), needed), (why, token) in itertools.product(
        {**ENDPOINTS, **WITH_A_NAME}.items(), useless.items()
    ):
        response = asked(client, method, path, token)
        assert (response.status_code == 401) == (needed is not None), (method, path, why)
        assert needed is None or response.headers["www-authenticate"].startswith("Bearer"), (method, path, why)


def misuse(server: Serving, client: httpx.Client, token: str) -> None:
    """Send a token in every wrong place, and keep what is answered."""
    right = {"authorization": f"Bearer {token}"}
    answers = [
        client.post("/v1/predict", headers={"authorization": token}, json=EVENT),
        client.post("/v1/predict", headers={"authorization": f"Basic {token}"}, json=EVENT),
        client.post("/v1/predict", headers={"authorization": f"Bearer {token}x"}, json=EVENT),
        client.post("/v1/predict", headers={"x-api-key": token}, json=EVENT),
        client.post("/v1/predict", headers=right, content=b"{"),
        client.post(f"/v1/predict?access_token={token}", headers=right, json=EVENT),
        client.post("/v1/labels", headers=right, content=b"{"),
        client.get("/v1/predict", headers=right),
    ]
    assert [each.status_code for each in answers][:4] == [401] * 4
    server.said.all += [f"{each.headers} {each.text}" for each in answers]


def processes(server: Serving) -> str:
    """Return what others see of the processes, and their environment."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= _ROLES
    return "\n".join(f"{each.cmdline()} {each.environ()}" for each in family)


def metrics(server: Serving) -> str:
    pages = [httpx.get(f"http://127.0.0.1:{server.metrics + number}/metrics").text for number in range(_ROLES)]
    assert any("millstream_http_requests" in page for page in pages)
    return "\n".join(pages)


def version_spoken(server: Serving, most: ssl.TLSVersion) -> str | None:
    context = ssl.create_default_context(cafile=server.cert)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of old versions, which are what is tried
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = most
    context.set_ciphers("ALL:@SECLEVEL=0")
    with httpx.Client(verify=context) as client, client.stream("GET", f"{server.base}/livez") as response:
        found: str | None = response.extensions["network_stream"].get_extra_info("ssl_object").version()
    return found


def is_let_in(client: httpx.Client, token: str) -> bool:
    return asked(client, "GET", "/v1/predict", token).status_code != 401


def test_every_endpoint_asks_for_its_scope_and_no_token_is_found_anywhere(
    stream: Stream, file: TokenFile, tmp_path: Path
) -> None:
    tokens = {scope: file.create(f"may-{scope}", [scope], "ann")[0] for scope in SCOPES}
    expired, revoked = (file.create(name, SCOPES, "ann", lasts_ms=1)[0] for name in ("expired", "revoked"))
    file.revoke("revoked")
    useless = {
        "expired": expired,
        "revoked": revoked,
        "wrong": tokens["read"][:-1] + "_",
        "other": "ms_x",
        "none": None,
    }
    with serving(stream, tmp_path) as server, server.client() as client:
        check_every_endpoint(client, tokens, useless)
        made = json.loads(server.millstream("tokens", "create", "shop", "--scope", "predict,label", "--json").stdout)
        until(lambda: is_let_in(client, made["token"]), "a new token")
        assert client.post("/v1/predict", headers={"authorization": f"Bearer {made['token']}"}, json=EVENT).is_success
        misuse(server, client, made["token"])
        [shop] = [
            each for each in json.loads(server.millstream("tokens", "list", "--json").stdout) if each["name"] == "shop"
        ]
        assert shop["last_used"] > made["created"]
        server.said.all += [json.dumps(shop), processes(server), metrics(server)]
        server.millstream("tokens", "revoke", "shop")
        time.sleep(1)  # within which it must be refused
        assert not is_let_in(client, made["token"])
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
    for secret in (*tokens.values(), made["token"]):
        assert found(server.said, secret.rpartition("_")[2]) == []
    assert found(server.said, shop["id"]) != [], "the search does find what is there"


def test_https_is_spoken_and_a_renewed_certificate_is_used(stream: Stream, file: TokenFile, tmp_path: Path) -> None:
    token, _ = file.create("shop", ["predict"], "ann")
    with serving(stream, tmp_path) as server:
        assert version_spoken(server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        assert version_spoken(server, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with pytest.raises(httpx.ConnectError):
            version_spoken(server, ssl.TLSVersion.TLSv1_1)
        with server.client() as before:
            assert before.get("/livez").status_code == 200
            (tmp_path / "new").mkdir()
            new_cert, new_key = self_signed(tmp_path / "new")
            shutil.copy(new_key, tmp_path / "server.key")
            shutil.copy(new_cert, tmp_path / "server.pem")
            server.process.send_signal(signal.SIGHUP)  # it is no reason to end

            def is_new() -> bool:
                assert asked(before, "GET", "/livez", token).status_code == 200, "open connections go on"
                return served(server) == new_cert.read_text()

            until(is_new, "the new certificate")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0


def served(server: Serving) -> str:
    """Return the certificate of a new connection."""
    url = httpx.URL(server.base)
    return ssl.get_server_certificate((url.host, url.port or 0))


def test_without_a_token_no_server_is_reached_from_other_machines(stream: Stream, file: TokenFile) -> None:
    file.create("old", ["predict"], "ann")
    file.revoke("old")
    for command in ("server", "serve"):
        where = ("--host", _ALL_ADDRESSES, "--port", str(free_ports(2)))
        done = command_server.run(command, stream.ref, *where, env=stream.environment())
        assert done.returncode == 1
        assert "`millstream tokens create NAME" in done.stderr.splitlines()[-1] + done.stdout
        assert "Traceback" not in done.stderr + done.stdout
