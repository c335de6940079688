"""External Avro schema: checked, and prepared to decode plain values.

Logical types are converted to values for features and times:

- ``decimal``: the nearest double; without decimal places and beyond 2^53, the whole number itself.
- ``uuid``: text; an enum: its symbol; a fixed: bytes.
- ``timestamp-millis``, ``-micros`` and ``-nanos``, local ones too: whole ms since 1970, rounded down; ``date``: those
  of its midnight in UTC.
- ``time-millis`` and ``time-micros``: whole ms since midnight.
- ``duration`` and every other logical type: its underlying type.

The cost of a schema or a message must not exceed its size. With a schema that refers to itself, the decoding library
would overflow the stack, and from five bytes it would make a list of a billion nulls that fills the memory. Messages of
schemas that allow this are checked first (`schemas/sources/avro_limits.py`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, fingerprint, parse_schema, to_parsing_canonical_form

from schemas.codec import CodecError
from schemas.exact_integers import EXACT
from schemas.sources.avro_limits import Types, Walk, needs_walk

PRIMITIVE: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "string", "bytes"})
_WRAPPER: Final = "millstream.OfNoRecord"
_DEEPEST: Final = 64
_MOST_PARTS: Final = 10_000
_MOST_DIGITS: Final = 400  # after the decimal point; smaller numbers underflow a double
_DAMAGE: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, StopIteration, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def _decimal(data: bytes, schema: Mapping[str, Any], _reader: object = None) -> int | float:
    """Decode a decimal: an unscaled whole number, big-endian two's complement, with a scale.

    The result is the nearest double. A number without decimal places, such as an id, stays an integer if a double may
    round it.
    """
    unscaled, scale = int.from_bytes(data, "big", signed=True), int(schema.get("scale", 0))
    if scale == 0 and abs(unscaled) > EXACT:
        return unscaled
    return float(unscaled / 10**scale)


def _micros(value: int, _writer: object = None, _reader: object = None) -> int:
    return value // 1000


def _nanos(value: int, _writer: object = None, _reader: object = None) -> int:
    return value // 1_000_000


def _days(value: int, _writer: object = None, _reader: object = None) -> int:
    return value * 86_400_000


def _uuid(data: bytes, _writer: object = None, _reader: object = None) -> str:
    return str(uuid.UUID(bytes=data))


# Millstream's own names, so that the meaning of the standard names does not change for other users of the library.
_LOGICAL: Final[dict[tuple[str, str], str]] = {
    ("bytes", "decimal"): "millstream-decimal",
    ("fixed", "decimal"): "millstream-decimal",
    ("fixed", "uuid"): "millstream-uuid",
    ("int", "date"): "millstream-date",
    ("long", "timestamp-micros"): "millstream-micros",
    ("long", "local-timestamp-micros"): "millstream-micros",
    ("long", "time-micros"): "millstream-micros",
    ("long", "timestamp-nanos"): "millstream-nanos",
    ("long", "local-timestamp-nanos"): "millstream-nanos",
}
_READERS: Final[dict[str, Callable[..., Any]]] = {
    "bytes-millstream-decimal": _decimal,
    "fixed-millstream-decimal": _decimal,
    "fixed-millstream-uuid": _uuid,
    "int-millstream-date": _days,
    "long-millstream-micros": _micros,
    "long-millstream-nanos": _nanos,
}
fastavro.read.LOGICAL_READERS.update(_READERS)


class InvalidSchema(CodecError):  # noqa: N818
    """A schema cannot be used; the message says why."""


class WriterSchema:
    """Decodes data that was written with one Avro schema.

    Parameters
    ----------
    schema
        The schema as decoded JSON.
    parts
        Schemas that `schema` refers to by name, each after those that it refers to itself.

    Attributes
    ----------
    fingerprint
        Eight bytes that identify the schema in single objects.

    Raises
    ------
    InvalidSchema
        If it is not a valid Avro schema, or is nested too deeply or too large.
    """

    def __init__(self, schema: Any, parts: Sequence[Any] = ()) -> None:
        named: dict[str, Any] = {}
        try:
            for part in parts:
                parse_schema(_plain(part), named_schemas=named)
            # The library resolves referenced types only in a record, so another type is wrapped as the only field of a
            # record, which has the same bytes.
            self._wrapped = bool(parts) and not _is_record(schema)
            whole = {"type": "record", "name": _WRAPPER, "fields": [{"name": "value", "type": schema}]}
            made: Any = parse_schema(_plain(whole if self._wrapped else schema), named_schemas=named)
            canonical = to_parsing_canonical_form(made)
        except (SchemaParseException, *_DAMAGE, AttributeError) as error:
            raise InvalidSchema(f"not an Avro schema: {_said(error)}") from error
        self._reads = made
        self.parsed = made["fields"][0]["type"] if self._wrapped else made
        self.types: Types = named
        self.fingerprint = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        self._walked = needs_walk(self.parsed, self.types)

    def read(self, data: bytes, start: int = 0) -> Any:
        """Decode `data` from `start` on, to its end.

        Raises
        ------
        CodecError
            If the data is truncated, malformed or too long, or holds more values than its size allows.
        """
        if self._walked:
            Walk(data, start, self.types).whole(self.parsed)
        source = BytesIO(data)
        source.seek(start)
        try:
            value: Any = fastavro.schemaless_reader(source, self._reads, None)
        except _DAMAGE as error:
            raise CodecError(f"damaged Avro: {_said(error)} in {len(data)} bytes") from error
        if source.tell() != len(data):
            raise CodecError(f"damaged Avro: {len(data) - source.tell()} bytes too many")
        return value["value"] if self._wrapped else value


def _is_record(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in ("record", "error")


def schema_at(given: str | Path | Mapping[str, Any]) -> Any:
    """Return a schema as decoded JSON, given itself, its text or its file. Raises InvalidSchema.

    >>> schema_at('{"type": "string"}')
    {'type': 'string'}
    """
    if isinstance(given, Mapping):
        return dict(given)
    text = given.strip() if isinstance(given, str) else ""
    if text[:1] not in ("{", "["):
        path = Path(given)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSchema(f"the schema file {path.absolute()} cannot be read: {_said(error)}") from error
    return schema_of(text)


def schema_of(text: str) -> Any:
    """Decode a schema's JSON. Raises InvalidSchema if it is invalid.

    In a registry a bare name such as ``string`` may have no quotes.
    """
    if text in PRIMITIVE:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSchema(f"not an Avro schema: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__


def _plain(schema: Any) -> Any:
    """Return the schema with only the parts needed for decoding, and with Millstream's logical types."""
    left = [_MOST_PARTS]
    return _part(schema, 0, left)


