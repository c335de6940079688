"""A schema registry that does not answer: nothing is a dead letter for that; what waits is read when it is back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from loop_helpers import put, running, settings, until, warmed
from raw_kafka import raw_admin
from registry_server import RegistryServer, registry_server
from system.oracle import read_all

from consumers.intake.intake import Intake, IntakeSettings
from millstream.cli.app import run
from millstream.embedded_kafka.server_properties import free_port
from millstream.reading.topic_readers import read
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.events import Label, read_label
from schemas.schema_registry import Registry, RegistryError, RegistrySettings
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.source import Source
from schemas.target import Target
from schemas.topics import Names

CHARGEBACK = {
    "type": "record",
    "name": "Chargeback",
    "fields": [
        {"name": "ref", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["fraud", "fine"]}},
    ],
}


def framed(number: int, row: dict[str, Any]) -> bytes:
    out = BytesIO(b"\x00" + number.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(CHARGEBACK), row)
    return out.getvalue()


def intake(names: Names, topic: str, url: str) -> Intake:
    source = Source(topic=topic, format="registry", id="ref", value="status == 'fraud'", time="at")
    registry = Registry(RegistrySettings((url,), patience_s=0))
    mapping = LabelMapping(source, decoder(source, registry))
    return Intake(IntakeSettings(names, Target(task="binary"), 2), [mapping])


def published(server: RegistryServer, cluster: Cluster, topic: str) -> None:
    """Write two labels, and one whose schema the registry has never had."""
    with raw_admin(cluster) as client:
        client.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    number = server.add(f"{topic}-value", CHARGEBACK)
    rows = (("a", "fraud", number), ("b", "fraud", number + 7), ("c", "fine", number))
    at = 1_714_979_289_123_456
    put(cluster, topic, [framed(of, {"ref": each, "at": at, "status": status}) for each, status, of in rows])


def test_a_registry_that_is_away_holds_labels_up_and_spoils_none(bootstrap: str, prefix: str) -> None:
    cluster, topic = warmed(bootstrap), prefix + "chargebacks"
    names = Names("fraud", prefix, labels_from=(topic,))
    admin.create(cluster, names, partitions=2, label_wait_ms=60_000)
    with registry_server() as server:
        published(server, cluster, topic)
        nobody = intake(names, topic, f"http://127.0.0.1:{free_port()}")
        with running(cluster, settings(prefix), nobody) as away:
            failure = away.wait()
        assert isinstance(failure, RegistryError)
        assert failure.exit_code == 75
        assert list(read_all(bootstrap, names.topic("labels"))) == []
        assert list(read_all(bootstrap, names.topic("dead-letters"))) == []

        with running(cluster, settings(prefix), intake(names, topic, server.url)):
            until(lambda: list(read(cluster, names, "dead-letters")), "the message without a schema")
    found = [read_label(record.value) for record in read_all(bootstrap, names.topic("labels"))]
    assert sorted(found, key=lambda label: label.event_id) == [
        Label("a", True, 1_714_979_289_123),
        Label("c", False, 1_714_979_289_123),
    ]
    (letter,) = read(cluster, names, "dead-letters")
    assert "knows no schema 8" in json.dumps(letter)


_LABELLED = """
from millstream import Labels, Source, Stream
from river import linear_model

stream = Stream(name="fraud", task="binary", model=linear_model.LogisticRegression,
    labels=Labels(sources=Source(topic="TOPIC", format="registry", id="ref", value="status == 'fraud'")))
"""


def test_an_intake_that_may_not_ask_ends_with_a_line_of_its_log(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    cluster, topic = warmed(bootstrap), prefix + "chargebacks"
    admin.create(cluster, Names("fraud", prefix), partitions=2, label_wait_ms=60_000)
    file = tmp_path / "labelled.py"
    file.write_text(_LABELLED.replace("TOPIC", topic))
    with registry_server("me", "right") as server:
        published(server, cluster, topic)
        told = {"HOME": str(tmp_path), "BOOTSTRAP": bootstrap, "PREFIX": prefix, "REGISTRY_URL": server.url}
        ended = subprocess.run(
            [sys.executable, "-m", "millstream", "intake", str(file), "--log-format", "json"],
            env={**os.environ, **{f"MILLSTREAM_{name}": value for name, value in told.items()}},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    lines = [json.loads(line) for line in (ended.stdout + ended.stderr).splitlines()]
    assert ended.returncode == 1
    (failed,) = [line for line in lines if line.get("event") == "failed"]
    assert "denies access (401)" in failed["message"]


_FRAMED = """
from millstream import Predictions, Stream
from river import linear_model

stream = Stream(name="fraud", task="binary", model=linear_model.LogisticRegression,
                predictions=Predictions(format="registry"))
"""


def test_a_predictor_that_may_not_write_ends_with_a_line_that_says_what_to_do(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"HOME": str(tmp_path / "home"), "BOOTSTRAP": bootstrap, "PREFIX": prefix, "LOG_FORMAT": "text"}
    for name, value in settings.items():
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    file = tmp_path / "framed_answers.py"
    file.write_text(_FRAMED)
    assert run(["topics", "create", str(file)]) == 0
    with registry_server("me", "right") as server:
        registry = {"URL": server.url, "USER": "me", "PASSWORD": "right"}
        for given, said in (
            ({}, 'Predictions(format="registry") needs a schema registry: set MILLSTREAM_REGISTRY_URL'),
            ({**registry, "PASSWORD": "wrong"}, "denies access (401)"),
            (registry, f"as {prefix}fraud.predictions-value: register what `millstream schema Prediction` prints"),
        ):
            for name, value in given.items():
                monkeypatch.setenv(f"MILLSTREAM_REGISTRY_{name}", value)
            capsys.readouterr()
            assert run(["predictor", str(file)]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line
            assert "wrong" not in line
