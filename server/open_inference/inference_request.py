"""The request of an inference: its JSON, the binary tensors behind it, and the events that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from consumers.predictor.feature_requests import LONGEST_ID
from schemas.contract import Contract
from schemas.events import Event, not_json
from schemas.json_text import NO_JSON, json_text
from server.answering.made_ids import made_id
from server.answering.requests import check_count, check_values
from server.open_inference import tensors
from server.open_inference.tensors import DATATYPES, InvalidTensor, Tensor, shown

EVENT_ID: Final = "event_id"
EVENT_TIME: Final = "event_time"
ENTITY_KEY: Final = "entity_key"
_MOST_ID_CHARS: Final = 1000
_BINARY_SIZE: Final = "binary_data_size"
_LONGEST_NUMBER: Final = 18

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class InvalidInference(ValueError):  # noqa: N818
    """The request cannot be read; nothing of it was logged."""


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: list[_Size]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Inference(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    outputs: list[_Output] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


_inference: Final = msgspec.json.Decoder(_Inference)


@dataclass(frozen=True)
class Wanted:
    """An output as it is asked for."""

    name: str
    is_binary: bool


@dataclass(frozen=True)
class Inference:
    """A request that was read.

    Attributes
    ----------
    wanted
        Outputs in the order in which they are asked for; empty if none are named.
    all_binary
        True if outputs are binary when none are named.
    """

    id: str | None
    features: Sequence[Tensor]
    event_ids: Tensor | None
    event_times: Tensor | None
    entity_keys: Tensor | None
    rows: int
    wanted: Sequence[Wanted]
    all_binary: bool

    @property
    def width(self) -> int:
        """Return the number of values in a row."""
        return sum(each.width for each in self.features)

    def events(self, begin: int, end: int, key: str | None, now_ms: int) -> list[Event]:
        """Return the events of some rows.

        Parameters
        ----------
        key
            Begins the ids of events if the request gives neither their ids nor an id of its own.
        now_ms
            Time of events without one.
        """
        names = [each.name for each in self.features]
        columns = [each.values(begin, end) for each in self.features]
        ids, times, keys = (_values(each, begin, end) for each in (self.event_ids, self.event_times, self.entity_keys))
        before = self.id or key
        found: list[Event] = []
        for at in range(end - begin):
            made = made_id(now_ms) if before is None else f"{before}-{begin + at}"
            features = dict(zip(names, (column[at] for column in columns), strict=True))
            event_id = made if ids[at] is None else ids[at]
            found.append(Event(event_id, times[at] or now_ms, features, keys[at]))
        return found


def read_inference(body: bytes, json_bytes: str | None, contract: Contract, longest_vector: int) -> Inference:
    """Read a request.

    Parameters
    ----------
    json_bytes
        Header `Inference-Header-Content-Length`: length of the JSON, behind which binary tensors follow.
    longest_vector
        Most numbers that a row of one tensor may have.

    Raises
    ------
    InvalidInference, InvalidTensor
        If it cannot be read; the message says why.
    TooMany
        If it has too many rows, or values.
    """
    length = len(body) if json_bytes is None else _length(json_bytes, len(body))
    text = json_text(body[:length])
    check_values(text)
    try:
        asked = _inference.decode(text)
    except NO_JSON as error:
        raise InvalidInference(not_json("an inference request", error, text)) from error
    if asked.id is not None and len(asked.id) > _MOST_ID_CHARS:
        raise InvalidInference(f"the id has {len(asked.id)} characters; at most {_MOST_ID_CHARS} are taken")
    found = {each.name: each for each in _tensors(asked.inputs, memoryview(body)[length:], longest_vector)}
    rows = _rows(asked.inputs, found)
    ids, times, keys = (found.pop(name, None) for name in (EVENT_ID, EVENT_TIME, ENTITY_KEY))
    return Inference(
        asked.id or None,
        [_feature(each, contract) for each in found.values()],
        _ids(ids),
        _times(times),
        _texts(keys),
        rows,
        _wanted(asked),
        _flag(asked.parameters, "binary_data_output", otherwise=False),
    )


def _values(tensor: Tensor | None, begin: int, end: int) -> Sequence[Any]:
    return [None] * (end - begin) if tensor is None else tensor.values(begin, end)


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER and int(text) <= most):
        raise InvalidInference(
            f"Inference-Header-Content-Length is {shown(text)}, which is no length within the body of {most} bytes"
        )
    return int(text)


def _tensors(inputs: Sequence[_Input], binary: memoryview, longest_vector: int) -> list[Tensor]:
    """Read all inputs; those in binary lie behind each other, in the inputs' order."""
    found: list[Tensor] = []
    at = 0
    for each in inputs:
        rows, width = tensors.shape_of(each.name, each.shape, longest_vector)
        check_count(rows)
        if each.datatype not in DATATYPES:
            raise InvalidTensor(
                f"input {shown(each.name)} has the datatype {shown(each.datatype)}; there are {', '.join(DATATYPES)}"
            )
        size = (each.parameters or {}).get(_BINARY_SIZE)
        if (size is None) == (not bytes(each.data)):
            raise InvalidTensor(f"input {shown(each.name)} must have either data or the parameter {_BINARY_SIZE}")
        if size is None:
            flat = tensors.from_json(each.name, each.datatype, bytes(each.data), width)
        else:
            if type(size) is not int or not 0 <= size <= len(binary) - at:
                left = len(binary) - at
                raise InvalidTensor(
                    f"input {shown(each.name)}: {_BINARY_SIZE} is {str(size)[:40]}; {left} bytes are left"
                )
            flat = tensors.from_bytes(each.name, each.datatype, binary[at : at + size], rows * width)
            at += size
        if len(flat) != rows * width:
            raise InvalidTensor(f"input {shown(each.name)} has {len(flat)} values; its shape says {rows * width}")
        found.append(Tensor(each.name, each.datatype, flat, rows, width))
    if at != len(binary):
        raise InvalidInference(f"{len(binary) - at} bytes follow the JSON that belong to no input")
    return found


