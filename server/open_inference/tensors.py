"""Tensors of a request: one input with a value, or a vector, for each row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np

from runtime.kafka_client import size_limits
from schemas.events import FeatureValue, not_json
from schemas.json_text import NO_JSON

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
_LONG: Final = 2**63
_EXACT: Final = 2**53  # doubles hold all whole numbers up to here
_LENGTH_BYTES: Final = 4
LONGEST_VECTOR: Final = size_limits.EVENT // 8
_SHOWN: Final = 50
_NESTED: Final = re.compile(rb"\[\s*\[")

# Little-endian, as the binary extension has it. BF16 is the upper half of an FP32.
_WHOLE: Final = {"INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}
_UNSIGNED: Final = {"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"}
_FLOATS: Final = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_NUMPY: Final = {"BOOL": "<u1", **_WHOLE, **_UNSIGNED, **_FLOATS, "BF16": "<u2"}
DATATYPES: Final = (*_NUMPY, "BYTES")
WHOLE_NUMBERS: Final = frozenset((*_WHOLE, *_UNSIGNED))


class InvalidTensor(ValueError):  # noqa: N818
    """A tensor cannot be read; the message names it."""


@dataclass(frozen=True)
class Tensor:
    """One input.

    Attributes
    ----------
    flat
        All values, row by row; NaN or `None` where one is missing.
    rows, width
        Number of rows, and of values in each.
    is_vector
        True if a row's value is a list, even if it holds a single number.
    """

    name: str
    datatype: str
    flat: Array | list[Any]
    rows: int
    width: int = 1
    is_vector: bool = False

    def values(self, begin: int, end: int) -> Sequence[FeatureValue]:
        """Return the values of some rows as plain Python values."""
        part = self.flat[begin * self.width : end * self.width]
        plain: list[Any] = part if isinstance(part, list) else part.tolist()
        if not self.is_vector:
            return plain
        return [plain[at : at + self.width] for at in range(0, len(plain), self.width)]


def shape_of(name: str, shape: Sequence[int], longest: int = LONGEST_VECTOR) -> tuple[int, int]:
    """Return the numbers of rows and of values in each row, of which there are at most `longest`.

    >>> shape_of("x", [3]), shape_of("x", [3, 1]), shape_of("x", [3, 8])
    ((3, 1), (3, 1), (3, 8))

    Raises
    ------
    InvalidTensor
        If the shape is none of these, has a zero, or is of vectors that no event can hold.
    """
    if not 0 < len(shape) <= 2 or 0 in shape:
        raise InvalidTensor(f"input {shown(name)} has the shape {list(shape)[:8]}; [N], [N, 1] or [N, d] is taken")
    width = shape[1] if len(shape) == 2 else 1
    if width > (most := min(longest, LONGEST_VECTOR)):
        raise InvalidTensor(
            f"input {shown(name)} has {width} numbers a row; {most} are taken, of 8 bytes each (--largest-event)"
        )
    return shape[0], width


def shown(name: str) -> str:
    """Return a name as a message has it: quoted, and not long."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


# --- JSON ------------------------------------------------------------------------------------------------


def _decoders(kind: Any) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]:
    return msgspec.json.Decoder(list[kind | None]), msgspec.json.Decoder(list[list[kind | None]])


def _ranged(dtype: str) -> Any:
    low, high = np.iinfo(dtype).min, min(np.iinfo(dtype).max, _LONG - 1)
    return Annotated[int, msgspec.Meta(ge=int(low), le=int(high))]


_JSON: Final = {
    "BOOL": _decoders(bool),
    "BYTES": _decoders(str),
    **{name: _decoders(_ranged(dtype)) for name, dtype in (_WHOLE | _UNSIGNED).items()},
    **{name: _decoders(float) for name in (*_FLOATS, "BF16")},
}


def from_json(name: str, datatype: str, data: bytes, width: int) -> Array | list[Any]:
    """Return the values in the JSON of a tensor, flat or nested, as its datatype holds them.

    >>> from_json("x", "INT8", b"[[1, 2], [3, null]]", 2)
    [1, 2, 3, None]

    Raises
    ------
    InvalidTensor
        If it is not a list of such values, or a value is beyond the datatype.
    """
    flat, nested = _JSON[datatype]
    try:
        if _NESTED.match(data) is None:
            values = flat.decode(data)
        else:
            rows = nested.decode(data)
            if any(len(row) != width for row in rows):
                raise InvalidTensor(f"input {shown(name)} has rows of other lengths than its shape says")
            values = [value for row in rows for value in row]
    except InvalidTensor:
        raise
    except NO_JSON as error:
        raise InvalidTensor(f"input {shown(name)}: {not_json(datatype, error, data)}") from error
    return _as_floats(name, datatype, values) if datatype in _FLOATS or datatype == "BF16" else values


