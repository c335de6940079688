"""Hostile requests to real servers: no 5xx but 503, no process ends, every connection is closed in a bounded time."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import hostile_json
import hostile_paths
import httpx
import psutil
import pytest
from system.http_server import FLOW
from system.oracle import Stream
from system.serving_rig import EVENT, Serving, raw, serving

POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)
LENGTH = b"Content-Length: %d\r\n" % len(EVENT)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SECOND = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 1 << 20
CLOSED_WITHIN_S = 20


@pytest.fixture(scope="module")
def at(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("hostile")
    stream = Stream(str(FLOW), bootstrap, f"hst-{secrets.token_hex(4)}-", folder / "home")
    with serving(stream, folder, "--upload-spool", "1GiB") as found:
        yield found
        found.check()


# --- slow callers --------------------------------------------------------------------------------------

SLOW = {
    "says nothing": (b"", b""),
    "stops in the first line": (b"POS", b""),
    "sends headers without end": (POST, b"X-A: b\r\n"),
    "sends a header without end": (POST + b"X-A: ", b"b"),
    "sends nothing after a request": (POST + LENGTH + b"\r\n" + EVENT, b""),
    "sends empty lines after a request": (POST + LENGTH + b"\r\n" + EVENT, b"\r\n"),
    "sends no body": (POST + LENGTH + b"\r\n", b""),
    "sends a body byte by byte": (POST + b"Content-Length: 1000\r\n\r\n", b" "),
    "sends chunks byte by byte": (POST + CHUNKED + b"\r\n", b"1\r\n \r\n"),
    "sends a body to a GET": (SECOND[:-2] + b"Content-Length: 1000\r\n\r\n", b" "),
    "sends a body to nothing": (POST.replace(b"predict", b"nothing") + b"Content-Length: 1000\r\n\r\n", b" "),
    "sends a body that is too large": (POST + b"Content-Length: 100000000\r\n\r\n", b" "),
}


def seconds_until_closed(port: int, first: bytes, more: bytes) -> float:
    """Send something every half second until the server closes the connection."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        connection.sendall(first)
        while (seconds := time.monotonic() - began) < 3 * CLOSED_WITHIN_S:
            try:
                if not connection.recv(1 << 16):
                    break
            except TimeoutError:
                try:
                    connection.sendall(more)
                except OSError:
                    break
            except OSError:
                break
    return seconds


@pytest.fixture(scope="module")
def slow(client: str, at: Serving) -> Iterator[dict[tuple[str, int], Future[float]]]:
    """Slow callers, while all else is tested."""
    with ThreadPoolExecutor(2 * len(SLOW)) as threads:
        yield {
            (name, port): threads.submit(seconds_until_closed, port, *each)
            for name, each in SLOW.items()
            for port in (at.port, at.console)
        }


@pytest.mark.usefixtures("slow")
def test_many_connections_keep_nobody_away(at: Serving) -> None:
    with ExitStack() as opened:
        for _ in range(1500):  # the web server takes 1024 by default
            idle = opened.enter_context(socket.create_connection(("127.0.0.1", at.port)))
            idle.sendall(POST)
        assert httpx.post(f"{at.base}/v1/predict", content=EVENT, timeout=8).status_code == 200


