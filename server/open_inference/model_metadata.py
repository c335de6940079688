"""Metadata of a model: inputs, from the contract or from events that it has learned, and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from consumers.predictor.predictor import ServedVersion
from schemas.contract import Contract, FeatureType
from schemas.events import Features, FeatureValue
from server.open_inference.inference_response import Outputs

_DATATYPES: Final[dict[FeatureType, str]] = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "string": "BYTES",
    "bytes": "BYTES",
    "vector": "FP64",
}
_OF_CLASS: Final[dict[type, str]] = {
    bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES", bytes: "BYTES", list: "FP64"
}  # fmt: skip


def model_metadata(
    name: str, contract: Contract, outputs: Outputs, serving: ServedVersion | None, version: str | None
) -> dict[str, Any]:
    """Return what ``GET /v2/models/{model}`` answers; `version` is the one that serves, in the form of a URL."""
    seen: Iterable[Features] = () if serving is None else serving.probes
    return {
        "name": name,
        "versions": [] if version is None else [version],
        "platform": "millstream",
        "inputs": _inputs(contract, seen),
        "outputs": [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)} for each in outputs.kinds.values()
        ],
    }


def _inputs(contract: Contract, seen: Iterable[Features]) -> list[dict[str, Any]]:
    """Return the declared features; if others are kept, or none is declared, also those of events that were learned."""
    found = {
        name: _input(name, _DATATYPES[each.type], is_vector=each.type == "vector")
        for name, each in contract.features.items()
    }
    if not contract.features or contract.unknown == "keep":
        computed = () if contract.calendar is None else contract.calendar.names
        for features in seen:
            for name, value in features.items():
                if name not in contract.features and name not in computed and value is not None:
                    found[name] = _input_of(name, value, found.get(name))
    return list(found.values())


def _input_of(name: str, value: FeatureValue, before: dict[str, Any] | None) -> dict[str, Any]:
    datatype = _OF_CLASS[type(value)]
    if before is not None and {before["datatype"], datatype} == {"INT64", "FP64"}:
        datatype = "FP64"  # whole numbers among others
    return _input(name, datatype, is_vector=isinstance(value, list))


def _input(name: str, datatype: str, *, is_vector: bool) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, -1] if is_vector else [-1]}
