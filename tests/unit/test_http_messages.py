"""Raw messages of a stream's external topic, sent to the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.http_site import CONTRACT, NAMES, Make, Site, make

from consumers.predictor.predictor import PredictorSettings
from runtime.exits import Doubt
from schemas.dead_letters import read_dead_letter
from schemas.sources.decoding import decoder
from schemas.sources.event_mapping import EventMapping
from schemas.sources.source import Source
from schemas.target import Target
from server.answering.answerer import Answerer, AnswererSettings

__all__ = ["make"]

FIELDS = {"x": "payment.amount", "y": "payment.fee"}
MESSAGE = {"id": "p-1", "at": 7, "payment": {"amount": 3.5, "fee": 1}}


def mapped(site: Site, source: Source) -> Site:
    form = PredictorSettings(NAMES, CONTRACT, 4).form
    mapping = EventMapping(source, decoder(source))
    site.answerer = Answerer(
        AnswererSettings(
            NAMES, CONTRACT, Target(task="regression"), 4, form, "http:abc", 0, mapping, has_ids=bool(source.ids)
        )
    )
    return site


@pytest.fixture
def site(make: Make, tmp_path: Path) -> Site:
    return mapped(make(), Source(topic="payments", id="id", time="at", fields=FIELDS))


def test_a_raw_message_is_mapped_and_an_event_is_taken_too(site: Site) -> None:
    said = site.one(MESSAGE)
    assert (said.status, said.json["event_id"], said.json["prediction"]) == (200, "p-1", 7.0)
    assert site.one(MESSAGE).json["repeated"] is True
    other = site.one({**MESSAGE, "payment": {"amount": 4, "fee": 1}})
    assert (other.status, other.code) == (422, "conflict")
    assert site.one({"event_id": "e", "features": {"x": 1, "y": 2}}).json["prediction"] == 2.0
    logged = [each.event for each in site.predictions()]
    assert [(each.event_id, each.features["x"]) for each in logged] == [("p-1", 3.5), ("e", 1)]
    assert logged[0].event_time == 7


def test_rows_may_be_raw_messages(site: Site) -> None:
    lines = b"\n".join(json.dumps({**MESSAGE, "id": f"p-{n}"}).encode() for n in range(3)) + b"\n{"
    said = site.one(lines, content_type="application/x-ndjson")
    told = [json.loads(line) for line in said.answer.splitlines()]
    assert [each.get("event_id") for each in told] == ["p-0", "p-1", "p-2", None]
    assert told[3]["error"]["code"] == "json"


def test_a_message_that_cannot_be_mapped_is_an_error_answer_and_a_dead_letter_of_its_bytes(site: Site) -> None:
    said = site.one({**MESSAGE, "at": "yesterday"})
    assert (said.status, said.code, said.json["event_id"]) == (422, "time", "p-1")
    letter = read_dead_letter(site.values("dead-letters")[0])
    assert json.loads(letter.value or b"") == {**MESSAGE, "at": "yesterday"}
    nameless = site.one({**MESSAGE, "id": None}, idempotency_key="k")
    assert (nameless.status, nameless.code, nameless.json["event_id"]) == (422, "id", "k")
    for unreadable in (b"{", b"\xff", b""):
        said = site.one(unreadable)
        assert (said.status, said.code) == (400, "json")
    assert len(site.entries()) == 2


def test_without_an_id_in_the_message_the_key_or_an_id_made_here_names_the_event(make: Make) -> None:
    site = mapped(make(), Source(topic="payments", fields=FIELDS))
    assert site.one(MESSAGE, idempotency_key="mine").json["event_id"] == "mine"
    first, second = (site.one(MESSAGE).json["event_id"] for _ in range(2))
    assert len(first) == 28
    assert first != second


def test_a_registry_that_is_away_is_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Doubt("the schema registry does not answer")

    monkeypatch.setattr(site.answerer, "read_message", away)
    said = site.one(b"\x00\x00\x00\x00\x07binary")
    assert (said.status, said.code, said.headers["retry-after"]) == (503, "registry", "1")
    assert site.entries() == []
