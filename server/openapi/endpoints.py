"""The table of all HTTP endpoints: what each takes, what it answers, and the scope that it needs.

The OpenAPI document and the page ``/docs`` are made from it, and a test compares it with the routes of the server.
"""

from __future__ import annotations

from typing import Final

from consumers.roles import CONSOLE
from server.openapi.endpoint import BINARY, JSON, NDJSON, Answer, Endpoint, Parameter, Scope

_VERSION_HEADERS: Final = ("X-Model-Version", "X-Event-Id")
_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "Id of an event that has none; of the events of a larger request, followed by - and the row.",
)
_MIN_VERSION: Final = Parameter("min_version", "query", "The least version that may answer, such as 3/81000.")
_WAIT: Final = Parameter("wait", "query", "Time to wait for `min_version`, such as 500ms or 2s; at most 30 s.")
_PREDICTS: Final = (_KEY, _MIN_VERSION, _WAIT)
_MODEL: Final = Parameter("model", "path", "Name of the stream.")
_VERSION: Final = Parameter("version", "path", "The version that serves, such as 3-81000; 3%2F81000 is taken too.")
_JSON_LENGTH: Final = Parameter(
    "Inference-Header-Content-Length",
    "header",
    "Length of the JSON, if binary tensors follow it.",
    {"type": "integer", "minimum": 0},
)
_ID: Final = Parameter("id", "path", "Id of the event.")
_UPLOAD: Final = Parameter("id", "path", "Id of the upload.")
_TUS: Final = Parameter("Tus-Resumable", "header", "Version of the tus protocol.", {"const": "1.0.0"})
_PART_AT: Final = Parameter("Upload-Offset", "header", "Where the part begins.", {"type": "integer", "minimum": 0})
_CHECKSUM: Final = Parameter("Upload-Checksum", "header", "sha1, md5 or sha256, and the part's digest in base64.")
_IMPORTED_WITHIN: Final = Parameter("wait", "query", "Time to wait for the import; at most 30 s.")
_LIMIT: Final = Parameter(
    "limit", "query", "Most rows of the answer; 100 by default.", {"type": "integer", "minimum": 1, "maximum": 1000}
)
_BEFORE: Final = Parameter(
    "before", "query", "The `before` of the page that came after it.", {"type": "integer", "minimum": 0}
)


def _probe(path: str, scope: Scope | None, says: str, schema: str, *parameters: Parameter) -> Endpoint:
    errors = (404, 503) if parameters else (503,)
    answers = {200: Answer("Yes.", {JSON: schema})}
    return Endpoint(
        method="get", path=path, scope=scope, says=says, answers=answers, parameters=parameters, errors=errors
    )


_PREDICTIONS_AND_LABELS: Final = (
    Endpoint(
        method="post",
        path="/v1/predict",
        scope="predict",
        says="Answers one event, or many: each row has its own answer or error. A stream with a mapped source "
        "also takes that source's raw message.",
        takes={JSON: "PredictRequest", NDJSON: "Lines", BINARY: ""},
        example={"event_id": "order-17", "features": {"amount": 12.5, "country": "DE"}},
        parameters=_PREDICTS,
        answers={200: Answer("The answers.", {JSON: "PredictResponse", NDJSON: "Lines"}, _VERSION_HEADERS)},
        errors=(409, 422),
    ),
    Endpoint(
        method="post",
        path="/v1/labels",
        scope="label",
        says="Takes labels and corrections, one or many.",
        takes={JSON: "LabelsRequest", NDJSON: "Lines"},
        example={"event_id": "order-17", "value": True},
        parameters=(_KEY,),
        answers={
            200: Answer("What became of each row.", {JSON: "LabelsResponse", NDJSON: "Lines"}),
            202: Answer("The label is taken.", {JSON: "Taken"}),
        },
        errors=(422,),
    ),
    Endpoint(
        method="post",
        path="/v1/metrics/{name}",
        scope="metric",
        says="Takes values of a downstream metric, one or many, if the stream's file has metrics_from='http'.",
        takes={JSON: "MetricRequest", NDJSON: "Lines"},
        example={"value": 31.5},
        parameters=(Parameter("name", "path", "Name of the metric, such as orders."), _KEY),
        answers={
            200: Answer("What became of each row.", {JSON: "MetricResponse", NDJSON: "Lines"}),
            202: Answer("The value is taken.", {JSON: "MetricTaken"}),
        },
        errors=(404, 422),
    ),
)


