"""Uploads as a user sends them: curl, httpx and tuspy against `millstream run --serve`, and what is learned of them."""

from __future__ import annotations

import gzip
import io
import json
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest
from kafka_fixture import new_prefix
from system.http_server import FLOW, SECONDS, free_port, is_ready, running, until
from system.oracle import Stream, assert_versions_are_functions_of_the_log, examples
from tusclient.client import TusClient

ROWS = 400


def rows(name: str) -> list[dict[str, Any]]:
    rng = random.Random(name)
    return [{"id": f"{name}-{n}", "x": rng.gauss(0, 1), "y": rng.gauss(0, 1), "label": n % 2 == 0} for n in range(ROWS)]


def csv(name: str, delimiter: str = ",") -> bytes:
    lines = [delimiter.join(map(str, row.values())) for row in rows(name)]
    return "\n".join([delimiter.join(("id", "x", "y", "label")), *lines, ""]).encode()


def avro(name: str) -> bytes:
    types = {"id": "string", "x": "double", "y": "double", "label": "boolean"}
    schema = {"type": "record", "name": "Row", "fields": [{"name": n, "type": t} for n, t in types.items()]}
    file = io.BytesIO()
    fastavro.writer(file, schema, rows(name), codec="deflate")
    return file.getvalue()


@pytest.fixture(scope="module")
def stream(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return Stream(str(FLOW), bootstrap, new_prefix(), tmp_path_factory.mktemp("uploads") / "home")


@pytest.fixture(scope="module")
def base(stream: Stream) -> Iterator[str]:
    port = free_port()
    with (
        running(stream, "run", stream.ref, "--serve", "--port", str(port)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        until(lambda: is_ready(client) or process.poll() is not None, "a server that is ready")
        yield str(client.base_url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert assert_versions_are_functions_of_the_log(stream).examples == len(examples(stream))


def logged(stream: Stream, name: str) -> list[str]:
    return [each.event.event_id for _, each in examples(stream) if each.event.event_id.startswith(f"{name}-")]


def test_curl_sends_a_file_and_it_is_learned(base: str, stream: Stream, tmp_path: Path) -> None:
    file = tmp_path / "h.csv"
    file.write_bytes(csv("curl"))
    words = ["curl", "-sS", "--data-binary", f"@{file}", f"{base}/v1/uploads?wait=30s"]
    first, second = (json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(2))
    assert (first["state"], first["taken"], first["already"]) == ("imported", ROWS, 0)
    assert (second["state"], second["taken"], second["already"]) == ("imported", 0, ROWS)
    pipe = ["curl", "-sS", "-X", "POST", "-T", "-", f"{base}/v1/uploads?wait=30s&name=h.csv"]
    piped = json.loads(subprocess.run(pipe, input=csv("pipe"), capture_output=True, check=True).stdout)
    assert (piped["name"], piped["taken"]) == ("h.csv", ROWS)
    assert logged(stream, "curl") == [row["id"] for row in rows("curl")]
    versions = stream.models / stream.names.stream / "versions"
    until(lambda: int(max(versions.glob("*/*.json")).stem) >= 2 * ROWS, "a version that has learned them")


@pytest.mark.parametrize(
    ("name", "content", "sent"),
    [
        ("tsv", csv("tsv", "\t"), {"headers": {"content-type": "text/tab-separated-values"}}),
        ("lines", "\n".join(map(json.dumps, rows("lines"))).encode(), {"params": {"name": "h.jsonl"}}),
        ("avro", avro("avro"), {"headers": {"content-type": "avro/binary"}}),
        ("packed", gzip.compress(csv("packed")), {"headers": {"content-type": "text/csv"}}),
        ("told", "\n".join(map(json.dumps, rows("told"))).encode(), {}),
    ],
)
def test_each_format_by_its_type_its_name_or_its_content(
    base: str, stream: Stream, name: str, content: bytes, sent: dict[str, Any]
) -> None:
    headers = {"content-type": "application/octet-stream", **sent.get("headers", {})}
    params = {"wait": "30s", **sent.get("params", {})}
    answer = httpx.post(f"{base}/v1/uploads", content=content, headers=headers, params=params, timeout=60)
    assert (answer.status_code, answer.json()["taken"]) == (200, ROWS), answer.text
    assert logged(stream, name) == [row["id"] for row in rows(name)]


def test_tuspy_resumes_an_upload(base: str, stream: Stream) -> None:
    file = io.BytesIO(csv("tus"))
    client = TusClient(f"{base}/v1/uploads")
    first = client.uploader(file_stream=file, chunk_size=5_000, metadata={"filename": "h.csv"}, upload_checksum=True)
    first.upload_chunk()
    second = client.uploader(file_stream=file, chunk_size=5_000, url=first.url)
    assert second.offset == 5_000
    second.upload()
    found = httpx.get(f"{first.url}?wait=30s", timeout=60).json()
    assert (found["state"], found["name"], found["taken"]) == ("imported", "h.csv", ROWS)
    assert logged(stream, "tus") == [row["id"] for row in rows("tus")]


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9, 1.0])
def test_a_connection_that_breaks_in_a_chunked_body_leaves_nothing(base: str, stream: Stream, cut: float) -> None:
    # The web server ends a body that was cut off like a whole one, but for one empty piece: this test is for its next
    # version.
    name = f"cut{round(10 * cut)}"
    content = csv(name)
    begin = b"POST /v1/uploads HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (content[:9_000], content[9_000:]))
    host, _, port = base.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(begin + body[: int(cut * len(body))])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    whole = httpx.post(f"{base}/v1/uploads?wait=30s", content=iter([content[:100], content[100:]]), timeout=60)
    assert (whole.json()["taken"], whole.json()["already"]) == (ROWS, 0)
    assert len(logged(stream, name)) == ROWS
    partial = stream.home / "state" / f"{stream.prefix}{stream.names.stream}" / "uploads" / "partial"
    assert list(partial.iterdir()) == []
