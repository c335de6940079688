"""Alerts over HTTP: what the console acknowledges and silences, in whose name, and that it is on the alerts topic."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from raw_kafka import raw_producer
from system.commands import lines, millstream
from system.console_rig import FLOW, console
from system.oracle import Stream, read_all

from runtime.kafka_client.cluster import Cluster
from schemas.alerts import Alert, AlertNote, read_alert_record

HOUR = 3_600_000
RAISED = "monitor.drift"


class Alerts:
    """A console with tokens, and the alerts topic that it writes to."""

    def __init__(self, stream: Stream, client: httpx.Client, tokens: dict[str, str]) -> None:
        self.stream, self._client, self._tokens = stream, client, tokens

    def send(self, decision: str, body: Any, holder: str = "ann") -> httpx.Response:
        headers = {"authorization": f"Bearer {self._tokens[holder]}"}
        return self._client.post(f"/v1/{decision}", json=body, headers=headers)

    def decide(self, decision: str, **body: str) -> Any:
        response = self.send(decision, body)
        assert response.status_code == 200, response.text
        made = response.json()
        assert made.pop("stream") == "flow"
        return made

    def open(self) -> list[Any]:
        """Return what the console says is open, which is what the command says."""
        headers = {"authorization": f"Bearer {self._tokens['reader']}"}
        found: list[Any] = self._client.get("/v1/alerts", headers=headers).json()["open"]
        assert found == lines(self.stream, "alerts", self.stream.ref, "--open")
        return found

    def notes(self) -> list[AlertNote]:
        """Return the decisions on the topic."""
        topic = self.stream.names.topic("alerts")
        read = [(each.key, read_alert_record(each.value)) for each in read_all(self.stream.bootstrap, topic)]
        assert all(key == note.name.encode() for key, note in read)
        return [note for _, note in read if isinstance(note, AlertNote)]


@pytest.fixture(scope="module")
def at(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerts]:
    stream = Stream(str(FLOW), bootstrap, f"coa-{secrets.token_hex(4)}-", tmp_path_factory.mktemp("home"))
    millstream(stream, "topics", "create", stream.ref)
    millstream(stream, "keys", "init")
    producer = raw_producer(Cluster(bootstrap))
    raised = Alert(RAISED, "warning", "raised", "x has drifted", time.time_ns() // 1_000_000, {})
    producer.send(stream.names.topic("alerts"), raised.encode(), RAISED.encode(), partition=0)
    producer.flush(20)
    producer.close()
    scopes = {"ann": "admin", "reader": "read", "sighted": "data"}
    tokens = {name: millstream(stream, "tokens", "create", name, "--scope", of) for name, of in scopes.items()}
    with console(stream) as found:
        yield Alerts(stream, found.client, {name: token.strip() for name, token in tokens.items()})


def test_a_raised_alert_is_acknowledged_in_the_name_of_the_token(at: Alerts) -> None:
    before = at.notes()
    made = at.decide("ack", alert=RAISED, why="the shop has a new form")
    assert made == {
        "name": RAISED,
        "decision": "ack",
        "by": "ann",
        "why": "the shop has a new form",
        "at": made["at"],
        "until": None,
    }
    assert at.notes() == [*before, AlertNote(**made)]
    [row] = [each for each in at.open() if each["name"] == RAISED]
    assert row["ack"] == {"by": "ann", "why": "the shop has a new form", "at": made["at"], "until": None}


def test_a_silence_has_an_end_and_another_decision_ends_it_earlier(at: Alerts) -> None:
    before = at.notes()
    # What is not raised may be silenced before a test that will raise it.
    made = at.decide("silence", alert="monitor.later", why="load test", **{"for": "2h"})
    assert (made["decision"], made["by"], made["until"] - made["at"]) == ("silence", "ann", 2 * HOUR)
    [row] = [each for each in at.open() if each["name"] == "monitor.later"]
    assert (row["state"], row["silence"]["why"], row["silence"]["until"]) == ("not raised", "load test", made["until"])
    ended = at.decide("unsilence", alert="monitor.later", why="the test is over")
    assert (ended["decision"], ended["by"], ended["until"]) == ("unsilence", "ann", None)
    assert "monitor.later" not in [each["name"] for each in at.open()]
    assert at.notes() == [*before, AlertNote(**made), AlertNote(**ended)]


@pytest.mark.parametrize(
    ("decision", "body", "status", "code"),
    [
        ("ack", {"alert": "monitor.none", "why": "x"}, 404, "alert"),
        ("unsilence", {"alert": RAISED, "why": "x"}, 404, "alert"),
        ("unsilence", {"alert": "monitor.none", "why": "x"}, 404, "alert"),
        *(
            (decision, {"alert": name, "why": "x", **more}, 422, "alert")
            for decision, more in (("ack", {}), ("silence", {"for": "1h"}), ("unsilence", {}))
            for name in ("", "a b", "../x", "a" * 65, "é")
        ),
        ("ack", {"why": "x"}, 422, "alert"),
        *(
            ("silence", {"alert": RAISED, "why": "x", "for": span}, 422, "for")
            for span in ("", "soon", "2", "-1h", "0s", "367d", "9" * 400 + "d")
        ),
        ("silence", {"alert": RAISED, "why": "x"}, 422, "for"),
        ("ack", {"alert": RAISED, "why": "x", "for": "1h"}, 422, "for"),
        ("unsilence", {"alert": RAISED, "why": "x", "for": "1h"}, 422, "for"),
        ("silence", {"alert": RAISED, "why": "x", "for": 60}, 400, "json"),
        *((decision, {"alert": RAISED}, 422, "why") for decision in ("ack", "unsilence")),
        ("silence", {"alert": RAISED, "for": "1h"}, 422, "why"),
        ("ack", {"alert": RAISED, "why": " \n"}, 422, "why"),
        ("ack", {"alert": RAISED, "why": "x" * 1001}, 422, "why"),
        ("ack", {"alert": RAISED, "why": "x", "by": "somebody else"}, 400, "json"),
        ("ack", {"alert": RAISED, "why": "x", "version": "1/0"}, 400, "json"),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else None,
)
def test_a_decision_that_cannot_be_is_none(at: Alerts, decision: str, body: Any, status: int, code: str) -> None:
    before = at.notes()
    response = at.send(decision, body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert at.notes() == before


def test_of_a_name_that_is_nearly_right_the_right_one_is_told(at: Alerts) -> None:
    said = at.send("ack", {"alert": "monitor.drfit", "why": "x"}).json()["error"]["message"]
    assert said == f"no alert monitor.drfit is raised; did you mean {RAISED}?"


@pytest.mark.parametrize("holder", ["reader", "sighted"])
@pytest.mark.parametrize("decision", ["ack", "silence", "unsilence"])
def test_who_may_not_decide_does_not(at: Alerts, decision: str, holder: str) -> None:
    before = at.notes()
    body = {"alert": RAISED, "why": "x", **({"for": "1h"} if decision == "silence" else {})}
    response = at.send(decision, body, holder)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "scope")
    assert at.notes() == before