def _v2(path: str, *parameters: Parameter) -> tuple[Endpoint, ...]:
    return (
        Endpoint(
            method="get",
            path=path,
            scope="predict",
            says="Describes the model: its inputs, outputs, and the version that serves.",
            parameters=parameters,
            answers={200: Answer("The metadata.", {JSON: "ModelMetadata"})},
            errors=(404,),
        ),
        _probe(f"{path}/ready", "predict", "Answers whether the model answers.", "ModelReady", *parameters),
        Endpoint(
            method="post",
            path=f"{path}/infer",
            scope="predict",
            says="Answers the rows of some tensors; each row is an event. Tensors are JSON, or binary behind the JSON.",
            takes={JSON: "InferenceRequest", BINARY: ""},
            example={
                "id": "orders-5",
                "inputs": [{"name": "amount", "shape": [2], "datatype": "FP64", "data": [12.5, 990.0]}],
            },
            parameters=(*parameters, _JSON_LENGTH, *_PREDICTS),
            answers={
                200: Answer(
                    "The outputs.",
                    {JSON: "InferenceResponse", BINARY: ""},
                    ("X-Model-Version", "Inference-Header-Content-Length"),
                )
            },
            errors=(404, 409, 415, 422),
        ),
    )


_OPEN_INFERENCE: Final = (
    Endpoint(
        method="get",
        path="/v2",
        scope="predict",
        says="Describes the server.",
        answers={200: Answer("The metadata.", {JSON: "ServerMetadata"})},
    ),
    _probe("/v2/health/live", "predict", "Answers that the process lives.", "Live"),
    _probe("/v2/health/ready", "predict", "Answers whether requests should come here.", "Ready"),
    *_v2("/v2/models/{model}", _MODEL),
    *_v2("/v2/models/{model}/versions/{version}", _MODEL, _VERSION),
)

_OF_PARTS: Final = (404, 409, 412, 415, 423, 460, 507)


def _tus_options(path: str, *parameters: Parameter) -> Endpoint:
    return Endpoint(
        method="options",
        path=path,
        scope="upload",
        says="Names the version and the extensions of tus.",
        parameters=parameters,
        answers={204: Answer("In the headers.", {}, ("Tus-Version", "Tus-Extension", "Tus-Max-Size"))},
    )


_UPLOADS: Final = (
    Endpoint(
        method="post",
        path="/v1/uploads",
        scope="upload",
        says="Takes more training data, streamed: CSV, TSV, JSON lines or Avro. The same content twice adds nothing. "
        "With `Tus-Resumable` it begins a resumable upload (tus 1.0).",
        takes={"text/csv": "", "text/tab-separated-values": "", NDJSON: "Lines", BINARY: ""},
        parameters=(
            Parameter("name", "query", "Name of the file; its end says the format."),
            Parameter("strict", "query", "Import nothing if any row is refused.", {"type": "boolean"}),
            _IMPORTED_WITHIN,
            _TUS,
            Parameter("Upload-Length", "header", "Its size, bytes; resumable.", {"type": "integer", "minimum": 0}),
            Parameter("Upload-Metadata", "header", "filename, filetype and strict of a resumable upload, in base64."),
        ),
        answers={
            200: Answer("Rows taken, rows refused and why.", {JSON: "Object"}),
            201: Answer("A resumable upload has begun.", {}, ("Location", "Tus-Resumable")),
            202: Answer("The file is taken; its import is not done yet.", {JSON: "Object"}, ("Location",)),
        },
        errors=(412, 415, 422, 460, 507),
    ),
    _tus_options("/v1/uploads"),
    _tus_options("/v1/uploads/{id}", _UPLOAD),
    Endpoint(
        method="get",
        path="/v1/uploads/{id}",
        scope="upload",
        says="Says what became of an upload.",
        parameters=(_UPLOAD, _IMPORTED_WITHIN),
        answers={200: Answer("Rows taken, rows refused and why.", {JSON: "Object"})},
        errors=(404,),
    ),
    Endpoint(
        method="head",
        path="/v1/uploads/{id}",
        scope="upload",
        says="Says how much of a resumable upload has come.",
        parameters=(_UPLOAD, _TUS),
        answers={200: Answer("In the headers.", {}, ("Upload-Offset", "Upload-Length"))},
        errors=(404, 412),
    ),
    Endpoint(
        method="patch",
        path="/v1/uploads/{id}",
        scope="upload",
        says="Takes the next part of a resumable upload.",
        takes={"application/offset+octet-stream": ""},
        parameters=(_UPLOAD, _TUS, _PART_AT, _CHECKSUM),
        answers={204: Answer("The part is taken.", {}, ("Upload-Offset",))},
        errors=_OF_PARTS,
    ),
    Endpoint(
        method="post",
        path="/v1/uploads/{id}",
        scope="upload",
        says="PATCH and DELETE for clients that cannot send them.",
        takes={"application/offset+octet-stream": ""},
        parameters=(
            _UPLOAD,
            Parameter("X-HTTP-Method-Override", "header", "The method.", {"enum": ["PATCH", "DELETE"]}),
            _TUS,
            _PART_AT,
            _CHECKSUM,
        ),
        answers={204: Answer("It is done.", {}, ("Upload-Offset",))},
        errors=_OF_PARTS,
    ),
    Endpoint(
        method="delete",
        path="/v1/uploads/{id}",
        scope="upload",
        says="Ends a resumable upload and removes what has come.",
        parameters=(_UPLOAD, _TUS),
        answers={204: Answer("It is gone.")},
        errors=(404, 409, 423),
    ),
)


