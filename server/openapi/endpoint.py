"""One HTTP endpoint: what it takes, what it answers, and the scope that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from consumers.roles import CONSOLE, SERVER

Scope: TypeAlias = Literal["predict", "label", "metric", "upload", "read", "data", "admin"]
Content: TypeAlias = Mapping[str, str]
"""By media type, the name of a schema in `server.openapi.schemas`; empty for any bytes."""
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True)
class Parameter:
    """A parameter. `schema` is JSON Schema."""

    name: str
    place: Literal["path", "query", "header"]
    says: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Answer:
    """A response of a status that is not an error."""

    says: str
    content: Content = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes
    ----------
    says
        One sentence: what it does.
    example
        A body in JSON.
    errors
        Statuses of errors, besides those that every endpoint may have.
    """

    method: Literal["get", "post", "head", "patch", "delete", "options"]
    path: str
    scope: Scope | None
    says: str
    answers: Mapping[int, Answer]
    takes: Content = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    role: str = SERVER

    @property
    def schemas(self) -> set[str]:
        """Return the names of the schemas that it takes and answers, and that of its errors."""
        contents = (self.takes, *(answer.content for answer in self.answers.values()))
        return {*(name for each in contents for name in each.values() if name), self.error_schema}

    @property
    def error_schema(self) -> str:
        """Return the name of the schema of its errors."""
        return "InferenceError" if self.path.startswith("/v2") else "Error"

    @property
    def group(self) -> str:
        """Return the heading under which it stands."""
        if self.role == CONSOLE:
            return "Console"
        groups = {
            "/v2": "Open Inference Protocol V2",
            "/v1/uploads": "Uploads",
            "/v1/": "Predictions, labels and metrics",
        }
        return next((group for begin, group in groups.items() if self.path.startswith(begin)), "Health and description")
