"""Messages of others: told apart by their bytes, decoded to plain values, and refused in one sentence."""

from __future__ import annotations

import datetime
import json
import random
import time
import uuid
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from registry_server import RegistryServer, registry_server

from schemas import codec
from schemas.codec import CodecError
from schemas.events import Event, Label
from schemas.schema_registry import Registry, RegistrySettings
from schemas.sources.decoding import SCHEMA_HEADER, decoder
from schemas.sources.source import InvalidSource, Source
from schemas.sources.unsupported_fields import unmappable, unmapped
from schemas.sources.writer_schema import WriterSchema

PAYMENT: dict[str, Any] = {
    "type": "record",
    "name": "Payment",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "seen", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "clock", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}},
        {"name": "mark", "type": {"type": "fixed", "name": "Mark", "size": 2}},
        {
            "name": "card",
            "type": ["null", {"type": "record", "name": "Card", "fields": [{"name": "country", "type": "string"}]}],
        },
        {"name": "tags", "type": {"type": "map", "values": "double"}},
        {"name": "items", "type": {"type": "array", "items": "float"}},
        {"name": "last", "type": ["null", "Status"]},
    ],
}
WRITTEN = {
    "id": uuid.UUID(int=7),
    "amount": Decimal("12.34"),
    "at": datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC),
    "seen": datetime.datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=datetime.UTC),
    "day": datetime.date(1970, 1, 11),
    "clock": datetime.time(0, 0, 2, 5999),
    "status": "PAID",
    "mark": b"\x00\xff",
    "card": {"country": "DE"},
    "tags": {"a": 1.5},
    "items": [0.5, 2.0],
    "last": "NEW",
}
READ = {
    "id": str(uuid.UUID(int=7)),
    "amount": 12.34,
    "at": 1_714_979_289_123,
    "seen": 1_714_979_289_123,
    "day": 10 * 24 * 3600 * 1000,
    "clock": 2005,
    "status": "PAID",
    "mark": b"\x00\xff",
    "card": {"country": "DE"},
    "tags": {"a": 1.5},
    "items": [0.5, 2.0],
    "last": "NEW",
}


