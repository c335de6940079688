"""Hostile requests of the Open Inference Protocol: each is refused, and nothing of it is logged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.inference_site import INFER, Model, X, make, site, texts

__all__ = ["make", "site"]


def _binary(size: Any, **more: Any) -> dict[str, Any]:
    return {**X, "data": None, "parameters": {"binary_data_size": size}} | more


def _words(size: int) -> dict[str, Any]:
    return _binary(size, name="country", datatype="BYTES")


HOSTILE: dict[str, tuple[Any, bytes]] = {
    "no list of inputs": ({"inputs": {}}, b""),
    "no inputs": ({"inputs": []}, b""),
    "no shape": ({"inputs": [{"name": "x", "datatype": "FP64", "data": [1]}]}, b""),
    "a negative shape": ({"inputs": [{**X, "shape": [-2]}]}, b""),
    "a shape of 2^63": ({"inputs": [{**X, "shape": [2**63]}]}, b""),
    "a shape of 2^63 - 1": ({"inputs": [{**X, "shape": [2, 2**63 - 1]}]}, b""),
    "a product beyond 64 bits": ({"inputs": [{**X, "shape": [100_000, 2**62]}]}, b""),
    "a vector beyond an event": ({"inputs": [{**X, "shape": [1, 800_000], "data": [1] * 800_000}]}, b""),
    "three axes": ({"inputs": [{**X, "shape": [2, 1, 1]}]}, b""),
    "no axis": ({"inputs": [{**X, "shape": []}]}, b""),
    "no rows": ({"inputs": [{**X, "shape": [0], "data": []}]}, b""),
    "a shape of fractions": ({"inputs": [{**X, "shape": [2.5]}]}, b""),
    "fewer values than the shape": ({"inputs": [{**X, "shape": [3]}]}, b""),
    "rows of other lengths": ({"inputs": [{**X, "shape": [2, 2], "data": [[1, 2, 3], [4]]}]}, b""),
    "an unknown datatype": ({"inputs": [{**X, "datatype": "FP128"}]}, b""),
    "a datatype that is no text": ({"inputs": [{**X, "datatype": ["FP64"]}]}, b""),
    "text as a number": ({"inputs": [{**X, "data": ["1", "2"]}]}, b""),
    "a fraction as a whole number": ({"inputs": [{**X, "datatype": "INT32", "data": [1, 2.5]}]}, b""),
    "beyond INT8": ({"inputs": [{**X, "datatype": "INT8", "data": [1, 128]}]}, b""),
    "beyond 63 bits": ({"inputs": [{**X, "datatype": "UINT64", "data": [1, 2**63]}]}, b""),
    "beyond FP32": ({"inputs": [{**X, "datatype": "FP32", "data": [1, 1e39]}]}, b""),
    "beyond FP16": ({"inputs": [{**X, "datatype": "FP16", "data": [1, 1e6]}]}, b""),
    "a number as BOOL": ({"inputs": [{**X, "datatype": "BOOL", "data": [1, 0]}]}, b""),
    "an object as data": ({"inputs": [{**X, "data": {"0": 1}}]}, b""),
    "deep data": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":' + b"[" * 100_000, b""),
    "NaN": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[NaN]}]}', b""),
    "a number without end": (b'{"inputs":[{"name":"x","shape":[%s]' % (b"9" * 9999), b""),
    "a value without end": (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[%s]}]}' % (b"9" * 999), b""),
    "half a surrogate": (b'{"inputs":[{"name":"country","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}', b""),
    "not UTF-8": (b'{"inputs":[{"name":"\xff"}]}', b""),
    "other numbers of rows": ({"inputs": [X, {**X, "name": "y", "shape": [1], "data": [1]}]}, b""),
    "a name twice": ({"inputs": [X, X]}, b""),
    "an unknown output": ({"inputs": [X], "outputs": [{"name": "nothing"}]}, b""),
    "an output twice": ({"inputs": [X], "outputs": [{"name": "error"}, {"name": "error"}]}, b""),
    "top classes": ({"inputs": [X], "outputs": [{"name": "error", "parameters": {"classification": 2}}]}, b""),
    "a flag that is none": ({"inputs": [X], "parameters": {"binary_data_output": 1}}, b""),
    "a long id": ({"inputs": [X], "id": "x" * 1001}, b""),
    "an id that is a number": ({"inputs": [X], "id": 7}, b""),
    "ids that are numbers": ({"inputs": [X, {**X, "name": "event_id"}]}, b""),
    "an id that is too long": (
        {"inputs": [X, {"name": "event_id", "shape": [2], "datatype": "BYTES", "data": ["a", "i" * 1025]}]}, b""
    ),
    "an empty id": ({"inputs": [X, {"name": "event_id", "shape": [2], "datatype": "BYTES", "data": ["a", ""]}]}, b""),
    "a vector beyond --largest-event": ({"inputs": [{**X, "shape": [1, 131_073], "data": [1] * 131_073}]}, b""),
    "times that are fractions": ({"inputs": [X, {**X, "name": "event_time"}]}, b""),
    "texts as a vector": ({"inputs": [{**X, "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]}]}, b""),
    "a vector that FP64 would round": (
        {"inputs": [{**X, "shape": [1, 2], "datatype": "INT64", "data": [1, 2**53 + 1]}]}, b""
    ),
    "neither data nor size": ({"inputs": [{**X, "data": None}]}, b""),
    "both data and size": ({"inputs": [{**X, "parameters": {"binary_data_size": 16}}]}, bytes(16)),
    "a size that is too large": ({"inputs": [_binary(17)]}, bytes(16)),
    "a size of 2^63": ({"inputs": [_binary(2**63)]}, bytes(16)),
    "a negative size": ({"inputs": [_binary(-16)]}, bytes(16)),
    "a size that is no number": ({"inputs": [_binary(True)]}, bytes(16)),
    "a size that is not the shape's": ({"inputs": [_binary(8)]}, bytes(8)),
    "sizes that overlap": ({"inputs": [_binary(16), _binary(16, name="y")]}, bytes(24)),
    "bytes that belong to nobody": ({"inputs": [_binary(16)]}, bytes(17)),
    "UINT64 beyond 63 bits": ({"inputs": [_binary(16, datatype="UINT64")]}, b"\xff" * 16),
    "texts that are too long": ({"inputs": [_words(10)]}, texts(b"ab") + b"\xff" * 4),
    "texts that are too few": ({"inputs": [_words(6)]}, texts(b"ab")),
    "texts with a rest": ({"inputs": [_words(13)]}, texts(b"ab", b"c") + b"\0\0"),
    "texts that are not UTF-8": ({"inputs": [_words(9)]}, texts(b"\xff", b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_400_and_nothing_of_it_is_logged(site: Model, name: str) -> None:
    given, binary = HOSTILE[name]
    if isinstance(given, dict):
        for each in given["inputs"]:
            if isinstance(each, dict) and each.get("data") is None:
                each.pop("data", None)
        given = json.dumps(given).encode()
    headers = {"inference_header_content_length": str(len(given))} if binary else {}
    said = site.one(given + binary, INFER, **headers)
    assert (said.status, list(said.json)) == (400, ["error"]), said.answer
    assert len(said.json["error"]) < 400
    assert site.entries() == []


def test_more_values_in_json_than_can_be_read_while_others_wait_are_413(site: Model) -> None:
    said = site.infer({**X, "shape": [20, 60_000], "data": [1] * 1_200_000})
    assert (said.status, "values in JSON" in said.json["error"]) == (413, True)
    assert site.infer({**X, "shape": [100_001], "data": [1]}).status == 413
    assert site.entries() == []


@pytest.mark.parametrize("length", ["", "-1", "+1", "1.0", "999999", "1" * 5000, "１", "0x10", "0"])
def test_a_json_length_must_be_within_the_body(site: Model, length: str) -> None:
    said = site.infer(X, headers={"inference_header_content_length": length})
    assert said.status == 400
    assert site.entries() == []


def test_a_compressed_body_is_415(site: Model) -> None:
    assert site.infer(X, headers={"content_encoding": "gzip"}).status == 415
