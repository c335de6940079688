"""Avro single-object encoding of events: ``C3 01``, 8-byte schema fingerprint, then the fields.

An Avro record is encoded as its fields one after the other. `Example` begins with the fields of `Prediction`, which
begins with `Event`, so a stage can append bytes and decode only the fields it needs.

Source: Apache Avro 1.12 specification, "Single-object encoding" and "Schema fingerprints".
"""

from __future__ import annotations

import json
from importlib import resources
from io import BytesIO
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

MAGIC: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10

_FILES: Final = {
    "Event": "event",
    "Outcome": "outcome",
    "Prediction": "prediction",
    "Label": "label",
    "Example": "example",
    "Tick": "tick",
    "ModelUpdate": "model_update",
    "Adoption": "adoption",
    "ModelLearning": "model_learning",
    "Promotion": "promotion",
    "Rollback": "rollback",
    "Shadow": "shadow",
    "ShadowTick": "shadow_tick",
    "Comparison": "comparison",
    "Window": "window",
    "Metric": "metric",
    "DeadLetter": "dead_letter",
    "Alert": "alert",
    "AlertNote": "alert_note",
    "Job": "job",
    "JobState": "job_state",
}


class CodecError(ValueError):
    """The bytes are not an event that Millstream can read; the message describes what they are."""


def full_schema(name: str) -> dict[str, Any]:
    """Return the self-contained schema of `name` (``"Event"``, ``"Prediction"``, …).

    Another service can pass it to its own Avro library.
    """
    expanded = _expand(_read(name), defined=set())
    assert isinstance(expanded, dict)  # noqa: S101 - every file holds a record
    return expanded


def _read(name: str) -> dict[str, Any]:
    text = resources.files("schemas").joinpath("avro", f"{_FILES[name]}.avsc").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _expand(node: Any, defined: set[str]) -> Any:
    """Insert a referenced schema at its first use; later uses refer to it by name."""
    if isinstance(node, list):
        return [_expand(part, defined) for part in node]
    if isinstance(node, dict):
        if node.get("type") == "record":
            defined.add(node["name"])
        return {key: _expand(part, defined) if key in _TYPE_KEYS else part for key, part in node.items()}
    if isinstance(node, str) and node.startswith("millstream."):
        short = node.removeprefix("millstream.")
        return node if short in defined else _expand(_read(short), defined)
    return node


_TYPE_KEYS: Final = frozenset({"type", "fields", "items", "values"})


def _without_logical_types(node: Any) -> Any:
    """Remove logical types, so that times stay integers: datetime objects would double the cost of decoding."""
    if isinstance(node, list):
        return [_without_logical_types(part) for part in node]
    if isinstance(node, dict):
        return {key: _without_logical_types(part) for key, part in node.items() if key != "logicalType"}
    return node


def _two_bytes() -> bytes:
    """Return the first two bytes of every varint of more than two, in the order of its 14 lowest bits."""
    pairs = bytearray(2 << 14)
    pairs[0::2] = bytes(range(0x80, 0x100)) * 128
    for high in range(128):
        pairs[high * 256 + 1 : (high + 1) * 256 : 2] = bytes([high | 0x80]) * 128
    return bytes(pairs)


_TWO_BYTES: Final = _two_bytes()
_ONE_BYTE: Final = [bytes([value]) for value in range(0x80)]


def long(value: int) -> bytes:
    r"""Return an Avro int or long: zigzag, seven bits in each byte.

    >>> long(-1), long(64)
    (b'\x01', b'\x80\x01')
    """
    value = value << 1 if value >= 0 else ~(value << 1)
    out = b""
    while value >= 1 << 14:
        at = value << 1 & 0x7FFE
        out += _TWO_BYTES[at : at + 2]
        value >>= 14
    return out + (_ONE_BYTE[value] if value <= 0x7F else bytes((value & 0x7F | 0x80, value >> 7)))