def bare(schema: Any, value: Any) -> bytes:
    """Return what the Avro library writes."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def asking(server: RegistryServer) -> Registry:
    return Registry(RegistrySettings((server.url,), patience_s=0))


def read(data: bytes, headers: Any = (), registry: Registry | None = None, **of: Any) -> Any:
    return decoder(Source(topic="payments", **of), registry)(data, headers)


def test_logical_types_become_plain_values() -> None:
    assert read(bare(PAYMENT, WRITTEN), format="avro", schema=PAYMENT) == READ


@pytest.mark.parametrize(("logical", "size"), [("timestamp-nanos", 10**6), ("local-timestamp-micros", 10**3)])
def test_times_are_whole_milliseconds_rounded_down_before_1970_too(logical: str, size: int) -> None:
    schema = {"type": "long", "logicalType": logical}
    written = [read(bare("long", ms * size - 1), format="avro", schema=schema) for ms in (1_700_000_000_000, 0)]
    assert written == [1_699_999_999_999, -1]


@pytest.mark.parametrize(
    ("schema", "data", "expected"),
    [
        ({"type": "fixed", "name": "d", "size": 3, "logicalType": "decimal", "scale": 3}, b"\xff\xff\xfe", -0.002),
        ({"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"}, bytes(16), str(uuid.UUID(int=0))),
        # What is not valid as a logical type is what it is underneath, as Avro says.
        ({"type": "bytes", "logicalType": "decimal", "scale": -1}, b"\x02\x05", b"\x05"),
        ({"type": "bytes", "logicalType": "decimal", "scale": 10**9}, b"\x02\x05", b"\x05"),
        ({"type": "fixed", "name": "m", "size": 12, "logicalType": "duration"}, bytes(12), bytes(12)),
        ({"type": "string", "logicalType": "whatever"}, b"\x02a", "a"),
    ],
)
def test_rarer_logical_types(schema: Any, data: bytes, expected: Any) -> None:
    assert read(data, format="avro", schema=schema) == expected


def test_other_users_of_the_avro_library_still_get_its_own_types() -> None:
    read(bare(PAYMENT, WRITTEN), format="avro", schema=PAYMENT)
    back = fastavro.schemaless_reader(BytesIO(bare(PAYMENT, WRITTEN)), fastavro.parse_schema(PAYMENT), None)
    assert back == WRITTEN


def test_auto_tells_every_form_apart_message_by_message() -> None:
    event = Event("e1", 5, {"x": 1.5})
    with registry_server() as server:
        number = server.add("payments-value", PAYMENT)
        told = server.add("other-value", '{"type": "object"}', kind="JSON")
        decode = decoder(Source(topic="payments", schema={"type": "array", "items": "long"}), asking(server))
        body, guid = bare(PAYMENT, WRITTEN), server.guid(number).bytes
        longs = WriterSchema({"type": "array", "items": "long"})
        forms = [
            (b"\x00" + number.to_bytes(4, "big") + body, (), READ),
            (b"\x01" + guid + body, (), READ),
            (body, [(SCHEMA_HEADER, b"\x01" + guid)], READ),
            (body, [("trace", b"x"), (SCHEMA_HEADER, b"\x00" + number.to_bytes(4, "big"))], READ),
            (b"\x00" + told.to_bytes(4, "big") + b'{"a": 1}', (), {"a": 1}),
            (b'{"a": 2}', [(SCHEMA_HEADER, b"\x00" + told.to_bytes(4, "big"))], {"a": 2}),
            (b' {"a": [1, {"b": null}]}', (), {"a": [1, {"b": None}]}),
            (event.encode(), (), {"event_id": "e1", "event_time": 5, "features": {"x": 1.5}, "entity_key": None}),
            (codec.MAGIC + longs.fingerprint + b"\x04\x02\x03\x00", (), [1, -2]),
        ]
        for data, headers, expected in forms * 2:
            assert decode(data, headers) == expected
        assert len(server.requests) == 3, "each schema is asked for once"


def test_of_several_schema_headers_the_last_counts() -> None:
    with registry_server() as server:
        first, last = server.add("a", "long"), server.add("b", "string")
        headers = [(SCHEMA_HEADER, b"\x00" + each.to_bytes(4, "big")) for each in (first, last)]
        assert read(b"\x02a", headers, asking(server)) == "a"


def test_schemas_that_refer_to_others_are_gathered_innermost_first() -> None:
    country = {"type": "enum", "name": "Country", "namespace": "geo", "symbols": ["DE", "FR"]}
    card = {"type": "record", "name": "Card", "namespace": "shop", "fields": [{"name": "c", "type": "geo.Country"}]}
    order = {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [{"name": "card", "type": "Card"}, {"name": "back", "type": ["null", "geo.Country"]}],
    }
    with registry_server() as server:
        server.add("country", country)
        server.add("card", card, references=[{"name": "geo.Country", "subject": "country", "version": 1}])
        number = server.add(
            "orders/of shop",
            order,
            references=[
                {"name": "shop.Card", "subject": "card", "version": 1},
                {"name": "geo.Country", "subject": "country", "version": 1},
            ],
        )
        registry = asking(server)
        found = read(b"\x00" + number.to_bytes(4, "big") + b"\x02\x02\x00", (), registry)
        assert found == {"card": {"c": "FR"}, "back": "DE"}
        latest = registry.latest("orders/of shop")
        assert latest is not None
        assert len(latest.parts) == 2


@pytest.mark.parametrize(
    ("data", "headers", "of", "said"),
    [
        (b"", (), {}, "empty"),
        (b"\xff\xfe", (), {}, "not JSON: .*2 bytes that begin ff fe"),
        (b"{", (), {"format": "json"}, "not JSON"),
        (b"[" * 100_000, (), {"format": "json"}, "not JSON"),
        (b"9" * 5000, (), {"format": "json"}, "not JSON"),
        (b"\x00\x00\x00\x00\x07a", (), {}, "framed by a schema registry .schema id 7.*MILLSTREAM_REGISTRY_URL"),
        (b"a", [(SCHEMA_HEADER, b"\x00\x07")], {}, "neither an id nor a GUID"),
        (b"\xc3\x01" + bytes(8), (), {}, "unknown schema, fingerprint 0000000000000000.*schema="),
        (b"abc", (), {"format": "avro"}, "no Avro single object.*schema="),
        (b"\x02", (), {"format": "avro", "schema": "schema-of-string"}, "damaged Avro"),
        (b"\x02ab", (), {"format": "avro", "schema": "schema-of-string"}, "1 bytes too many"),
        (Label("a", True, 1).encode() + b"\x00", (), {}, "damaged Label: 1 bytes too many"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, headers: Any, of: dict[str, Any], said: str) -> None:
    if of.get("schema") == "schema-of-string":
        of = {**of, "schema": {"type": "string"}}
    with pytest.raises(CodecError, match=said):
        read(data, headers, **of)


def test_ids_and_types_that_a_registry_cannot_help_with() -> None:
    with registry_server() as server:
        proto = server.add("p", 'syntax = "proto3";', kind="PROTOBUF")
        for number, said in ((99, "knows no schema 99"), (proto, "of type PROTOBUF; Avro and JSON are read")):
            with pytest.raises(CodecError, match=said):
                read(b"\x00" + number.to_bytes(4, "big") + b"a", (), asking(server))
        with pytest.raises(CodecError, match="not framed"):
            read(b'{"a": 1}', (), asking(server), format="registry")


def test_sources_that_cannot_be_read_are_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"payments are framed.*MILLSTREAM_REGISTRY_URL"):
        decoder(Source(topic="payments", format="registry"))
    with pytest.raises(InvalidSource, match=r"nowhere.avsc cannot be read: FileNotFoundError"):
        decoder(Source(topic="payments", format="avro", schema=tmp_path / "nowhere.avsc"))
    with pytest.raises(InvalidSource, match="not an Avro schema: UnknownType"):
        decoder(Source(topic="payments", format="avro", schema={"type": "array", "items": "Elsewhere"}))
    file = tmp_path / "payment.avsc"
    file.write_text(json.dumps(PAYMENT))
    for schema in (file, str(file), json.dumps(PAYMENT)):
        assert read(bare(PAYMENT, WRITTEN), format="avro", schema=schema) == READ


def test_a_large_whole_number_in_json_is_kept_to_its_last_digit() -> None:
    assert read(b'{"a": 9007199254740993, "b": 0.1}') == {"a": 9007199254740993, "b": 0.1}


# --- hostile ---------------------------------------------------------------------------------------


def laughs(depth: int) -> dict[str, Any]:
    """Return a schema of few types whose one value, of no bytes, holds 2 ** depth nulls."""
    inner: Any = "null"
    for level in range(depth):
        record = {"type": "record", "name": f"R{level}", "fields": [{"name": "a", "type": inner}]}
        record["fields"].append({"name": "b", "type": f"R{level - 1}" if level else "null"})
        inner = record
    return dict(inner)


NODE = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
FIXED = {"type": "fixed", "name": "F", "size": 2}
BILLION = codec.long(10**12)


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        (NODE, b"\x02" * 3_000_000 + b"\x00", "nested over 100 deep"),
        ({"type": "array", "items": "null"}, BILLION + b"\x00", "over 10,700 values in 7 bytes"),
        ({"type": "array", "items": "null"}, codec.long(-(10**12)) + b"\x00\x00", "over 10,[0-9]00 values"),
        ({"type": "array", "items": ["null", NODE]}, BILLION + b"\x00" * 9, "no whole number at byte"),
        ({"type": "array", "items": "long"}, BILLION + b"\x00" * 9, "damaged Avro"),
        ({"type": "map", "values": "null"}, BILLION + b"\x00" * 9, "damaged Avro: EOFError"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, BILLION, "over 10,[0-9]00 values"),
        (laughs(30), b"", "the message is empty"),
        ({"type": "array", "items": laughs(30)}, b"\x02\x00", "over 10,[0-9]00 values"),
        ({"type": "bytes"}, BILLION + b"abc", "damaged Avro"),
        ({"type": "string"}, codec.long(-4) + b"abcd", "damaged Avro"),
        ({"type": "bytes", "logicalType": "decimal", "scale": 2}, codec.long(10**6) + b"\x7f" * 10**6, "OverflowError"),
        (["null", "long"], b"\x08", "damaged Avro: IndexError"),
    ],
)
def test_a_message_that_would_be_more_than_its_bytes_is_refused_at_once(schema: Any, data: bytes, said: str) -> None:
    decode = decoder(Source(topic="payments", format="avro", schema=schema if isinstance(schema, dict) else None))
    if not isinstance(schema, dict):
        decode = decoder(Source(topic="payments", format="avro", schema=json.dumps(schema)))
    began = time.process_time()
    with pytest.raises(CodecError, match=said):
        decode(data, ())
    assert time.process_time() - began < 5


def test_schemas_that_refer_to_themselves_are_read_as_deep_as_is_reasonable() -> None:
    value: Any = {"n": None}
    for _ in range(20):
        value = {"n": value}
    assert read(bare(NODE, value), format="avro", schema=NODE) == value


def test_schemas_nested_or_large_beyond_reason_are_no_schemas() -> None:
    deep: Any = "long"
    for _ in range(5000):
        deep = {"type": "array", "items": deep}
    wide = {"type": "record", "name": "W", "fields": [{"name": f"f{n}", "type": "long"} for n in range(10_001)]}
    for schema, said in (
        (deep, "over 64 deep"),
        (wide, "over 10000 types"),
        ({"type": 5}, "written as int"),
        ({**FIXED, "size": "x"}, "size of a fixed"),
    ):
        with pytest.raises(CodecError, match=said):
            WriterSchema(schema)
    with registry_server() as server:
        number = server.add("deep", "[" * 100_000, kind="JSON")
        server.schemas[number - 1].pop("schemaType")
        with pytest.raises(CodecError, match="not an Avro schema: RecursionError"):
            read(b"\x00" + number.to_bytes(4, "big") + b"a", (), asking(server))


def test_damaged_messages_are_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(11)
    decode = decoder(Source(topic="payments", format="avro", schema=PAYMENT))
    tree = decoder(Source(topic="payments", format="avro", schema=NODE))
    whole = bare(PAYMENT, WRITTEN)
    refused = 0
    for _ in range(3000):
        made = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            made[rng.randrange(len(made))] = rng.randrange(256)
        del made[rng.randrange(len(made) // 2, len(made) + 1) :]
        for each in (decode, tree):
            try:
                each(bytes(made), ())
            except CodecError:
                refused += 1
    assert refused > 1000


def test_what_can_be_no_feature_is_named_with_its_place() -> None:
    schema = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "total", "type": "double"},
            {"name": "weights", "type": {"type": "array", "items": "float"}},
            {"name": "gaps", "type": {"type": "array", "items": ["null", "long"]}},
            {"name": "lines", "type": {"type": "map", "values": {"type": "array", "items": PAYMENT}}},
            {"name": "tree", "type": NODE},
        ],
    }
    assert unmappable(WriterSchema(schema)) == [
        "gaps: an array of null or long; only arrays of numbers are features, and gaps[0] takes one value out",
        "lines.*: an array of record; only arrays of numbers are features, and lines.*[0] takes one value out",
        "tree.n: a N within another; only paths that name a place in it can be features",
    ]
    assert unmappable(WriterSchema(PAYMENT)) == []
    assert len(unmappable(WriterSchema(laughs(30)))) == 0
    assert unmappable(WriterSchema(schema), ["total", "gaps[0]", "lin"]) == []
    assert [each[:6] for each in unmappable(WriterSchema(schema), ["tree", "gaps"])] == ["gaps: ", "tree.n"]


def test_what_can_be_no_feature_is_looked_for_where_a_schema_is_known() -> None:
    orders = {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "total", "type": "double"}, {"name": "tags", "type": {"type": "array", "items": "string"}}],
    }
    with registry_server() as server:
        registry = asking(server)
        assert unmapped(Source(topic="orders"), registry) == []
        server.add("orders-value", orders)
        assert [each[:5] for each in unmapped(Source(topic="orders"), registry)] == ["tags:"]
        assert unmapped(Source(topic="orders", fields={"total": "total"}), registry) == []
        assert unmapped(Source(topic="orders", format="json"), registry) == []
        server.add("text-value", 'syntax = "proto3";', kind="PROTOBUF")
        assert unmapped(Source(topic="text"), registry) == ["it is of type PROTOBUF; Avro and JSON are read"]
    assert [each[:5] for each in unmapped(Source(topic="orders", format="avro", schema=orders), None)] == ["tags:"]