@pytest.mark.full
def test_slow_uploads_and_unread_responses_are_given_up(at: Serving) -> None:
    upload = POST.replace(b"predict", b"uploads") + CHUNKED + b"\r\n"
    rows = (EVENT + b"\n") * 50_000
    with ThreadPoolExecutor(1) as threads, socket.socket() as unread:
        waits = threads.submit(seconds_until_closed, at.port, upload, b"1\r\n \r\n")
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(("127.0.0.1", at.port))
        unread.sendall(POST + b"Content-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(rows) + rows)
        here = unread.getsockname()
        deadline = time.monotonic() + 120
        while any(each.raddr == here for each in _connections(at.port)):
            assert time.monotonic() < deadline, "the connection of a caller who reads nothing stays"
            time.sleep(0.5)
        assert 25 < waits.result() < 3 * CLOSED_WITHIN_S


def _connections(port: int) -> list[psutil._common.sconn]:
    return [each for each in psutil.net_connections("tcp") if each.laddr.port == port and each.status == "ESTABLISHED"]


# --- where a request ends ------------------------------------------------------------------------------

# Whole requests whose framing is refused, or read in the one way that every proxy reads. The second request behind a
# length is what an attacker would smuggle: it must not be answered.
REFUSED = {
    "two lengths": b"Content-Length: 34\r\nContent-Length: 40\r\n\r\n" + EVENT,
    "a list of lengths": b"Content-Length: 34, 34\r\n\r\n" + EVENT,
    "a signed length": b"Content-Length: +34\r\n\r\n" + EVENT,
    "a negative length": b"Content-Length: -1\r\n\r\n" + EVENT,
    "a length in hex": b"Content-Length: 0x22\r\n\r\n" + EVENT,
    "a length beyond 64 bits": b"Content-Length: 18446744073709551617\r\n\r\n" + EVENT,
    "an empty length": b"Content-Length: \r\n\r\n" + EVENT,
    "a length of other digits": "Content-Length: ٣٤\r\n\r\n".encode() + EVENT,
    "a space before the colon of the length": b"Content-Length : 34\r\n\r\n" + EVENT,
    "a space before the colon of the coding": b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    **{
        f"the coding {coding.decode()!r}, {name}": b"Transfer-Encoding: " + coding + b"\r\n" + more
        for coding in (
            b"xchunked", b"identity", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"x, chunked",
            b"chunked, chunked", b"chunked\x0b", b'"chunked"', b"chunked;q=1", b"",
        )
        for name, more in {"chunks": b"\r\n" + CHUNKS, "and a length": LENGTH + b"\r\n" + EVENT}.items()
    },
    "two codings": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a coding behind a bare CR": b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "a folded header": b"X-A: b\r\n c\r\n" + LENGTH + b"\r\n" + EVENT,
    "a NUL in a header": b"X-A: b\0c\r\n" + LENGTH + b"\r\n" + EVENT,
    "two hosts": b"Host: evil.example\r\n" + LENGTH + b"\r\n" + EVENT,
    "chunks that are none": CHUNKED + LENGTH + b"\r\n" + EVENT,
    "a chunk of negative size": CHUNKED + b"\r\n-5\r\n" + EVENT,
    "a chunk of endless size": CHUNKED + b"\r\nfffffffffffffffff\r\n" + EVENT,
    "a chunk's size as 0x22": CHUNKED + b"\r\n0x22\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n22\r\n" + EVENT + b"XX0\r\n\r\n",
    "chunks behind bare LF": CHUNKED + b"\r\n22\n" + EVENT + b"\n0\n\n",
    "a chunk's extension without end": CHUNKED + b"\r\n22;a=" + b"b" * 20_000 + b"\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"\r\n22\r\n" + EVENT + b"\r\n0\r\nHost: evil.example\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_whose_end_is_unclear_is_refused_and_its_connection_closed(at: Serving, name: str) -> None:
    heard = raw(at.port, POST + REFUSED[name] + SECOND)
    assert heard.statuses == (400,), heard.answer
    assert heard.closed
    assert b'"live"' not in heard.answer


def test_length_and_chunks_together_are_read_as_chunks_and_nothing_behind_them(at: Serving) -> None:
    heard = raw(at.port, POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + CHUNKS + SECOND)
    assert (heard.statuses, heard.closed) == ((200,), True)
    for headers in (LENGTH, CHUNKED):
        body = EVENT if headers is LENGTH else CHUNKS
        heard = raw(at.port, POST + headers + b"\r\n" + body + SECOND)
        assert heard.statuses == (200, 200), "a plain request is answered, and so is the next one"


ODD = {
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.1": b"GET /livez HTTP/3.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an upgrade": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a proxy's method": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "another site's address": b"GET http://evil.example/v1/predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TRACE": b"TRACE /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "200 headers": b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n",
    "a header of 1 MB": b"GET /livez HTTP/1.1\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a path of 70 kB": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a query of 33 parameters": POST.replace(b"predict", b"predict?" + b"&".join(b"a%d=1" % n for n in range(33)))
    + LENGTH + b"\r\n" + EVENT,
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_usual_request_is_refused_or_answered(at: Serving, name: str) -> None:
    for port in (at.port, at.console):
        heard = raw(port, ODD[name])
        assert all(status < 500 or status == 503 for status in heard.statuses), heard.answer
        assert heard.closed or heard.statuses


@pytest.mark.parametrize("path", [b"/v1/predict", b"/v1/labels", b"/v2/models/flow/infer", b"/v1/uploads"])
def test_a_body_that_breaks_off_is_not_taken_for_whole(at: Serving, path: bytes) -> None:
    post = POST.replace(b"/v1/predict", path)
    for sent in (
        post + CHUNKED + b"\r\n%x\r\n%s" % (len(EVENT) + 10, EVENT),
        post + CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(EVENT), EVENT),
        post + b"Content-Length: %d\r\n\r\n" % (len(EVENT) + 10) + EVENT,
    ):
        heard = raw(at.port, sent, 5, shut=True)
        assert heard.statuses in ((400,), ()), heard.answer
        assert heard.closed


# --- paths and JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"PATCH", b"DELETE"])
def test_no_trick_with_a_path_reaches_anything(at: Serving, method: bytes) -> None:
    rest = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\nContent-Length: 2\r\n\r\n{}"
    for port in (at.port, at.console):
        for path in hostile_paths.TRICKS:
            heard = raw(port, method + b" " + path + rest, 5)
            assert len(heard.statuses) == 1, (path, heard.answer)
            assert 400 <= heard.statuses[0] < 500, (path, heard.answer)
            assert heard.closed
            assert b"root:" not in heard.answer


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/labels", "/v2/models/flow/infer", "/v1/pin", "/v1/pause"])
def test_hostile_json_is_refused_and_breaks_nothing(at: Serving, path: str) -> None:
    port = at.console if path in ("/v1/pin", "/v1/pause") else at.port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for name, body in (hostile_json.NO_JSON | hostile_json.ODD).items():
            for kind in ("application/json", "application/x-ndjson"):
                response = client.post(path, content=body, headers={"content-type": kind})
                assert response.status_code < 500, (name, kind, response.text)
                if name in hostile_json.NO_JSON and kind == "application/json":
                    assert response.status_code in (400, 413), (name, response.text)


# --- large requests ------------------------------------------------------------------------------------


def _filled(begin: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    return begin + unit * ((size - len(begin) - len(end)) // len(unit)) + end


_FEATURES = b'{"features":{"x":1.0,"y":2.0,"v":['
LARGE = {
    "millions of whole numbers": _filled(_FEATURES, b"1,", b"1]}}", 8 * MIB - 100),
    "millions of fractions": _filled(_FEATURES, b"1.5,", b"1]}}", 8 * MIB - 100),
    "the largest vector": _filled(_FEATURES, b"1.234567,", b"1]}}", MIB - 100),
    "the most numbers": _filled(_FEATURES, b"1,", b"1]}}", MIB // 4),
    "features": b'{"features":{' + b",".join(b'"f%d":1.5' % n for n in range(500_000)) + b"}}",
    "rows that are none": _filled(b'{"events":[', b"1,", b"1]}", 8 * MIB - 100),
    "tensors": _filled(
        b'{"inputs":[{"name":"v","shape":[40,100000],"datatype":"FP64","data":[', b"1,", b"1]}]}", 8 * MIB
    ),
}


def test_large_requests_hold_nobody_up(at: Serving) -> None:
    """Before there were limits, one of these held all others up for 2 to 7 seconds."""
    others: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=at.base, timeout=60) as client:
            while not ended.wait(0.005):
                began = time.perf_counter()
                assert client.post("/v1/predict", content=EVENT).status_code == 200
                others.append(time.perf_counter() - began)

    with ThreadPoolExecutor(1) as threads, httpx.Client(base_url=at.base, timeout=60) as client:
        asking = threads.submit(ask)
        try:
            for name, body in LARGE.items():
                path = "/v2/models/flow/infer" if name == "tensors" else "/v1/predict"
                for _ in range(2):
                    status = client.post(path, content=body).status_code
                    assert status == (200 if name.startswith("the ") else 413), name
        finally:
            ended.set()
        asking.result()
    assert max(others) < 1.0, "the longest that another request waited, in seconds"


def test_slow_callers_are_given_up(slow: dict[tuple[str, int], Future[float]]) -> None:
    seconds = {key: each.result() for key, each in slow.items()}
    assert {key: each for key, each in seconds.items() if each > CLOSED_WITHIN_S} == {}
