"""A schema registry for tests, on loopback, that is strict about how it is asked.

It speaks the part of Confluent's REST interface that is used here, refuses any other path, method, content type and
body, and takes a new version of a subject only where it can read what the one before wrote (BACKWARD, fields only).
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
_REFERENCE = {"name", "subject", "version"}


class RegistryServer:
    """Holds schemas by id, GUID and subject; `requests` is what it was asked, a line each.

    Parameters
    ----------
    user, password
        Asked for, if given.
    certificate
        Files of a certificate and its key, to be spoken to by TLS.
    """

    def __init__(
        self, user: str | None = None, password: str = "", certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.requests: list[str] = []
        self.trouble: list[str] = []
        self._user = None if user is None else base64.b64encode(f"{user}:{password}".encode()).decode()
        self.schemas: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'' if certificate is None else 's'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, subject: str, schema: Any, kind: str = "AVRO", references: list[dict[str, Any]] | None = None) -> int:
        """Register a schema behind the interface, and return its id."""
        text = json.dumps(schema) if kind == "AVRO" else str(schema)
        body: dict[str, Any] = {"schema": text}
        if kind != "AVRO":
            body["schemaType"] = kind
        if references:
            body["references"] = references
        with self._lock:
            return self._register(subject, body)[1]["id"]

    def guid(self, number: int) -> uuid.UUID:
        return uuid.UUID(self.schemas[number - 1]["guid"])

    # --- the interface -----------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def _answer(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = server._serve(method, self.path, dict(self.headers), body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(data)))
                if 300 <= status < 400:
                    self.send_header("Location", server.url + "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: `requests` has it."""

        return Handler

    def _serve(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        with self._lock:
            self.requests.append(f"{method} {path}")
            trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble.startswith("hang"):
            time.sleep(float(trouble.split()[1]))
        elif trouble.endswith(" json"):
            status = int(trouble.split()[0])
            return status, {"error_code": status, "message": f"HTTP {status}"}
        elif trouble:
            return int(trouble), b"<html>a proxy's page</html>"
        if self._user is not None and headers.get("Authorization") != f"Basic {self._user}":
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if self._user is None and "Authorization" in headers:
            return 400, {"error_code": 400, "message": "a password for nobody"}
        if CONTENT_TYPE not in headers.get("Accept", ""):
            return 406, {"error_code": 406, "message": "HTTP 406 Not Acceptable"}
        with self._lock:
            return self._route(method, path, headers, body)

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        routes: dict[str, Callable[..., tuple[int, Any]]] = {
            r"GET /schemas/ids/(\d+)": self._by_id,
            r"GET /schemas/guids/([0-9a-f-]{36})": self._by_guid,
            r"GET /subjects/([^/]+)/versions/(\d+|latest)": self._version,
        }
        for pattern, answer in routes.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return answer(*map(unquote, match.groups()))
        match = re.fullmatch(r"/subjects/([^/]+)(/versions)?", path)
        if method != "POST" or match is None:
            return 405, {"error_code": 405, "message": f"HTTP 405 Method Not Allowed: {method} {path}"}
        if headers.get("Content-Type") != CONTENT_TYPE:
            return 415, {"error_code": 415, "message": "HTTP 415 Unsupported Media Type"}
        asked = _asked(body)
        if asked is None:
            return 422, {"error_code": 42201, "message": "Invalid schema"}
        return (self._register if match[2] else self._lookup)(unquote(match[1]), asked)

    def _by_id(self, number: str) -> tuple[int, Any]:
        if not 1 <= int(number) <= len(self.schemas):
            return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
        return 200, self.schemas[int(number) - 1]

    def _by_guid(self, guid: str) -> tuple[int, Any]:
        for schema in self.schemas:
            if schema["guid"] == guid:
                return 200, schema
        return 404, {"error_code": 40403, "message": f"Schema {guid} not found"}

    def _version(self, subject: str, version: str) -> tuple[int, Any]:
        if subject not in self._subjects:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        ids = self._subjects[subject]
        number = len(ids) if version == "latest" else int(version)
        if not 1 <= number <= len(ids):
            return 404, {"error_code": 40402, "message": f"Version {number} not found."}
        return 200, self._row(subject, number)

    def _row(self, subject: str, number: int) -> dict[str, Any]:
        found = self._subjects[subject][number - 1]
        return {"subject": subject, "version": number, "id": found, **self.schemas[found - 1]}

    def _lookup(self, subject: str, asked: dict[str, Any]) -> tuple[int, Any]:
        if subject not in self._subjects:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        for number, each in enumerate(self._subjects[subject], 1):
            if _same(self.schemas[each - 1], asked):
                return 200, self._row(subject, number)
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _register(self, subject: str, asked: dict[str, Any]) -> tuple[int, Any]:
        ids = self._subjects.setdefault(subject, [])
        for each in ids:
            if _same(self.schemas[each - 1], asked):
                return 200, {"id": each}
        if ids and not _reads(json.loads(asked["schema"]), json.loads(self.schemas[ids[-1] - 1]["schema"])):
            return 409, {
                "error_code": 409,
                "message": f'Schema being registered for subject "{subject}" is incompatible',
            }
        number = next((at for at, each in enumerate(self.schemas, 1) if _same(each, asked)), 0)
        if not number:
            self.schemas.append({**asked, "guid": str(uuid.uuid4())})
            number = len(self.schemas)
        ids.append(number)
        return 200, {"id": number}


def _asked(body: bytes) -> dict[str, Any] | None:
    """Return a well-formed request's body: a schema's text, its type and what it refers to, and nothing else."""
    try:
        asked = json.loads(body)
        if asked.get("schemaType", "AVRO") == "AVRO":
            json.loads(asked["schema"])
        known = set(asked) <= {"schema", "schemaType", "references"}
        well = all(set(each) == _REFERENCE for each in asked.get("references", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(asked) if known and well else None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("schemaType", "references")
    if any(one.get(key) != other.get(key) for key in keys):
        return False
    if one.get("schemaType", "AVRO") == "AVRO":
        return bool(json.loads(one["schema"]) == json.loads(other["schema"]))
    return bool(one["schema"] == other["schema"])


def _reads(new: Any, old: Any) -> bool:
    """Tell whether the new schema reads what the old one wrote: fields that were added have defaults."""
    if not (isinstance(new, dict) and isinstance(old, dict) and new.get("type") == old.get("type") == "record"):
        return bool(new == old)
    before = {field["name"]: field["type"] for field in old["fields"]}
    return all(
        before[field["name"]] == field["type"] if field["name"] in before else "default" in field
        for field in new["fields"]
    )


@contextmanager
def registry_server(
    user: str | None = None, password: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[RegistryServer]:
    """Lend a registry without schemas."""
    server = RegistryServer(user, password, certificate)
    try:
        yield server
    finally:
        server.close()
