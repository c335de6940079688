"""JSON Schemas of what the endpoints take and answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

_LONG: Final = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_TEXT: Final = {"type": "string"}
_REASON: Final = {"type": "string", "minLength": 1, "maxLength": 1000}
_VERSION: Final = {"type": "string", "examples": ["3/81000"]}
_URL_VERSION: Final = {"type": "string", "examples": ["3-81000"]}
_FLAG: Final = {"type": "boolean"}
_EDGE: Final = {"type": ["string", "integer"], "description": "A time as 2026-05-01T12:00 or 6h (ago), or an offset."}
_DATATYPE: Final = {
    "enum": [
        *("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *("FP16", "FP32", "FP64", "BF16", "BYTES"),
    ]
}


def ref(name: str) -> dict[str, str]:
    """Return a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": required.split()} if required else {})}


def _closed(required: str, **properties: Any) -> dict[str, Any]:
    return {**_object(required, **properties), "additionalProperties": False}


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _any_of(*of: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(of)}


_PREDICTION: Final = {
    "type": ["boolean", "integer", "number", "string", "object", "null"],
    "description": "null if the model does not decide.",
}
_VALUE: Final = {
    "type": ["boolean", "number", "string", "array", "null"],
    "items": {"type": "number"},
    "description": "A number, a text, true or false, or a vector of numbers; null if it is missing.",
}
_EVENT_ID: Final = {"type": "string", "minLength": 1, "maxLength": 1024}
_TENSOR: Final = {
    "name": _TEXT,
    "shape": _list({"type": "integer", "minimum": -1}),
    "datatype": _DATATYPE,
    "parameters": {"type": ["object", "null"]},
    "data": _list({}),
}

SCHEMAS: Final[dict[str, Any]] = {
    "Object": {"type": "object"},
    "Lines": {"type": "string", "description": "One JSON object a line."},
    "Features": {
        "type": "object",
        "additionalProperties": _VALUE,
        "examples": [{"amount": 12.5, "country": "DE"}],
    },
    "Event": _closed(
        "features",
        features=ref("Features"),
        event_id=_EVENT_ID,
        event_time={**_LONG, "description": "Milliseconds since 1970, UTC."},
        entity_key={"type": ["string", "null"]},
    ),
    "Events": _closed("events", events=_list(ref("Event"))),
    "PredictRequest": _any_of(ref("Event"), ref("Events")),
    "Answer": _object(
        "event_id prediction probabilities model version predicted_at",
        event_id=_TEXT,
        prediction=_PREDICTION,
        probabilities={"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        model=_TEXT,
        version=_VERSION,
        predicted_at={**_LONG, "description": "Milliseconds since 1970, UTC."},
        repeated={**_FLAG, "description": "True if the event was answered before: this is that answer."},
    ),
    "Answers": _object("answers", answers=_list(_any_of(ref("Answer"), ref("Error")))),
    "PredictResponse": _any_of(ref("Answer"), ref("Answers")),
    "Label": _closed(
        "event_id value",
        event_id=_EVENT_ID,
        value={"type": ["boolean", "number", "string", "object"]},
        label_time={**_LONG, "description": "Milliseconds since 1970, UTC."},
        weight={"type": "number", "minimum": 0},
        source={"enum": ["system", "human", "import"]},
        kind={"enum": ["label", "correction"]},
    ),
    "Labels": _closed("labels", labels=_list(ref("Label"))),
    "LabelsRequest": _any_of(ref("Label"), ref("Labels")),
    "Taken": _object("event_id taken", event_id=_TEXT, taken=_FLAG, repeated=_FLAG),
    "LabelsResponse": _object("labels", labels=_list(_any_of(ref("Taken"), ref("Error")))),
    "MetricValue": _closed(
        "value",
        value={"type": "number"},
        time={**_LONG, "description": "Milliseconds since 1970, UTC; by default, the time at which it comes."},
    ),
    "MetricValues": _closed("values", values=_list(ref("MetricValue"))),
    "MetricRequest": _any_of(ref("MetricValue"), ref("MetricValues")),
    "MetricTaken": _object("metric taken", metric=_TEXT, taken=_FLAG, repeated=_FLAG),
    "MetricResponse": _object("values", values=_list(_any_of(ref("MetricTaken"), ref("Error")))),
    "Error": _object("error", error=_object("code message", code=_TEXT, message=_TEXT), event_id=_TEXT),
    "Decision": _closed(
        "why", why={"type": "string", "minLength": 1, "maxLength": 1000}, version=_VERSION, model=_TEXT
    ),
    "AlertDecision": _closed(
        "why alert",
        why={"type": "string", "minLength": 1, "maxLength": 1000},
        alert=_TEXT,
        **{"for": {"type": "string", "description": "How long: 30m, 2h, 7d."}},
    ),
    "JobWish": _closed(
        "why",
        why={"type": "string", "minLength": 1, "maxLength": 1000},
        model={"type": "string", "description": "Of a job that is asked for: a batch model."},
        job={"type": "string", "description": "Of one that is to be cancelled: its id."},
        **{"from": _EDGE, "to": _EDGE},
    ),
    "Live": _object("live", live=_FLAG),
    "Ready": _object("ready", ready=_FLAG),
    "ServerMetadata": _object("name version extensions", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "ModelReady": _object("name ready", name=_TEXT, ready=_FLAG),
    "TensorMetadata": _object(
        "name datatype shape", name=_TEXT, datatype=_DATATYPE, shape=_list({"type": "integer", "minimum": -1})
    ),
    "ModelMetadata": _object(
        "name versions platform inputs outputs",
        name=_TEXT,
        versions=_list(_URL_VERSION),
        platform=_TEXT,
        inputs=_list(ref("TensorMetadata")),
        outputs=_list(ref("TensorMetadata")),
    ),
    "Input": {
        **_object("name shape datatype", **_TENSOR),
        "description": "`data`, or the parameter `binary_data_size` if its values follow the JSON.",
        "examples": [{"name": "amount", "shape": [2], "datatype": "FP64", "data": [12.5, 3]}],
    },
    "RequestedOutput": _object("name", name=_TEXT, parameters={"type": ["object", "null"]}),
    "InferenceRequest": _object(
        "inputs",
        id={"type": ["string", "null"], "maxLength": 1000},
        parameters={"type": ["object", "null"]},
        inputs={**_list(ref("Input")), "minItems": 1},
        outputs={"type": ["array", "null"], "items": ref("RequestedOutput")},
    ),
    "InferenceResponse": _object(
        "model_name model_version outputs",
        model_name=_TEXT,
        model_version=_URL_VERSION,
        id=_TEXT,
        outputs=_list(_object("name shape datatype", **_TENSOR)),
    ),
    "InferenceError": _object("error", error=_TEXT),
}
_REF: Final = re.compile(rb'"#/components/schemas/(\w+)"')


def schemas_of(names: Iterable[str]) -> dict[str, Any]:
    """Return the schemas of these names, with those that they refer to."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += map(bytes.decode, _REF.findall(msgspec.json.encode(SCHEMAS[name])))
    return {name: schema for name, schema in SCHEMAS.items() if name in found}