def is_utf8(raw: bytes) -> bool:
    """Return whether the bytes are a text that Avro can read."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def string(value: str) -> bytes:
    """Return an Avro string: its length in bytes, then UTF-8."""
    data = value.encode()
    size = len(data)
    return (_ONE_BYTE[size << 1] if size < 0x40 else long(size)) + data


class Codec:
    """Encodes and decodes one kind of event.

    Attributes
    ----------
    header
        The ten bytes at the beginning of every encoded event of this kind.
    """

    def __init__(self, name: str, schema: dict[str, Any] | None = None) -> None:
        self.name = name
        schema = schema or full_schema(name)
        # The canonical form has no logical types and no docs, so every client computes the same fingerprint.
        canonical = to_parsing_canonical_form(schema)
        self.fingerprint = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        self.header = MAGIC + self.fingerprint
        self._schema = parse_schema(_without_logical_types(schema), named_schemas={})

    def encode(self, fields: dict[str, Any]) -> bytes:
        """Return header and body."""
        return self.header + self.encode_body(fields)

    def encode_body(self, fields: dict[str, Any]) -> bytes:
        """Return only the fields, to be appended to other bytes.

        Raises
        ------
        CodecError
            If a value does not fit the schema.
        """
        out = BytesIO()
        try:
            fastavro.schemaless_writer(out, self._schema, fields)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CodecError(f"not an event of kind {self.name}: {error}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the fields as a dict.

        Raises
        ------
        CodecError
            If the header is of another kind, or the body is truncated or malformed.
        """
        if not data.startswith(self.header):
            raise CodecError(_what_instead(self.name, data))
        return self.decode_body(data, HEADER_BYTES)

    def decode_body(self, data: bytes, start: int = 0) -> dict[str, Any]:
        """Decode `data` from `start` to its end, without a header; raise CodecError if bytes are left over."""
        source = BytesIO(data)
        source.seek(start)
        try:
            fields = fastavro.schemaless_reader(source, self._schema, None)
        except (
            EOFError,
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            StopIteration,
            OverflowError,
            MemoryError,
        ) as error:
            raise CodecError(f"damaged {self.name}: {type(error).__name__} while decoding {len(data)} bytes") from error
        assert isinstance(fields, dict)  # noqa: S101 - every schema of Millstream is a record
        if source.tell() != len(data):
            raise CodecError(f"damaged {self.name}: {len(data) - source.tell()} bytes too many")
        return fields


_ALSO_JSON: Final = ("Event", "Label")  # external senders may write these in JSON


def _what_instead(name: str, data: bytes) -> str:
    if not data:
        return f"not an event of kind {name}: the message is empty"
    if not data.startswith(MAGIC):
        begins = data[:4].hex(" ")
        instead = "neither an Avro single object nor JSON" if name in _ALSO_JSON else "no Avro single object"
        return f"not an event of kind {name}: {len(data)} bytes that begin {begins}, {instead}"
    for codec in _KINDS:
        if data.startswith(codec.header):
            return f"not an event of kind {name}: the message holds a {codec.name}"
    return f"not an event of kind {name}: unknown schema fingerprint {data[2:10].hex()}"


EVENT: Final = Codec("Event")
OUTCOME: Final = Codec("Outcome")
PREDICTION: Final = Codec("Prediction")
LABEL: Final = Codec("Label")
EXAMPLE: Final = Codec("Example")


def _example_tail() -> dict[str, Any]:
    """Return the schema of an Example's fields after those of its Prediction."""
    schema = full_schema("Example")
    tail = [field for field in schema["fields"] if field["name"] not in ("event", "outcome")]
    return {**schema, "name": "ExampleTail", "fields": tail}


EXAMPLE_TAIL: Final = Codec("ExampleTail", _example_tail())


def _without_event(name: str) -> dict[str, Any]:
    """Return the schema of the fields after the Event."""
    schema = full_schema(name)
    return {**schema, "name": f"{name}Rest", "fields": [f for f in schema["fields"] if f["name"] != "event"]}


EXAMPLE_REST: Final = Codec("ExampleRest", _without_event("Example"))
TICK: Final = Codec("Tick")
MODEL_UPDATE: Final = Codec("ModelUpdate")
ADOPTION: Final = Codec("Adoption")
MODEL_LEARNING: Final = Codec("ModelLearning")
PROMOTION: Final = Codec("Promotion")
ROLLBACK: Final = Codec("Rollback")
SHADOW: Final = Codec("Shadow")
SHADOW_TICK: Final = Codec("ShadowTick")
COMPARISON: Final = Codec("Comparison")
WINDOW: Final = Codec("Window")
METRIC: Final = Codec("Metric")
DEAD_LETTER: Final = Codec("DeadLetter")
ALERT: Final = Codec("Alert")
ALERT_NOTE: Final = Codec("AlertNote")
JOB: Final = Codec("Job")
JOB_STATE: Final = Codec("JobState")
_KINDS: Final = (
    EVENT,
    PREDICTION,
    LABEL,
    EXAMPLE,
    TICK,
    MODEL_UPDATE,
    ADOPTION,
    MODEL_LEARNING,
    PROMOTION,
    ROLLBACK,
    SHADOW,
    SHADOW_TICK,
    COMPARISON,
    WINDOW,
    METRIC,
    DEAD_LETTER,
    ALERT,
    ALERT_NOTE,
    JOB,
    JOB_STATE,
)
