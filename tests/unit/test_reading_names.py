"""Types by name in schemas of others: those of another schema, and those named like a kind of type."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from registry_server import registry_server

from schemas import codec
from schemas.codec import CodecError
from schemas.schema_registry import Registry, RegistrySettings
from schemas.sources.decoding import decoder, readable
from schemas.sources.source import Source
from schemas.sources.unsupported_fields import unmappable
from schemas.sources.writer_schema import WriterSchema

NODE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
CARD = {"type": "record", "name": "Card", "namespace": "shop", "fields": [{"name": "c", "type": "string"}]}


@pytest.mark.parametrize(
    ("top", "body", "expected"),
    [
        (["null", "shop.Card"], b"\x02\x02a", {"c": "a"}),
        ({"type": "array", "items": "shop.Card"}, b"\x02\x02a\x00", [{"c": "a"}]),
        ({"type": "map", "values": "shop.Card"}, b"\x02\x02k\x02a\x00", {"k": {"c": "a"}}),
        ({"type": "array", "items": ["null", "shop.Card"]}, b"\x04\x00\x02\x02a\x00", [None, {"c": "a"}]),
        ("shop.Card", b"\x02a", {"c": "a"}),
        ({"type": {**NODE, "fields": [{"name": "n", "type": ["null", "shop.Card"]}]}}, b"\x02\x02a", {"n": {"c": "a"}}),
    ],
)
def test_a_schema_that_is_no_record_may_refer_to_others(top: Any, body: bytes, expected: Any) -> None:
    with registry_server() as server:
        server.add("card", CARD)
        number = server.add("t", top, references=[{"name": "shop.Card", "subject": "card", "version": 1}])
        registry = Registry(RegistrySettings((server.url,), patience_s=0))
        decode = decoder(Source(topic="payments"), registry)
        frame = b"\x00" + number.to_bytes(4, "big")
        assert decode(frame + body, ()) == expected
        with pytest.raises(CodecError, match="damaged Avro"):
            decode(frame + body + b"\x00", ())
        found = registry.latest("t")
        assert found is not None
        schema = readable(found)
        assert schema is not None
        assert all("an array of" in each for each in unmappable(schema))


def read(data: bytes, schema: Any) -> Any:
    return WriterSchema(schema).read(data)


def called(name: str, inner: str, field: Any) -> dict[str, Any]:
    """Return a schema whose first field is a record of that name, and whose second holds what is to be counted."""
    record = {"type": "record", "name": name, "fields": [{"name": "a", "type": inner}]}
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": record}, {"name": "b", "type": field}]}


HOLLOW = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "hidden"),
    [
        (called("array", "null", {"type": "array", "items": "null"}), codec.long(10**6) + b"\x00"),
        (called("record", "null", {"type": "array", "items": HOLLOW}), codec.long(10**6) + b"\x00"),
        (called("map", "null", {"type": "map", "values": NODE}), b"\x02\x00" + b"\x02" * 3_000_000 + b"\x00\x00"),
    ],
)
def test_a_record_with_the_name_of_a_kind_of_type_hides_none(schema: Any, hidden: bytes) -> None:
    with pytest.raises(CodecError, match=r"values in \d bytes|nested over 100 deep"):
        read(hidden, schema)


@pytest.mark.parametrize("name", ["array", "map", "record", "enum", "fixed", "union"])
def test_a_reference_by_such_a_name_is_read_or_damage_and_nothing_else(name: str) -> None:
    for inner in (name, {"type": "array", "items": name}):
        with suppress(CodecError):
            assert read(b"\x02\x00", called(name, "null", inner))["a"] == {"a": None}
