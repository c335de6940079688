"""Limits of what one request may hold, so that no request keeps others waiting for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from unit.http_site import Site, make, site
from unit.rsgi import Protocol

from schemas.dead_letters import read_dead_letter

__all__ = ["make", "site"]

NDJSON = "application/x-ndjson"
MIB = 1 << 20


def filled(begin: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    return begin + unit * ((size - len(begin) - len(end)) // len(unit)) + end


def vector(size: int, unit: bytes = b"1,") -> bytes:
    return filled(b'{"features":{"x":1,"v":[', unit, b"1]}}", size)


TOO_LARGE = {
    "a vector of millions of whole numbers": vector(8 * MIB - 100),
    "a vector of more numbers than one MiB holds": vector(MIB // 3),
    "a text": filled(b'{"features":{"x":"', b"a", b'"}}', 2 * MIB),
    "features": b'{"features":{' + b",".join(b'"f%d":1' % number for number in range(150_000)) + b"}}",
    "brackets": b"[" * (2 * MIB),
    "braces": b'{"a":' * (MIB // 2),
    "digits": filled(b'{"features":{"x":', b"1", b"}}", 2 * MIB),
    "an id": filled(b'{"features":{},"event_id":"', b"a", b'"}', 2 * MIB),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_an_event_or_label_beyond_the_limit_is_413_alone_and_an_error_of_its_row_among_others(
    site: Site, name: str
) -> None:
    row = TOO_LARGE[name]
    for path in ("/v1/predict", "/v1/labels"):
        said = site.one(row, path)
        assert (said.status, said.code) == (413, "too-large")
        assert "--largest-event is 1048576" in said.json["error"]["message"]
    good = b'{"event_id": "good", "features": {"x": 1, "y": 2}}'
    answers = [json.loads(each) for each in site.one(row + b"\n" + good, content_type=NDJSON).answer.splitlines()]
    assert [each.get("error", {}).get("code") for each in answers] == ["too-large", None]
    assert [each.event.event_id for each in site.predictions()] == ["good"]


TOO_MANY = {
    "rows": b'{"events":[' + b"1," * 150_000 + b"1]}",
    "values": b'{"events":[' + b"1," * 2_000_000 + b"1]}",
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_too_many_rows_or_values_are_413(site: Site, name: str) -> None:
    said = site.one(TOO_MANY[name])
    assert (said.status, said.code) == (413, "too-many")
    assert name in said.json["error"]["message"]
    assert site.one(TOO_MANY[name].replace(b"events", b"labels"), "/v1/labels").code == "too-many"


@pytest.mark.parametrize("body", [b"1\n" * 100_001, b"\n" * 3_000_000])
def test_too_many_lines_are_413(site: Site, body: bytes) -> None:
    for path in ("/v1/predict", "/v1/labels"):
        assert site.one(body, path, content_type=NDJSON).code == "too-many"


@pytest.mark.parametrize("length", [0, 1025, 100_000])
def test_an_id_that_cannot_be_a_records_key_is_400_and_nothing_is_logged(site: Site, length: int) -> None:
    event = {"event_id": "i" * length, "features": {"x": 1, "y": 2}}
    said = site.one(event)
    assert (said.status, said.code) == (400, "id")
    assert f"{length} characters" in said.json["error"]["message"]
    assert site.one({"events": [event]}).json["answers"][0]["error"]["code"] == "id"
    assert site.entries() == []


def test_an_id_that_is_long_as_a_header_is_in_the_body_alone(site: Site) -> None:
    event = {"event_id": "ü" * 1024, "features": {"x": 1, "y": 2}}
    said = site.one(event)
    assert (said.status, said.json["event_id"]) == (200, event["event_id"])
    assert "x-event-id" not in said.headers
    assert site.one({**event, "event_id": "ü" * 300}).headers["x-event-id"] == "%C3%BC" * 300


def test_a_key_that_cannot_be_read_is_refused_and_not_left_out(site: Site) -> None:
    said = site.one({"features": {"x": 1, "y": 2}}, idempotency_key=None)  # as the web server gives what is no ASCII
    assert (said.status, said.code) == (400, "id")
    assert site.entries() == []


def test_two_host_headers_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unit.rsgi.Headers.get_all", lambda self, name: ["localhost", "evil.example"])
    said = site.one({"features": {"x": 1, "y": 2}})
    assert (said.status, said.code, said.headers["connection"]) == (400, "host", "close")


def test_the_largest_rows_are_answered_one_by_one_so_that_others_pass_between_them(site: Site) -> None:
    rows = vector(300_000, b"1.234567,") + b"\n"
    order: list[str] = []

    async def told(name: str, body: bytes, **headers: str) -> Protocol:
        response = await site.request(body, **headers)
        order.append(name)
        return response

    small = b'{"event_id": "small", "features": {"x": 1, "y": 0}}'
    large, _ = site.run(told("large", rows * 8, content_type=NDJSON), told("small", small))
    assert order == ["small", "large"]
    assert [json.loads(each)["error"]["code"] for each in large.answer.splitlines()] == ["unknown"] * 8
    assert len(read_dead_letter(site.values("dead-letters")[0]).value or b"") > 100_000


def test_what_is_too_large_is_refused_without_being_read(site: Site) -> None:
    async def turns(work: Callable[[], object]) -> float:
        """Return the longest time for which the event loop did not turn, relative to that of a small request."""
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                began = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - began)

        watching = asyncio.create_task(watch())
        await work()  # type: ignore[misc]
        watching.cancel()
        return longest

    largest = asyncio.run(turns(lambda: site.request(vector(MIB // 4 - 100))))
    for name, body in (TOO_LARGE | TOO_MANY).items():
        assert asyncio.run(turns(lambda body=body: site.request(body))) < largest + 0.1, name
