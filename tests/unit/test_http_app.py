"""The endpoints of the server, without a web server before them: statuses, codes, and what goes into the spool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from river import linear_model
from unit.http_site import CONTRACT, NAMES, Make, Raises, Site, make, site
from unit.rsgi import Protocol

from consumers.model.river_model import wrap
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from runtime.kafka_client.records import Partition
from schemas.dead_letters import read_dead_letter
from schemas.events import Event, read_label
from server.spool.spool import Spool, SpoolLimits
from server.web.app import AppLimits

__all__ = ["make", "site"]


# --- answers -------------------------------------------------------------------------------------------


def test_an_event_is_answered_and_logged_with_its_place_in_the_spool(site: Site) -> None:
    said = site.one({"event_id": "a", "features": {"x": 1.5, "y": 2.0}, "event_time": 5, "entity_key": "card"})
    assert said.status == 200
    assert (said.json["event_id"], said.json["prediction"], said.json["version"]) == ("a", 3.0, "3/81000")
    assert (said.headers["x-model-version"], said.headers["x-event-id"]) == ("3/81000", "a")
    [logged] = site.predictions()
    assert logged.event == Event("a", 5, {"x": 1.5, "y": 2.0}, "card")
    outcome = logged.outcome
    assert (outcome.source_topic, outcome.source_partition, outcome.source_offset) == ("http:abc", 0, 0)
    assert (outcome.prediction, outcome.version, outcome.status) == (3.0, "3/81000", "ok")
    assert outcome.predicted_at == said.json["predicted_at"]


def test_it_is_the_very_record_that_the_predictor_writes(site: Site) -> None:
    site.one({"event_id": "a", "features": {"x": 1.5, "y": 2.0}, "event_time": 5})
    [entry] = site.entries()
    predicted_at = site.predictions()[0].outcome.predicted_at
    assert site.versions.serving is not None

    class Feed:
        def newest(self) -> ServedVersion | None:
            return site.versions.serving

    @dataclass
    class Asked:
        value: bytes = Event("a", 5, {"x": 1.5, "y": 2.0}).encode()
        topic: str = "http:abc"
        partition: int = 0
        offset: int = 0
        timestamp: int = 5
        key: bytes = b"a"
        headers: tuple[()] = ()

    predictor = Predictor(PredictorSettings(NAMES, CONTRACT, 4), Feed(), clock=lambda: predicted_at)
    [output] = predictor.process({Partition("http:abc", 0): [Asked()]})
    [record] = entry.records
    assert (record.partition, record.key, record.value) == (output.partition, output.key, output.value)


def test_an_id_is_the_events_or_the_idempotency_key_or_made_here(site: Site) -> None:
    features = {"features": {"x": 1, "y": 2}}
    assert site.one({**features, "event_id": "a"}, idempotency_key="k").json["event_id"] == "a"
    assert site.one(features, idempotency_key="k").json["event_id"] == "k"
    assert site.one(features, idempotency_key="k").json["repeated"] is True
    made = site.one(features).json["event_id"]
    assert made != site.one(features).json["event_id"]
    assert [each.event.event_id for each in site.predictions()][:3] == ["a", "k", made]


def test_a_repeated_id_gets_the_same_answer_of_the_same_version_and_other_features_a_conflict(site: Site) -> None:
    event = {"event_id": "a", "features": {"x": 1, "y": 2}}
    first = site.one(event)
    site.versions.serving = ServedVersion(wrap(Raises(), "regression"), "fraud", 3, 90_000, 0, None)
    again = site.one({"event_id": "a", "features": {"y": 2, "x": 1}})
    assert again.json == {**first.json, "repeated": True}
    assert again.headers["x-model-version"] == "3/81000"
    other = site.one({"event_id": "a", "features": {"x": 1, "y": 3}})
    assert (other.status, other.code) == (422, "conflict")
    assert len(site.predictions()) == 1


def test_requests_of_one_turn_share_a_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = site.spool.write
    monkeypatch.setattr(site.spool, "write", lambda asked: sizes.append(len(asked)) or write(asked))
    said = site.run(*(site.request({"event_id": f"{n}", "features": {"x": n / 10, "y": 0}}) for n in range(10)))
    assert [each.json["prediction"] for each in said] == [n / 5 for n in range(10)]
    assert sizes == [10]


def test_many_events_have_their_own_answers_and_errors(site: Site) -> None:
    rows = [{"features": {"x": 1, "y": 0}}, {"features": 3}, {"event_id": "c", "features": {"x": 99, "y": 0}}]
    said = site.one({"events": rows}, idempotency_key="k")
    assert said.status == 200
    first, second, third = said.json["answers"]
    assert (first["event_id"], first["prediction"]) == ("k-0", 2.0)
    assert second["error"]["code"] == "json"
    assert (third["event_id"], third["error"]["code"]) == ("c", "range")
    lines = b"\n".join(json.dumps(row).encode() for row in rows) + b"\n\n"
    again = site.one(lines, idempotency_key="k", content_type="application/x-ndjson")
    assert again.headers["content-type"] == "application/x-ndjson"
    told = [json.loads(line) for line in again.answer.splitlines()]
    assert told == [{**first, "repeated": True}, second, {**third, "repeated": True}]
    assert [each.event.event_id for each in site.predictions()] == ["k-0", "c"]


def test_a_large_request_lets_others_have_their_turn(site: Site) -> None:
    rows = [{"features": {"x": 1, "y": n}} for n in range(2000)]
    order: list[str] = []

    async def told(name: str, request: Coroutine[Any, Any, Protocol]) -> Protocol:
        response = await request
        order.append(name)
        return response

    small = {"event_id": "small", "features": {"x": 1, "y": 0}}
    large, _ = site.run(told("large", site.request({"events": rows})), told("small", site.request(small)))
    assert order == ["small", "large"]
    assert len(large.json["answers"]) == 2000


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "code"), [({"x": 99, "y": 0}, "range"), ({"z": 1}, "unknown"), ({"x": 7, "y": 0}, "model")]
)
def test_what_contract_or_model_refuse_is_an_error_answer_and_a_dead_letter(
    site: Site, features: dict[str, float], code: str
) -> None:
    said = site.one({"event_id": "a", "features": features})
    assert (said.status, said.code, said.json["event_id"]) == (422, code, "a")
    [entry] = site.entries()
    assert [each.kind for each in entry.records] == ["whole", "dead-letters"]
    [logged] = site.predictions()
    assert logged.outcome.error is not None
    assert (logged.outcome.error.code, logged.outcome.status) == (code, "error")
    letter = read_dead_letter(entry.records[1].value or b"")
    assert (letter.stage, letter.code, letter.topic, letter.offset) == ("server", code, "http:abc", 0)
    assert json.loads(letter.value or b"")["features"] == features


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"[]", b'{"features": 1}', b'{"features": {"x": NaN}}', b'{"features": {"x": 1e999}}',
     b'{"features": {}, "surplus": 1}', b'{"features": {"x": 123456789012345678901}}', b'\xff{"features": {}}',
     b'{"events": 1}', b'{"events": [], "surplus": 1}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_event_in_json_is_400_and_not_logged(site: Site, body: bytes) -> None:
    said = site.one(body)
    assert (said.status, said.code) == (400, "json")
    assert site.entries() == []


def test_wrong_paths_methods_and_parameters(site: Site) -> None:
    assert (site.one(b"", "/v1/nothing").status, site.one(b"", "/v1/nothing").code) == (404, "not-found")
    said = site.one(b"", method="PUT")
    assert (said.status, said.code, said.headers["allow"]) == (405, "method", "POST")


def test_the_host_and_the_origin_must_be_this_server(site: Site) -> None:
    event = {"features": {"x": 1, "y": 2}}
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:80", "[::1"):
        assert site.one(event, host=host).code == "host"
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"):
        assert site.one(event, host=host).status == 200
    assert site.one(event, origin="https://evil.example").code == "origin"
    assert site.one(event, origin="null").code == "origin"
    assert site.one(event, origin="http://localhost:3000").code == "origin", "another program's page"
    assert site.one(event, origin="http://localhost:8080").status == 200


def test_a_body_beyond_the_limit_is_refused_declared_or_not(make: Make) -> None:
    site = make(app=AppLimits(body_bytes=5000))
    large = b'{"features": {"x": "' + b"x" * 6000 + b'"}}'
    assert (site.one(large).status, site.one(large).code) == (413, "too-large")
    assert site.one(large, content_length="none").status == 413
    assert site.one({"features": {"x": 1, "y": 2}}, content_length="none").status == 200


@pytest.mark.parametrize("declared", ["30", "none"])
def test_a_body_that_does_not_come_is_408(make: Make, declared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Protocol) -> bytes:
        return await asyncio.get_running_loop().create_future()

    async def never_a_part(self: Protocol) -> Any:
        yield await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Protocol, "__call__", never)
    monkeypatch.setattr(Protocol, "__aiter__", never_a_part)
    said = make(app=AppLimits(body_seconds=0.01)).one(b"{}", content_length=declared)
    assert (said.status, said.code, said.headers["connection"]) == (408, "timeout", "close")


def test_too_many_at_once_are_refused_early(make: Make) -> None:
    site = make(app=AppLimits(requests=3))
    said = site.run(*(site.request({"features": {"x": n, "y": 0}}) for n in range(5)))
    assert sorted(each.status for each in said) == [200, 200, 200, 503, 503]
    refused = [each for each in said if each.status == 503]
    assert {(each.code, each.headers["retry-after"]) for each in refused} == {("overloaded", "1")}
    assert len(site.predictions()) == 3


def test_a_full_spool_is_503_and_known_ids_are_still_answered(make: Make) -> None:
    site = make(limits=SpoolLimits(most_bytes=1 << 14))
    event = {"event_id": "first", "features": {"x": 1, "y": 2}}
    assert site.one(event).status == 200
    number = 0
    while (said := site.one({"event_id": f"{number}", "features": {"x": 1, "y": 2}})).status == 200:
        number += 1
    assert (said.status, said.code, said.headers["retry-after"]) == (503, "spool-full", "1")
    assert site.one(event).json["repeated"] is True
    assert len(site.predictions()) == number + 1


def test_without_a_version_it_is_unready_and_answers_503(site: Site) -> None:
    site.versions.serving = None
    said = site.one({"features": {"x": 1, "y": 2}})
    assert (said.status, said.code) == (503, "not-ready")
    assert site.one(b"", "/readyz", method="GET").status == 200
    site.health.draining = True
    assert site.one(b"", "/readyz", method="GET").status == 503


# --- labels --------------------------------------------------------------------------------------------


def test_labels_and_corrections_are_logged(site: Site) -> None:
    said = site.one({"event_id": "a", "value": 1.5, "label_time": 7}, "/v1/labels")
    assert (said.status, said.json) == (202, {"event_id": "a", "taken": True})
    rows = [{"event_id": "a", "value": 2, "kind": "correction"}, {"event_id": "b"}, {"event_id": "c", "value": "word"}]
    many = site.one({"labels": rows}, "/v1/labels").json["labels"]
    assert many[0] == {"event_id": "a", "taken": True}
    assert [each["error"]["code"] for each in many[1:]] == ["json", "label"]
    first, second = map(read_label, site.values("labels"))
    assert (first.value, first.label_time, first.kind) == (1.5, 7, "label")
    assert (second.value, second.kind) == (2, "correction")
    assert second.label_time > 1_600_000_000_000


def test_a_label_that_cannot_be_one_is_refused_and_a_dead_letter(site: Site) -> None:
    for label, code in (
        ({"event_id": "a", "value": "word"}, "label"),
        ({"event_id": "", "value": 1}, "id"),
        ({"event_id": "a", "value": 1, "label_time": -1}, "time"),
    ):
        said = site.one(label, "/v1/labels")
        assert (said.status, said.code) == (422, code)
        letter = read_dead_letter(site.values("dead-letters")[-1])
        assert (letter.stage, letter.code, letter.key) == ("server", code, label["event_id"].encode())
        assert json.loads(letter.value or b"") == label
    said = site.one({"event_id": "a", "value": 1, "source": "timeout"}, "/v1/labels")
    assert (said.status, said.code) == (400, "json")
    assert len(site.entries()) == 3


def test_a_label_with_an_idempotency_key_is_taken_once(site: Site) -> None:
    label = {"event_id": "a", "value": 1.5, "kind": "correction"}
    assert site.one(label, "/v1/labels", idempotency_key="k").status == 202
    assert site.one(label, "/v1/labels", idempotency_key="k").json["repeated"] is True
    assert site.one({**label, "value": 2}, "/v1/labels", idempotency_key="k").code == "conflict"
    assert len(site.values("labels")) == 1


def test_an_untrained_model_that_raises_has_no_answer_yet(make: Make) -> None:
    site = make()
    model = linear_model.LinearRegression()
    model.predict_one = lambda features: 1 / 0  # type: ignore[method-assign]
    site.versions.serving = ServedVersion(wrap(model, "regression"), "fraud", 0, 0, 0, None)
    said = site.one({"features": {"x": 1, "y": 2}})
    assert (said.status, said.json["prediction"], said.json["version"]) == (200, None, "0/0")


def test_the_spool_of_a_closed_site_can_be_opened_again(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        assert spool.lane == 0
    with closing(Spool(tmp_path)) as spool:
        assert spool.lane == 0
