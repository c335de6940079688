"""Predictions for others: what each form holds, read back by libraries that know nothing of ours."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from registry_server import RegistryServer, registry_server

from schemas.codec import full_schema
from schemas.events import Event, Failure, Outcome, Prediction, read_prediction
from schemas.public_predictions import NoSchema, encoder
from schemas.schema_registry import Registry, RegistrySettings
from schemas.sources.decoding import decoder
from schemas.sources.source import Source

EVENT = Event(
    "e1", 1_700_000_000_000, {"a": 0.1 + 0.2, "b": -3, "c": "é", "d": None, "e": [1.0], "f": b"\x00\xff"}, "k"
)
OUTCOME = Outcome(True, {"true": 1 / 3, "false": 2 / 3}, "fraud", 2, 2**53 + 1, 1_700_000_000_005, "payments", 3, 2**40)
PREDICTION = Prediction(EVENT, OUTCOME)
FAILED = Prediction(
    Event("e2", 0, {"a": math.nan, "b": math.inf, "c": [math.nan]}),
    msgspec.structs.replace(OUTCOME, prediction=None, error=Failure("codec", "no"), status="error"),
)
SUBJECT = "fraud.predictions-value"


def asking(server: RegistryServer, **more: Any) -> Registry:
    return Registry(RegistrySettings((server.url,), patience_s=0, **more))


def test_json_has_the_names_of_the_schema_and_every_digit() -> None:
    found = json.loads(encoder("json")(PREDICTION))
    assert found == {
        "event_id": "e1",
        "event_time": 1_700_000_000_000,
        "features": {"a": 0.1 + 0.2, "b": -3, "c": "é", "d": None, "e": [1.0], "f": "AP8="},
        "entity_key": "k",
        "prediction": True,
        "probabilities": {"true": 1 / 3, "false": 2 / 3},
        "model": "fraud",
        "epoch": 2,
        "examples": 2**53 + 1,
        "predicted_at": 1_700_000_000_005,
        "source_topic": "payments",
        "source_partition": 3,
        "source_offset": 2**40,
        "error": None,
        "role": "serving",
        "status": "ok",
    }
    event, outcome = (field["type"] for field in full_schema("Prediction")["fields"])
    assert set(found) == {field["name"] for part in (event, outcome[1]) for field in part["fields"]}


def test_json_never_holds_nan_or_infinity() -> None:
    written = encoder("json")(FAILED)
    found = json.loads(written, parse_constant=pytest.fail)
    assert found["features"] == {"a": None, "b": None, "c": [None]}
    assert found["error"] == {"code": "codec", "message": "no"}


def test_avro_is_what_the_loop_itself_reads() -> None:
    assert read_prediction(encoder("avro")(PREDICTION)) == PREDICTION


@pytest.mark.parametrize("form", ["avro", "json", "registry"])
def test_features_stay_away_where_they_are_to(form: Any) -> None:
    with registry_server() as server:
        registry = asking(server, auto_register=True)
        write = encoder(form, features=False, registry=registry, subject=SUBJECT)
        found = decoder(Source(topic="t"), registry)(write(PREDICTION), ())
    event, outcome = (found, found) if form == "json" else (found["event"], found["outcome"])
    assert not event.get("features")
    assert event["event_id"] == "e1"
    assert outcome["probabilities"] == {"true": 1 / 3, "false": 2 / 3}
    assert PREDICTION.event.features, "the prediction itself is as it was"


def test_framed_by_a_registry_it_is_read_with_nothing_but_the_registry_and_an_avro_library() -> None:
    with registry_server() as server:
        server.add("other-value", "long")
        number = server.add(SUBJECT, full_schema("Prediction"))
        written = encoder("registry", registry=asking(server), subject=SUBJECT)(PREDICTION)
        assert written[:5] == b"\x00" + number.to_bytes(4, "big")
        schema = fastavro.parse_schema(json.loads(server.schemas[number - 1]["schema"]))
        body = BytesIO(written[5:])
        found: Any = fastavro.schemaless_reader(body, schema, None)
        assert found["outcome"]["prediction"] is True
        assert found["event"]["features"] == EVENT.features
        assert not body.read()
        assert server.requests == [f"POST /subjects/{SUBJECT}"]


def test_nothing_is_registered_unless_that_is_allowed() -> None:
    with registry_server() as server:
        with pytest.raises(NoSchema, match=rf"as {SUBJECT}: .*millstream schema Prediction.*AUTO_REGISTER"):
            encoder("registry", registry=asking(server), subject=SUBJECT)
        assert server.requests == [f"POST /subjects/{SUBJECT}"]
        encoder("registry", registry=asking(server, auto_register=True), subject=SUBJECT)
        assert server.requests[1:] == [f"POST /subjects/{SUBJECT}", f"POST /subjects/{SUBJECT}/versions"]
        encoder("registry", registry=asking(server), subject=SUBJECT)
    with pytest.raises(NoSchema, match="MILLSTREAM_REGISTRY_URL"):
        encoder("registry", subject=SUBJECT)


@pytest.mark.parametrize("kind", ["Event", "Label", "Prediction"])
def test_the_command_prints_a_schema_that_stands_by_itself(kind: str) -> None:
    command = [sys.executable, "-P", "-m", "millstream", "schema", kind]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == full_schema(kind)
    fastavro.parse_schema(json.loads(printed))
