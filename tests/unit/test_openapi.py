"""The description of the endpoints: valid, complete, and readable without anything from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from river import linear_model
from unit.inference_site import INFER, Model, X, make

from consumers.roles import CONSOLE, SERVER
from millstream import Stream
from millstream.processes.http_roles import server_routes
from schemas.topics import Names
from server.openapi.document import document
from server.openapi.endpoints import ENDPOINTS, described_by
from server.openapi.html import page
from server.openapi.schemas import SCHEMAS
from server.uploads.folder import UploadFolder
from server.uploads.receiving import Receiver, UploadLimits
from server.web.predict import Predict
from server.web.uploads import Uploads
from server.web.worker import Health

__all__ = ["make"]


@pytest.mark.parametrize("role", [SERVER, CONSOLE])
def test_the_document_is_valid_openapi(role: str) -> None:
    OpenAPIV31SpecValidator(document("fraud", "0.1.0", role)).validate()


def test_a_console_describes_what_it_has_and_a_server_all() -> None:
    console, server = (document("fraud", "0.1.0", role) for role in (CONSOLE, SERVER))
    own = {each.path for each in ENDPOINTS if each.role == CONSOLE} | {"/livez", "/readyz", "/openapi.json", "/docs"}
    assert {*console["paths"]} == own
    assert {*server["paths"]} == {each.path for each in ENDPOINTS}
    assert [path for path, found in console["paths"].items() if "servers" in found] == [], "its address is its own"
    assert "http://localhost:8081" in json.dumps(server["paths"]["/v1/pin"]["servers"])
    assert {*console["components"]["schemas"]} == {
        "Object",
        "Decision",
        "AlertDecision",
        "JobWish",
        "Live",
        "Ready",
        "Error",
    }
    assert server["components"]["schemas"] == SCHEMAS
    assert {name[:5] for name in console["components"]["responses"]} == {"Error"}


def test_every_endpoint_of_the_server_is_in_the_table_with_its_scope(tmp_path: Path) -> None:
    stream = Stream(name="fraud", task="binary", model=linear_model.LogisticRegression, label="label")
    nothing: Any = None
    predict = Predict(nothing, nothing, nothing)
    routes = server_routes(stream, Names("fraud"), predict, Health(lambda: None))
    served = {
        (method.lower(), path): route.scope
        for path, methods in routes.items()
        for method, route in methods.items()
        if "{epoch}" not in path and not (method == "HEAD" and "GET" in methods)
    }
    streamed = Uploads(Receiver(UploadFolder(tmp_path), UploadLimits()), lambda: False).routes()
    for path in streamed.paths():
        found = streamed.find(path)
        assert found is not None
        shown = f"{path}{{id}}" if path.endswith("/") else path
        served |= {(method.lower(), shown): found.scope for method in found.methods}
    described = {(each.method, each.path): each.scope for each in ENDPOINTS if each.role == "server"}
    assert served == described


def test_names_in_a_path_are_its_parameters_and_ids_are_unique() -> None:
    for each in ENDPOINTS:
        named = {parameter.name for parameter in each.parameters if parameter.place == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", each.path)), each.path
    paths = document("fraud", "0.1.0")["paths"].values()
    ids = [each["operationId"] for path in paths for each in path.values() if "operationId" in each]
    assert len(set(ids)) == len(ids) == len(ENDPOINTS)


def fits(name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(value)


def test_examples_and_answers_fit_their_schemas(make: Callable[..., Model]) -> None:
    for each in ENDPOINTS:
        if each.example is not None:
            fits(each.takes["application/json"], each.example)
    site = make()
    for path, schema in [
        ("/v2", "ServerMetadata"), ("/v2/health/live", "Live"), ("/v2/health/ready", "Ready"),
        ("/v2/models/fraud", "ModelMetadata"), ("/v2/models/fraud/ready", "ModelReady"), ("/v2/no", "InferenceError"),
    ]:  # fmt: skip
        fits(schema, site.get(path).json)
    request = {"inputs": [X], "id": "r", "outputs": None}
    fits("InferenceRequest", request)
    said = site.one(request, INFER)
    assert said.status == 200
    fits("InferenceResponse", said.json)


def test_the_document_and_the_page_are_served(make: Callable[..., Model]) -> None:
    site = make()
    assert site.get("/openapi.json").json == json.loads(json.dumps(document("fraud", "0.1.0")))
    said = site.get("/docs")
    assert said.headers["content-type"] == "text/html; charset=utf-8"
    [style] = re.findall(r"<style>(.*?)</style>", said.answer.decode(), re.DOTALL)
    allowed = f"style-src 'sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
    assert said.headers["content-security-policy"].split("; ")[:2] == ["default-src 'none'", allowed]
    assert said.answer.decode() == page("fraud", "0.1.0")


class _Page(HTMLParser):
    """What a page holds: its ids, where it leads, and which tags are open."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        if given.get("id"):
            self.ids.append(given["id"] or "")
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(params=[SERVER, CONSOLE])
def text(request: pytest.FixtureRequest) -> str:
    return page("fraud", "0.1.0", request.param)


@pytest.fixture
def read(text: str) -> _Page:
    found = _Page()
    found.feed(text)
    return found


def test_the_page_is_well_formed_and_loads_nothing(read: _Page, text: str) -> None:
    assert read.open == []
    assert read.tags.isdisjoint({"script", "link", "img", "iframe"})
    assert re.findall(r"https?://|@import|url\(| style=", text) == []
    role = CONSOLE if "the console" in text else SERVER
    assert all(f"<code>{each.path.replace('{model}', 'fraud')}</code>" in text for each in described_by(role))


def test_links_of_the_page_lead_somewhere(read: _Page) -> None:
    assert len(set(read.ids)) == len(read.ids)
    assert {link for link in read.links if link.removeprefix("#") not in read.ids} == {"/openapi.json"}


def test_a_name_cannot_put_markup_into_the_page() -> None:
    assert "<b>" not in page("<b>", "<b>")
