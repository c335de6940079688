"""Posting to a receiver that fails, hangs, redirects, closes, or never stops sending; certificates; signatures."""

from __future__ import annotations

import base64
import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from certificates import self_signed
from receiver import Behaviour, answering, closing, dripping, endless, hanging, receiving
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from consumers.notifier.http_post import Undelivered, post
from consumers.notifier.messages import InvalidSecret, Told, alertmanager, key_of, not_made, webhook
from consumers.notifier.target import Target
from schemas.alerts import Alert

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
RAISED = Alert(
    "monitor.f1", "critical", "raised", "f1 is 0.6 ✓", 1_700_000_000_000, {"value": "0.6", "finding.01": "x"}
)
TOLD = Told(RAISED, RAISED.at, "critical")
HEADERS = {"Content-Type": "application/json"}
BODY = b'{"a": 1}'
SOON_S = 0.5


def failure(url: str) -> str:
    """Post, and return why it had no success."""
    began = time.monotonic()
    with pytest.raises(Undelivered) as failed:
        post(url, HEADERS, BODY, SOON_S)
    assert time.monotonic() - began < 10 * SOON_S  # generous: other processes are at work
    assert "hook" not in str(failed.value)
    return str(failed.value)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_is_one_whole_request_to_the_address(status: int) -> None:
    with receiving(answering(status)) as receiver:
        post(receiver.url, HEADERS, BODY)
        [request] = receiver.wait(1)
    assert (request.path, request.body) == ("/hook?a=b", BODY)
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(BODY))


HEADER = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (answering(500), "it answers with HTTP 500"),
        (answering(404), "it answers with HTTP 404"),
        (hanging, "no answer within 0.5 s"),
        (dripping, "no answer within 0.5 s"),
        (closing, "it closes the connection without an answer"),
        (endless(b"", b"x" * 65536), "its answer is not HTTP"),
        (endless(HEADER, b"a: b\r\n" * 1000), "its answer is not HTTP"),
        (endless(HEADER + b"a: ", b"b" * 65536), "its answer is not HTTP"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "no answer within 0.5 s"),
        (endless(b"HTTP/1.1 2000000 OK\r\n\r\n", b""), "its answer is not HTTP"),
    ],
    ids=["500", "404", "hangs", "drips", "closes", "no-http", "headers", "header", "continues", "status"],
)
def test_a_bad_receiver_is_a_failure_in_time(behaviour: Behaviour, why: str) -> None:
    with receiving(behaviour) as receiver:
        assert failure(receiver.url) == why


def test_an_endless_body_does_not_matter() -> None:
    with receiving(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)) as receiver:
        post(receiver.url, HEADERS, BODY)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with receiving() as other, receiving(answering(status, f"Location: {other.url}")) as receiver:
        assert failure(receiver.url) == f"it answers with a redirect (HTTP {status}), which is not followed"
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "refused"),
    [(400, True), (410, True), (413, True), (422, True), (401, False), (404, False), (429, False), (500, False)],
)
def test_a_refused_content_and_a_receiver_that_is_gone_are_told_apart(status: int, refused: bool) -> None:
    with receiving(answering(status)) as receiver, pytest.raises(Undelivered) as failed:
        post(receiver.url, HEADERS, BODY)
    assert failed.value.refused is refused


def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}/hook") == "it refuses the connection"
    assert failure("http://nobody.invalid/hook") == "its name does not resolve to an address"


@pytest.mark.parametrize("then", ["hangs", "refuses"])
def test_each_address_of_a_name_gets_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    with receiving() as receiver, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        before = [socket.socket() for _ in range(4)]  # once its queue is full, it answers no further attempt
        for each in before:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        silent, good = full.getsockname(), ("127.0.0.1", receiver.port)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [_address(silent), _address(good)])
        post("http://two.example/hook", HEADERS, BODY, 2.0)
        assert [each.path for each in receiver.wait(1)] == ["/hook"]
        last = silent if then == "hangs" else ("127.0.0.1", 1)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [_address(silent), _address(last)])
        assert failure("http://two.example/hook") == (
            "no answer within 0.5 s" if then == "hangs" else "it refuses the connection"
        )
        for each in before:
            each.close()


def test_the_connected_address_gets_all_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.5)
        answering(204)(connection)

    with receiving(slow) as receiver:
        found = [_address(("127.0.0.1", receiver.port))] * 40
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        post("http://many.example/hook", HEADERS, BODY, 10.0)


def _address(address: tuple[str, int]) -> Any:
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", address


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", f"http://localhost:{proxy.port}")
        post(receiver.url, HEADERS, BODY)
    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