def _rows(inputs: Sequence[_Input], found: dict[str, Tensor]) -> int:
    """Return the number of rows, which all inputs have in common."""
    if not inputs:
        raise InvalidInference("there are no inputs; each feature is one")
    if len(found) < len(inputs):
        raise InvalidInference("two inputs have the same name")
    first = next(iter(found.values()))
    for each in found.values():
        if each.rows != first.rows:
            raise InvalidInference(
                f"input {shown(each.name)} has {each.rows} rows, and {shown(first.name)} has {first.rows}"
            )
    return first.rows


def _feature(tensor: Tensor, contract: Contract) -> Tensor:
    declared = contract.features.get(tensor.name)
    kind = None if declared is None else declared.type
    if tensor.width > 1 or (kind == "vector" and tensor.datatype not in ("BYTES", "BOOL")):
        return tensors.as_vectors(tensor)
    if tensor.datatype != "BYTES":
        return tensor
    return tensors.as_bytes(tensor) if kind == "bytes" else tensors.as_texts(tensor)


def _ids(tensor: Tensor | None) -> Tensor | None:
    found = _texts(tensor)
    if found is None:
        return None
    for each in found.flat:
        if each is not None and not 0 < len(each) <= LONGEST_ID:
            raise InvalidInference(f"an {EVENT_ID} has {len(each)} characters; 1 to {LONGEST_ID} are taken")
    return found


def _texts(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    if tensor.datatype != "BYTES" or tensor.width != 1:
        raise InvalidTensor(f"input {shown(tensor.name)} must be BYTES, one text a row")
    return tensors.as_texts(tensor)


def _times(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    if tensor.datatype not in tensors.WHOLE_NUMBERS or tensor.width != 1:
        raise InvalidTensor(f"input {shown(tensor.name)} must be INT64, milliseconds since 1970, one number a row")
    return tensor


def _wanted(asked: _Inference) -> list[Wanted]:
    binary = _flag(asked.parameters, "binary_data_output", otherwise=False)
    outputs = asked.outputs or []
    wanted = [Wanted(each.name, _flag(each.parameters, "binary_data", otherwise=binary)) for each in outputs]
    for each in outputs:
        for name in ("classification", "shared_memory_region"):
            if name in (each.parameters or {}):
                raise InvalidInference(f"output {shown(each.name)}: the extension for {name} is not there")
    if len({each.name for each in wanted}) < len(wanted):
        raise InvalidInference("an output is asked for twice")
    return wanted


def _flag(parameters: dict[str, Any] | None, name: str, *, otherwise: bool) -> bool:
    found = (parameters or {}).get(name, otherwise)
    if not isinstance(found, bool):
        raise InvalidInference(f"the parameter {name} must be true or false")
    return found