def _part(node: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > _DEEPEST:
        raise InvalidSchema(f"its types are nested over {_DEEPEST} deep")
    if left[0] < 0:
        raise InvalidSchema(f"it has over {_MOST_PARTS} types")
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return [_part(each, depth + 1, left) for each in node]
    if not isinstance(node, Mapping):
        raise InvalidSchema(f"a type is written as {type(node).__name__}")
    kind = node["type"]
    if not isinstance(kind, str):
        return _part(kind, depth + 1, left)
    size = node.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidSchema(f"the size of a fixed is {size!r:.40}")
    made = {key: node[key] for key in ("type", "name", "namespace", "symbols", "size") if key in node}
    if kind in ("record", "error"):
        made["fields"] = [
            {"name": each["name"], "type": _part(each["type"], depth + 1, left)} for each in node["fields"]
        ]
    for inner in ("items", "values"):
        if inner in node:
            made[inner] = _part(node[inner], depth + 1, left)
    return made | _logical(kind, node)


def _logical(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return Millstream's form of a logical type; an invalid one is ignored, as Avro requires."""
    ours = _LOGICAL.get((kind, str(node.get("logicalType"))))
    if ours is None or (ours == "millstream-uuid" and node.get("size") != 16):
        return {}
    if ours != "millstream-decimal":
        return {"logicalType": ours}
    scale = node.get("scale", 0)
    if not isinstance(scale, int) or isinstance(scale, bool) or not 0 <= scale <= _MOST_DIGITS:
        return {}
    return {"logicalType": ours, "scale": scale}
