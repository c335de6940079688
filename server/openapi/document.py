"""The OpenAPI 3.1 document, made from the table of endpoints."""

from __future__ import annotations

from typing import Any, Final

from consumers.roles import CONSOLE, SERVER
from server.openapi.endpoint import JSON, Answer, Content, Endpoint, Parameter
from server.openapi.endpoints import described_by
from server.openapi.schemas import ref, schemas_of

_ALWAYS: Final = (403, 405, 421, 503)
_OF_TOKENS: Final = (401, 429)
_OF_BODIES: Final = (400, 408, 413)
ERRORS: Final = {
    400: "The request cannot be read; nothing was logged.",
    401: "No token, or one that is not valid (any more).",
    403: "The token lacks the scope, or a web page of another site asks.",
    404: "There is no such thing.",
    405: "The path has other methods.",
    408: "The body did not come in time.",
    409: "A decision, or what has come so far, does not allow it.",
    412: "The version of tus is another.",
    413: "The body is too large, or has too many rows.",
    415: "The body's format or encoding is not read.",
    421: "The Host header names another server.",
    422: "It was read, and refused: by the contract, the model, or as a conflict.",
    423: "Another request sends this upload.",
    429: "The token's rate is used up: later again.",
    460: "The part has another checksum.",
    503: "Later again: not ready, overloaded, or nothing can be logged.",
    507: "The disk has no room for it.",
}
_SUMMARIES: Final = {
    SERVER: "Answers of an online learner on Kafka, and labels that it learns from.",
    CONSOLE: "Status of an online learner on Kafka, and decisions about it.",
}
_CONSOLE: Final = {"url": "http://localhost:8081", "description": "The role console."}


def document(stream: str, release: str, role: str = SERVER) -> dict[str, Any]:
    """Return the document for the server of a stream, or for its console."""
    endpoints = described_by(role)
    paths: dict[str, Any] = {}
    for each in endpoints:
        path = paths.setdefault(each.path, {"servers": [_CONSOLE]} if each.role == CONSOLE != role else {})
        path[each.method] = _operation(each, stream)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Millstream: {stream}",
            "version": release,
            "summary": _SUMMARIES[role],
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(each.group for each in endpoints)],
        "paths": paths,
        "components": {
            "schemas": schemas_of(name for each in endpoints for name in each.schemas),
            "responses": {
                f"{schema}{status}": _error(status, says, schema)
                for schema in sorted({each.error_schema for each in endpoints})
                for status, says in ERRORS.items()
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `millstream tokens create`. While there are none, only this machine can "
                    "ask, without a token.",
                }
            },
        },
    }


def _operation(each: Endpoint, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _operation_id(each),
        "summary": each.says,
        "tags": [each.group],
        "responses": {
            **{str(status): _answer(answer) for status, answer in each.answers.items()},
            **{str(status): _error_ref(each, status) for status in errors_of(each)},
        },
        "security": [] if each.scope is None else [{"token": [each.scope]}, {}],
    }
    if each.parameters:
        found["parameters"] = [_parameter(parameter, stream) for parameter in each.parameters]
    if each.takes:
        content = _content(each.takes)
        if each.example is not None:
            content[JSON]["example"] = each.example
        found["requestBody"] = {"required": True, "content": content}
    return found


def errors_of(each: Endpoint) -> list[int]:
    """Return the statuses of an endpoint's errors."""
    found = {*_ALWAYS, *each.errors}
    if each.scope is not None:
        found.update(_OF_TOKENS)
    if each.takes:
        found.update(_OF_BODIES)
    if each.parameters:
        found.add(400)
    return sorted(found)


def _operation_id(each: Endpoint) -> str:
    words = each.path.replace(".", "/").replace("-", "/").replace("{", "").replace("}", "").split("/")
    return "_".join([each.method, *filter(None, words)])


def _error_ref(each: Endpoint, status: int) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{each.error_schema}{status}"}


def _error(status: int, says: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = {"description": says, "content": {JSON: {"schema": ref(schema)}}}
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.says}
    if answer.headers:
        found["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    if answer.content:
        found["content"] = _content(answer.content)
    return found


def _content(content: Content) -> dict[str, Any]:
    return {media: {"schema": ref(schema)} if schema else {} for media, schema in content.items()}


def _parameter(parameter: Parameter, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.says,
        "required": parameter.place == "path",
        "schema": dict(parameter.schema),
    }
    if parameter.name == "model":
        found["schema"] = {"const": stream}
    return found
