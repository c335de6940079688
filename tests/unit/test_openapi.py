"""The description of the endpoints: valid, complete, and readable without anything from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from river import linear_model
from unit.inference_site import INFER, Model, X, make

from millstream import Stream
from millstream.processes.http_roles import server_routes
from schemas.topics import Names
from server.openapi.document import document
from server.openapi.endpoints import ENDPOINTS
from server.openapi.html import page
from server.openapi.schemas import SCHEMAS
from server.uploads.folder import UploadFolder
from server.uploads.receiving import Receiver, UploadLimits
from server.web.predict import Predict
from server.web.uploads import Uploads
from server.web.worker import Health

__all__ = ["make"]


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(document("fraud", "0.1.0")).validate()


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
    assert said.headers["content-security-policy"].startswith("default-src 'none'")
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


@pytest.fixture
def read() -> _Page:
    found = _Page()
    found.feed(page("fraud", "0.1.0"))
    return found


def test_the_page_is_well_formed_and_loads_nothing(read: _Page) -> None:
    assert read.open == []
    assert read.tags.isdisjoint({"script", "link", "img", "iframe"})
    text = page("fraud", "0.1.0")
    assert re.findall(r"https?://|@import|url\(", text) == []
    assert all(f"<code>{each.path.replace('{model}', 'fraud')}</code>" in text for each in ENDPOINTS)


def test_links_of_the_page_lead_somewhere(read: _Page) -> None:
    assert len(set(read.ids)) == len(read.ids)
    assert {link for link in read.links if link.removeprefix("#") not in read.ids} == {"/openapi.json"}


def test_a_name_cannot_put_markup_into_the_page() -> None:
    assert "<b>" not in page("<b>", "<b>")