def test_only_a_certificate_that_is_trusted_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = self_signed(tmp_path)
    with receiving(certificate=pair) as receiver:
        assert failure(receiver.url).startswith("its certificate is refused: ")
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        post(receiver.url, HEADERS, BODY)
        [request] = receiver.wait(1)
        # It is for 127.0.0.1 only.
        assert "Hostname mismatch" in failure(receiver.url.replace("127.0.0.1", "localhost"))
    assert request.body == BODY


def test_a_receiver_that_speaks_no_tls_or_hangs_in_it_is_a_failure() -> None:
    with receiving() as receiver:
        assert failure(f"https://localhost:{receiver.port}/hook") in (
            "it does not speak TLS as expected",
            "it closes the connection without an answer",
            "no answer within 0.5 s",
        )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert failure(f"https://localhost:{silent.getsockname()[1]}/hook") == "no answer within 0.5 s"


# --- what is posted -----------------------------------------------------------------------------------------


def hook(**more: Any) -> Target:
    return Target("ops", "webhook", "http://a", **more)


@pytest.mark.parametrize("secret", [SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_the_signature_is_that_of_standard_webhooks(secret: str) -> None:
    now = int(time.time())
    message = webhook(hook(key=key_of(secret)), "fraud", TOLD, "msg_1", now)
    assert Verifier(secret).verify(message.body, message.headers) == json.loads(message.body)
    for headers in ({**message.headers, "webhook-id": "msg_2"}, {**message.headers, "webhook-timestamp": str(now + 1)}):
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(message.body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(message.body + b" ", message.headers)


def test_a_webhook_gets_the_alert_as_json() -> None:
    message = webhook(hook(), "fraud", TOLD, "msg_1", 1_700_000_001)
    assert "webhook-signature" not in message.headers
    assert json.loads(message.body) == {
        "type": "alert.raised",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {
            "stream": "fraud",
            "name": "monitor.f1",
            "severity": "critical",
            "state": "raised",
            "message": "f1 is 0.6 ✓",
            "at": "2023-11-14T22:13:20.000Z",
            "details": {"value": "0.6", "finding.01": "x"},
        },
    }


def test_a_body_of_ones_own_is_signed_as_it_is_sent() -> None:
    target = hook(key=key_of(SECRET), body=lambda alert: {"text": f"*{alert['name']}* {alert['message']}"})
    message = webhook(target, "fraud", TOLD, "msg_1", int(time.time()))
    assert Verifier(SECRET).verify(message.body, message.headers) == {"text": "*monitor.f1* f1 is 0.6 ✓"}


@pytest.mark.parametrize("secret", ["", "  ", "whsec_", "whsec_%%%", "whsec_abc"])
def test_a_broken_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(InvalidSecret) as refused:
        key_of(secret)
    assert "%%%" not in str(refused.value)
    assert key_of("plain text") == b"plain text"


def test_an_alertmanager_gets_labels_that_stay_and_names_that_it_takes() -> None:
    target = Target("am", "alertmanager", "http://a", token="t0ken")
    now = RAISED.at + 60_000
    cleared = Alert("monitor.f1", "info", "cleared", "it has cleared", now, {})
    raised = alertmanager(target, "fraud", [TOLD], now)
    ended = alertmanager(target, "fraud", [Told(cleared, RAISED.at, "critical")], now)
    assert raised.headers["Authorization"] == "Bearer t0ken"
    [first], [last] = json.loads(raised.body), json.loads(ended.body)
    assert first["labels"] == last["labels"] == {"alertname": "monitor.f1", "stream": "fraud", "severity": "critical"}
    assert first["annotations"] == {"summary": "f1 is 0.6 ✓", "value": "0.6", "finding_01": "x"}
    assert first["startsAt"] == last["startsAt"] == "2023-11-14T22:13:20.000Z"
    times = [datetime.fromisoformat(each["endsAt"]) for each in (first, last)]
    assert [each.timestamp() * 1000 - now for each in times] == [300_000, 0]
    assert all(each.tzinfo == UTC for each in times)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (2**62, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
        (-(2**62), "0001-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
    ],
)
def test_a_time_that_no_calendar_has_stops_no_delivery(at: int, text: str) -> None:
    strange = Told(msgspec.structs.replace(RAISED, at=at), at, "info")
    assert json.loads(webhook(hook(), "fraud", strange, "msg_1", 1).body)["timestamp"] == text
    target, now = Target("am", "alertmanager", "http://a"), RAISED.at + 60_000
    first, second = json.loads(alertmanager(target, "fraud", [strange, TOLD], now).body)
    assert first["startsAt"] == min(text, "2023-11-14T22:14:20.000Z")
    assert first["startsAt"] < first["endsAt"] == second["endsAt"]


def test_only_a_function_of_the_users_is_blamed() -> None:
    assert not_made(hook(), OverflowError("a value")) == "its request cannot be made: OverflowError"
    assert not_made(hook(body=lambda alert: alert), KeyError("a value")) == "body= raises KeyError"
