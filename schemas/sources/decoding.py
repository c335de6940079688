"""Decoding of external messages to plain Python values.

The format is recognised for each message:

- a header ``__value_schema_id``, or a first byte of 0 (then a 4-byte id) or 1 (then a 16-byte GUID): the framing of a
  schema registry, which says whether Avro or JSON follows;
- ``C3 01``: an Avro single object, with a schema of Millstream or of the source;
- anything else is JSON; with ``format="avro"`` and a schema, bare Avro.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES, MAGIC, CodecError
from schemas.json_text import NO_JSON, json_text, why_no_json
from schemas.sources.source import InvalidSource
from schemas.sources.writer_schema import InvalidSchema, WriterSchema, schema_at, schema_of

if TYPE_CHECKING:
    from schemas.schema_registry import Registered, Registry, SchemaKey
    from schemas.sources.source import Format, Source

Headers: TypeAlias = Sequence[tuple[str, bytes]]
Decode: TypeAlias = Callable[[bytes, Headers], Any]
SCHEMA_HEADER: Final = "__value_schema_id"
_ID_BYTES: Final = {0: 4, 1: 16}
_OURS: Final = {
    each.header: each
    for each in (codec.EVENT, codec.PREDICTION, codec.LABEL, codec.EXAMPLE, codec.DEAD_LETTER, codec.ALERT)
}
_json: Final = msgspec.json.Decoder()


def decoder(source: Source, registry: Registry | None = None) -> Decode:
    """Return the function that decodes a message's bytes and headers to nested dicts, lists and scalars.

    The returned function raises `CodecError` if the bytes are not in the source's format. It does not catch
    `schemas.schema_registry.RegistryError`, because an outage of the registry is not the message's fault.

    >>> from schemas.sources.source import Source
    >>> decoder(Source(topic="payments"))(b'{"payment": {"amount": 12.5}}', ())
    {'payment': {'amount': 12.5}}

    Raises
    ------
    InvalidSource
        If the source's schema cannot be used, or its format needs a registry and there is none.
    """
    if source.format == "registry" and registry is None:
        raise InvalidSource(
            f"Source: the messages of {source.topic} are framed by a schema registry, and none is named: "
            "set MILLSTREAM_REGISTRY_URL, or url under [registry] in millstream.toml"
        )
    return _Decoder(source, source_schema(source), registry).decode


def source_schema(source: Source) -> WriterSchema | None:
    """Return the source's own schema, if it has one. Raises InvalidSource if the schema is invalid."""
    if source.schema is None:
        return None
    try:
        return WriterSchema(schema_at(source.schema))
    except InvalidSchema as error:
        raise InvalidSource(f"Source: schema of {source.topic}: {error}") from error


class _Decoder:
    def __init__(self, source: Source, schema: WriterSchema | None, registry: Registry | None) -> None:
        self._format = source.format
        self._schema = schema
        self._registry = registry
        self._known: dict[SchemaKey, WriterSchema | CodecError | None] = {}

    def decode(self, data: bytes, headers: Headers = ()) -> Any:
        if not data:
            raise CodecError("the message is empty")
        if self._format == "json":
            return _from_json(data)
        framed = self._frame(data, headers)
        if framed is not None:
            return self._registered(*framed, data)
        if self._format == "registry":
            raise CodecError(f"not framed by a schema registry: {_begins(data)}")
        if data.startswith(MAGIC):
            return self._single_object(data)
        if self._format == "avro":
            return self._bare(data)
        return _from_json(data)

    def _frame(self, data: bytes, headers: Headers) -> tuple[SchemaKey, int] | None:
        """Return the id or GUID of the registered schema and the payload's start, if the message names one."""
        if self._format == "avro":
            return None
        for name, value in reversed(headers):
            if name == SCHEMA_HEADER:
                key = _schema_key(value)
                if key is None or len(value) != 1 + _ID_BYTES[value[0]]:
                    raise CodecError(f"the header {SCHEMA_HEADER} holds neither an id nor a GUID: {_begins(value)}")
                return key, 0
        key = _schema_key(data)
        return None if key is None else (key, 1 + _ID_BYTES[data[0]])

    def _registered(self, key: SchemaKey, start: int, data: bytes) -> Any:
        schema = self._writer(key)
        return _from_json(data[start:]) if schema is None else schema.read(data, start)

    def _writer(self, key: SchemaKey) -> WriterSchema | None:
        """Return the writer's schema, `None` for JSON."""
        if key not in self._known:
            if self._registry is None:
                raise CodecError(
                    f"framed by a schema registry (schema {_shown(key)}), and none is named: "
                    "set MILLSTREAM_REGISTRY_URL"
                )
            found = self._registry.schema(key)  # an unknown id is not cached: it may be registered soon
            try:
                self._known[key] = readable(found)
            except CodecError as error:
                self._known[key] = CodecError(f"schema {_shown(key)} of the registry: {error}")
        schema = self._known[key]
        if isinstance(schema, CodecError):
            raise CodecError(str(schema))
        return schema

    def _single_object(self, data: bytes) -> Any:
        if self._schema is not None and data[2:HEADER_BYTES] == self._schema.fingerprint:
            return self._schema.read(data, HEADER_BYTES)
        ours = _OURS.get(data[:HEADER_BYTES])
        if ours is not None:
            return ours.decode(data)
        if self._schema is not None and self._format == "avro":
            return self._schema.read(data)
        raise CodecError(
            f"an Avro single object of an unknown schema, fingerprint {data[2:HEADER_BYTES].hex()}: "
            "give it to the source as schema="
        )

    def _bare(self, data: bytes) -> Any:
        if self._schema is None:
            raise CodecError(
                f"no Avro single object: {_begins(data)}; for Avro without a header give the source its schema="
            )
        return self._schema.read(data)


def readable(found: Registered) -> WriterSchema | None:
    """Return the reader for messages of a registered schema, `None` for JSON.

    Raises
    ------
    CodecError
        If the schema has another type, or cannot be used.
    """
    if found.kind == "JSON":
        return None
    if found.kind != "AVRO":
        raise CodecError(f"it is of type {found.kind}; Avro and JSON are read")
    return WriterSchema(schema_of(found.text), [schema_of(part) for part in found.parts])


def _schema_key(framed: bytes) -> SchemaKey | None:
    """Return the id or GUID at the beginning of a frame: byte 0 and four more, or byte 1 and sixteen.

    >>> _schema_key(bytes([0, 0, 0, 1, 2, 99]))
    258
    """
    if not framed or framed[0] not in _ID_BYTES:
        return None
    size = _ID_BYTES[framed[0]]
    if len(framed) < 1 + size:
        return None
    name = framed[1 : 1 + size]
    return int.from_bytes(name, "big") if size == 4 else uuid.UUID(bytes=name)


def form_of(data: bytes, headers: Headers) -> Format:
    """Return the `Source.format` that fits a message."""
    if any(name == SCHEMA_HEADER for name, _ in headers) or _schema_key(data) is not None:
        return "registry"
    return "avro" if data.startswith(MAGIC) else "json"


def _from_json(data: bytes) -> Any:
    text = json_text(data)
    try:
        return _json.decode(text)
    except NO_JSON as error:
        raise CodecError(f"not JSON: {why_no_json(error, text)} ({_begins(data)})") from error


def _shown(key: SchemaKey) -> str:
    return f"id {key}" if isinstance(key, int) else f"GUID {key}"


def _begins(data: bytes) -> str:
    return f"{len(data)} bytes that begin {data[:6].hex(' ')}" if data else "no bytes"