def _as_floats(name: str, datatype: str, values: list[float | None]) -> Array:
    """Return numbers rounded to the datatype, so that they are those that the binary form of the tensor would hold."""
    with np.errstate(over="ignore"):
        found = np.array(values, dtype=np.float64).astype(_FLOATS.get(datatype, "<f4"))
    if np.isinf(found).any():
        raise InvalidTensor(f"input {shown(name)} has a number that {datatype} cannot hold")
    return found


# --- binary ----------------------------------------------------------------------------------------------


def from_bytes(name: str, datatype: str, data: memoryview, count: int) -> Array | list[bytes]:
    """Return the values in the binary form of a tensor. Raises InvalidTensor if they are not `count`."""
    if datatype == "BYTES":
        return _texts(name, data, count)
    dtype = np.dtype(_NUMPY[datatype])
    if len(data) != count * dtype.itemsize:
        raise InvalidTensor(
            f"input {shown(name)} has {len(data)} bytes; {count} values of {datatype} have {count * dtype.itemsize}"
        )
    found: Array = np.frombuffer(data, dtype)
    if datatype == "BOOL":
        found = found != 0
    elif datatype == "BF16":
        found = (found.astype("<u4") << np.uint32(16)).view("<f4")
    elif datatype == "UINT64" and int(found.max()) >= _LONG:
        raise InvalidTensor(f"input {shown(name)} has a whole number beyond 63 bits: send it as BYTES")
    return found


def _texts(name: str, data: memoryview, count: int) -> list[bytes]:
    """Return texts that each follow their length, in 4 bytes."""
    if len(data) < count * _LENGTH_BYTES:
        raise InvalidTensor(f"input {shown(name)} has {len(data)} bytes, which are too few for {count} lengths")
    whole = bytes(data)
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(whole[at:begin], "little")
        if at > len(whole):
            raise InvalidTensor(f"input {shown(name)} ends within its text {len(found)}")
        found.append(whole[begin:at])
    if at != len(whole):
        raise InvalidTensor(f"input {shown(name)} has {len(whole) - at} bytes after its {count} texts")
    return found


# --- as features ---------------------------------------------------------------------------------------


def as_texts(tensor: Tensor) -> Tensor:
    """Return a tensor of BYTES as texts. Raises InvalidTensor if one is not UTF-8."""
    try:
        texts = [each.decode() if isinstance(each, bytes) else each for each in tensor.flat]
    except UnicodeDecodeError as error:
        raise InvalidTensor(f"input {shown(tensor.name)} has a text that is not UTF-8") from error
    return Tensor(tensor.name, tensor.datatype, texts, tensor.rows, tensor.width)


def as_bytes(tensor: Tensor) -> Tensor:
    """Return a tensor of BYTES as bytes, those of JSON in UTF-8."""
    texts = [each.encode() if isinstance(each, str) else each for each in tensor.flat]
    return Tensor(tensor.name, tensor.datatype, texts, tensor.rows, tensor.width)


def as_vectors(tensor: Tensor) -> Tensor:
    """Return a tensor of numbers as vectors of doubles.

    Raises
    ------
    InvalidTensor
        If it does not hold numbers, one is missing, or a double would round one.
    """
    if tensor.datatype in ("BYTES", "BOOL"):
        raise InvalidTensor(f"input {shown(tensor.name)} has vectors of {tensor.datatype}; vectors are of numbers")
    flat = tensor.flat
    if isinstance(flat, list) and None in flat:
        raise InvalidTensor(f"input {shown(tensor.name)} has a vector with a null in it")
    if tensor.datatype in WHOLE_NUMBERS and any(abs(int(end)) > _EXACT for end in (min(flat), max(flat))):
        raise InvalidTensor(f"input {shown(tensor.name)} has a vector with a number that FP64 would round")
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        doubles = np.asarray(flat, dtype=np.float64)
    return Tensor(tensor.name, tensor.datatype, doubles, tensor.rows, tensor.width, is_vector=True)