def _console(path: str, scope: Scope, says: str, *parameters: Parameter) -> Endpoint:
    return Endpoint(
        method="get",
        path=path,
        scope=scope,
        says=says,
        parameters=parameters,
        answers={200: Answer("As the command prints it with `--json`.", {JSON: "Object"})},
        errors=(404, 409) if "{" in path else (),
        role=CONSOLE,
    )


def _decision(name: str, says: str, takes: str = "Decision") -> Endpoint:
    return Endpoint(
        method="post",
        path=f"/v1/{name}",
        scope="admin",
        says=says,
        takes={JSON: takes},
        example={"why": "the shop moved"} | _FURTHER.get(name, {}),
        answers={200: Answer("The decision.", {JSON: "Object"})},
        errors=(404, 409, 415, 422),
        role=CONSOLE,
    )


_FURTHER: Final[dict[str, dict[str, str]]] = {
    "pin": {"version": "3/81000"},
    "adopt": {"version": "3/81000"},
    "promote": {"model": "forest"},
    "ack": {"alert": "monitor.drift"},
    "silence": {"alert": "monitor.drift", "for": "2h"},
    "unsilence": {"alert": "monitor.drift"},
    "jobs": {"model": "gbdt"},
    "cancel": {"job": "gbdt.2026-05-01T02:00:00Z"},
}
"""What the example of a decision says beside the reason."""

_CONSOLE: Final = (
    _console("/v1/status", "read", "The stream's status, as `millstream status`."),
    _console("/v1/models", "read", "All versions, as `millstream models list`."),
    _console(
        "/v1/models/{version}",
        "read",
        "One version, as `millstream models show`.",
        Parameter("version", "path", "Such as 3%2F81000."),
    ),
    _console("/v1/decisions", "read", "All decisions, newest first, as `millstream models history`."),
    _console(
        "/v1/alerts",
        "read",
        "The newest alerts, in their order, and, without `before`, those that are raised now, as `open`.",
        _LIMIT,
        _BEFORE,
    ),
    _console(
        "/v1/jobs", "read", "The newest jobs that train batch models, newest first, as `millstream jobs list`.", _LIMIT
    ),
    _console(
        "/v1/jobs/{id}",
        "read",
        "One job: its records and its result, as `millstream jobs show`.",
        Parameter("id", "path", "Such as gbdt.2026-05-01T02:00:00Z."),
    ),
    _console("/v1/events/{id}", "data", "What became of an event, as `millstream trace`.", _ID),
    _console(
        "/v1/dead-letters",
        "data",
        "The newest dead letters, in their order.",
        _LIMIT,
        _BEFORE,
    ),
    _decision("pin", "Serves `version` until it is unpinned."),
    _decision("unpin", "Serves the newest version again."),
    _decision("promote", "Serves another of the stream's models, `model`: its newest version, and each that follows."),
    _decision("rollback", "Serves `version`; without one, the version or the model that served before."),
    _decision("adopt", "Continues to learn from `version`, which was rebuilt."),
    _decision("pause", "Stops learning of `model`, by default the stream's own."),
    _decision("resume", "Learns again, with `model`."),
    _decision(
        "ack", "Acknowledges an `alert` that is raised: it is delivered again only when it clears.", "AlertDecision"
    ),
    _decision("silence", "Does not deliver an `alert` for a time, `for`.", "AlertDecision"),
    _decision(
        "unsilence",
        "Ends the silence of an `alert`; if it was first raised during it, and still is, it is delivered now.",
        "AlertDecision",
    ),
    _decision(
        "jobs", "Asks for a training of a batch `model`, on the log `from` a time or an offset `to` one.", "JobWish"
    ),
    _decision("cancel", "Cancels a `job` that has not ended.", "JobWish"),
)

_ITSELF: Final = (
    _probe("/livez", None, "Answers that the process lives.", "Live"),
    _probe("/readyz", None, "Answers whether requests should come here.", "Ready"),
    Endpoint(
        method="get",
        path="/openapi.json",
        scope=None,
        says="This description.",
        answers={200: Answer("An OpenAPI 3.1 document.", {JSON: "Object"})},
    ),
    Endpoint(
        method="get",
        path="/docs",
        scope=None,
        says="This description as a page.",
        answers={200: Answer("A page.", {"text/html": ""})},
    ),
)

ENDPOINTS: Final = (*_PREDICTIONS_AND_LABELS, *_OPEN_INFERENCE, *_UPLOADS, *_CONSOLE, *_ITSELF)


def described_by(role: str) -> tuple[Endpoint, ...]:
    """Return the endpoints that a role describes: a server those of the console too, a console its own."""
    return (*_CONSOLE, *_ITSELF) if role == CONSOLE else ENDPOINTS
