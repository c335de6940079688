"""The examples of the docs, against receivers that take only what Slack, an Alertmanager or a verifier takes."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from receiver import Behaviour, Receiver, Request, answering, closing, hanging, receiving
from river import linear_model
from standardwebhooks.webhooks import WebhookVerificationError
from user_files import forgetful, write

from consumers.notifier import http_post
from millstream import Alertmanager, Stream, Webhook
from millstream.alerting.try_target import try_targets
from millstream.check.alert_checks import look_at_alerts
from millstream.cli import app
from millstream.stream.notified_targets import target_of

__all__ = ["forgetful"]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def example(holding: str, kind: str = "python") -> str:
    """Return the code of the docs that holds a text."""
    [found] = [each for each in re.findall(rf"```{kind}\n(.*?)```", DOCUMENT, re.DOTALL) if holding in each]
    return str(found)


def defined(holding: str, **names: Any) -> dict[str, Any]:
    """Execute the code of the docs that holds a text; return what it defines."""
    exec(example(holding), names)  # noqa: S102 - our own documentation
    return names


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def strict(receiver: Receiver, takes: Callable[[Request], bool]) -> None:
    """Make a receiver refuse what it does not take."""

    def behave(connection: socket.socket) -> None:
        answering(200 if takes(receiver.requests[-1]) else 400)(connection)

    receiver.behaviour = behave


def told(target: Webhook | Alertmanager, **environment: str) -> str | None:
    """Send a test alert; return why the target has not accepted it."""
    [tried] = try_targets("fraud", [target_of(target, environment)])
    return tried.why


# --- Slack --------------------------------------------------------------------------------------------------


def is_for_slack(request: Request) -> bool:
    """Return whether an incoming webhook of Slack takes a request: JSON with a text that is not empty."""
    row = request.json
    known = {"text", "blocks", "attachments", "thread_ts", "mrkdwn", "unfurl_links"}
    text = isinstance(row, dict) and row.keys() <= known and row.get("text")
    return request.headers["content-type"] == "application/json" and isinstance(text, str)


def test_the_example_for_slack_is_taken(receiver: Receiver) -> None:
    strict(receiver, is_for_slack)
    [target] = defined("def slack", Webhook=Webhook)["notify"]
    assert told(target, SLACK_URL=receiver.url) is None
    [request] = receiver.requests
    assert request.json["text"].startswith("*millstream.test* (info) raised: a test by `millstream alerts test")
    plain = Webhook("slack", url=receiver.url)
    assert told(plain) == "it answers with HTTP 400", "without body= it would be refused"


# --- Alertmanager -------------------------------------------------------------------------------------------


def is_for_an_alertmanager(request: Request) -> bool:
    """Return whether ``POST /api/v2/alerts`` takes a request, by its OpenAPI: postableAlerts."""
    rows = request.json
    return request.path == "/api/v2/alerts" and isinstance(rows, list) and all(map(is_postable, rows))


def is_postable(row: dict[str, Any]) -> bool:
    sets = [row["labels"], row.get("annotations", {})]
    texts = all(isinstance(value, str) and LABEL.fullmatch(name) for each in sets for name, value in each.items())
    starts, ends = (datetime.fromisoformat(row[name]) for name in ("startsAt", "endsAt"))
    known = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
    return row.keys() <= known and bool(row["labels"].get("alertname")) and texts and starts < ends


def test_an_alertmanager_takes_what_it_gets_and_what_the_docs_show(receiver: Receiver) -> None:
    strict(receiver, is_for_an_alertmanager)
    target = Alertmanager("pager", url=receiver.url.partition("/hook")[0], token_env="TOKEN")
    assert told(target, TOKEN="abc") is None
    [request] = receiver.requests
    assert request.headers["authorization"] == "Bearer abc"
    [shown], [sent] = json.loads(example("startsAt", "json")), request.json
    assert is_postable(shown)
    assert (shown.keys(), shown["labels"].keys()) == (sent.keys(), sent["labels"].keys())


# --- Standard Webhooks --------------------------------------------------------------------------------------


def test_the_example_of_a_receiver_verifies_what_the_docs_show(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(Webhook("ops", url=receiver.url, secret_env="OPS_SECRET"), OPS_SECRET=KEY) is None
    [request] = receiver.requests
    monkeypatch.setenv("OPS_SECRET", KEY)
    alert = defined("standardwebhooks", os=os, request=request)["alert"]
    shown = json.loads(example("alert.raised", "json"))
    assert (shown.keys(), shown["data"].keys()) == (alert.keys(), alert["data"].keys())
    assert alert["type"] == shown["type"]
    monkeypatch.setenv("OPS_SECRET", KEY.replace("M", "N"))
    with pytest.raises(WebhookVerificationError):
        defined("standardwebhooks", os=os, request=request)


def test_the_example_of_rules_is_a_stream_without_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_SECRET", KEY)

    def made(_: object, **more: Any) -> Stream:
        return Stream(name="fraud", task="binary", model=linear_model.LogisticRegression, **more)

    stream = defined("Alertmanager(", Stream=made)["stream"]
    assert [rule.called for rule in stream.alerts] == ["drift", "f1", "missing-amount", "events_per_second"]
    assert list(look_at_alerts(stream)) == []


# --- `millstream alerts test` -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        (answering(204), 0, "ops"),
        (answering(307, "Location: http://127.0.0.1:1/"), 1, "a redirect (HTTP 307), which is not followed"),
        (answering(410), 1, "it answers with HTTP 410"),
        (answering(500), 1, "it answers with HTTP 500"),
        (hanging, 1, "no answer within"),
        (closing, 1, "it closes the connection without an answer"),
    ],
    ids=["accepts", "redirects", "gone", "fails", "hangs", "closes"],
)
def test_a_test_alert_tells_how_a_receiver_answers(
    behaviour: Behaviour, code: int, said: str, receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(http_post.post, "__defaults__", (0.5,))
    receiver.behaviour = behaviour
    body = f"""
from river import linear_model
from millstream import Notify, Rule, Stream, Webhook
stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(),
    alerts=[Rule("drift", do=[Notify("ops")])], notify=[Webhook("ops", url={receiver.url!r})],
)
"""
    file = write(tmp_path, body, "s.py")
    words = ["alerts", "test", file, "ops", "--home", str(tmp_path / "home")]
    assert app.run(words) == code
    out, error = capsys.readouterr()
    assert said in out + error
    assert "hook?a=b" not in out + error
    assert len(receiver.requests) == 1
