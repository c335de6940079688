"""The response of an inference: one tensor for the predictions, one for the probabilities, and so on."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from schemas.label_spelling import class_key
from schemas.target import Target
from server.open_inference.inference_request import Inference, InvalidInference, Wanted
from server.open_inference.tensors import shown

PREDICTION: Final = "prediction"
PROBABILITIES: Final = "probabilities"
CLASSES: Final = "classes"
ERROR: Final = "error"
Datatype: TypeAlias = Literal["BOOL", "INT64", "FP64", "BYTES"]
_encoder: Final = msgspec.json.Encoder()
_LENGTH: Final = struct.Struct("<I")
_NAN: Final = float("nan")


class Row(NamedTuple):
    """What became of one row. `error` is empty if it was answered."""

    event_id: str
    version: str
    prediction: Any = None
    probabilities: dict[str, float] | None = None
    repeated: bool = False
    error: str = ""


@dataclass(frozen=True)
class OutputKind:
    """One output of a model, as its metadata describe it; `values` takes it out of the rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    values: Callable[[Sequence[Row]], list[Any]]


class Outputs:
    """All outputs of a stream's models."""

    def __init__(self, target: Target) -> None:
        self._classes = _known_classes(target)
        datatype = _prediction_type(target)
        convert = _CONVERT[datatype]
        kinds = [
            OutputKind(PREDICTION, datatype, (-1,), lambda rows: [_or_none(convert, row.prediction) for row in rows])
        ]
        if target.task in ("binary", "multiclass"):
            kinds.append(OutputKind(PROBABILITIES, "FP64", (-1, -1), self._shares))
            kinds.append(OutputKind(CLASSES, "BYTES", (-1,), self.classes))
        kinds += [
            OutputKind("event_id", "BYTES", (-1,), lambda rows: [row.event_id for row in rows]),
            OutputKind("model_version", "BYTES", (-1,), lambda rows: [row.version for row in rows]),
            OutputKind("repeated", "BOOL", (-1,), lambda rows: [row.repeated for row in rows]),
            OutputKind(ERROR, "BYTES", (-1,), lambda rows: [row.error for row in rows]),
        ]
        self.kinds = {kind.name: kind for kind in kinds}

    def classes(self, rows: Sequence[Row]) -> list[str]:
        """Return the names of the columns of `probabilities`: the stream's classes, else those in the rows."""
        found = {name for row in rows for name in row.probabilities or ()}
        return [*self._classes, *sorted(found.difference(self._classes))]

    def _shares(self, rows: Sequence[Row]) -> list[Any]:
        classes = self.classes(rows)
        none = [None] * len(classes)
        return [
            none if row.probabilities is None else [row.probabilities.get(name, 0.0) for name in classes]
            for row in rows
        ]

    def wanted(self, inference: Inference) -> list[Wanted]:
        """Return the outputs of a response. Raises InvalidInference if there is none of a name."""
        for each in inference.wanted:
            if each.name not in self.kinds:
                raise InvalidInference(f"there is no output {shown(each.name)}; there are {', '.join(self.kinds)}")
        return list(inference.wanted) or [Wanted(name, inference.all_binary) for name in self.kinds]


def failure(rows: Sequence[Row], inference: Inference) -> str | None:
    """Return why the whole request fails although some rows may have been answered, `None` if it does not.

    A caller who has not asked for the output `error` might not see that rows have no prediction.
    """
    bad = [row for row in rows if row.error]
    asked = {each.name for each in inference.wanted}
    if not bad or ERROR in asked or (not asked and len(bad) < len(rows)):
        return None
    said = f"event {shown(bad[0].event_id)}: {bad[0].error}"
    more = f" ({len(bad)} of {len(rows)} rows have no prediction)" if len(rows) > 1 else ""
    answered = "; the output `error`, if it is asked for, says which" if len(bad) < len(rows) else ""
    return said + more + answered


def response_body(
    head: dict[str, Any], rows: Sequence[Row], outputs: Outputs, wanted: Iterable[Wanted]
) -> tuple[bytes, int | None]:
    """Return the body of a response, and the length of its JSON, `None` if no tensor follows it."""
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for each in wanted:
        kind = outputs.kinds[each.name]
        values = kind.values(rows)
        shape = [len(values), len(outputs.classes(rows))] if len(kind.shape) == 2 else [len(values)]
        tensor: dict[str, Any] = {"name": kind.name, "shape": shape, "datatype": kind.datatype}
        if len(kind.shape) == 2:
            values = [one for row in values for one in row]
        if each.is_binary:
            data = _BINARY[kind.datatype](values)
            tensor["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            tensor["data"] = values
        tensors.append(tensor)
    text = _encoder.encode({**head, "outputs": tensors})
    return (b"".join((text, *binary)), len(text)) if binary else (text, None)


def _known_classes(target: Target) -> list[str]:
    if target.task == "binary":
        return ["false", "true"]
    return [] if target.classes is None else [class_key(each) for each in target.classes]


def _prediction_type(target: Target) -> Datatype:
    if target.task == "binary":
        return "BOOL"
    if target.task != "multiclass":
        return "FP64"
    return "INT64" if target.classes and all(type(each) is int for each in target.classes) else "BYTES"


_CONVERT: Final[dict[Datatype, Callable[[Any], Any]]] = {"BOOL": bool, "INT64": int, "FP64": float, "BYTES": class_key}


def _or_none(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


# Binary tensors have no null: a row without a prediction has NaN, 0, false or an empty text there.


def _texts(values: Sequence[str | None]) -> bytes:
    parts: list[bytes] = []
    for each in values:
        text = (each or "").encode()
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


_BINARY: Final[dict[Datatype, Callable[[Sequence[Any]], bytes]]] = {
    "BOOL": lambda values: bytes(map(bool, values)),
    "INT64": lambda values: np.array([each or 0 for each in values], "<i8").tobytes(),
    "FP64": lambda values: np.array([_NAN if each is None else each for each in values], "<f8").tobytes(),
    "BYTES": _texts,
}
