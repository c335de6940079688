"""Elec2 from topics as teams have them: Avro keyed by customer, labels in another team's JSON, under other keys.

Every label is joined, and the metrics are those of River over the same examples in the log's order.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import fastavro
import pytest
from broker.whole_loop import whole_loop
from kafka.admin import NewTopic
from raw_kafka import raw_admin, raw_producer
from river import evaluate, linear_model, metrics, optim, preprocessing
from system.commands import told
from system.oracle import Stream, read_all

from millstream.stream.load import load_stream
from model_store import open_store
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.partitioner import hashed
from schemas.events import Example, read_example

CUSTOMERS: Final = 97
BEGIN: Final = datetime(1996, 5, 7, tzinfo=UTC)
HALF_AN_HOUR: Final = timedelta(minutes=30)
NUMBERS: Final = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
DECIMAL: Final = {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 20}
STATE: Final = {
    "type": "record",
    "name": "State",
    "fields": [{"name": "price", "type": "double"}, {"name": "demand", "type": "double"}],
}
READING: Final = {
    "type": "record",
    "name": "Reading",
    "namespace": "team.metering",
    "fields": [
        {"name": "meter", "type": {"type": "record", "name": "Meter", "fields": [
            {"name": "customer", "type": "string"},
            {"name": "number", "type": "long"},
        ]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "period", "type": DECIMAL},
        {"name": "nsw", "type": STATE},
        {"name": "vic", "type": ["null", "State"]},
        {"name": "transfer", "type": "double"},
        {"name": "comment", "type": ["null", "string"]},
    ],
}  # fmt: skip

FILE: Final = """
from river import linear_model, optim, preprocessing
from millstream import Labels, Source, Stream, Validation

stream = Stream(
    name="elec2-of-others",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1)),
    features=Source(
        topic="{readings}",
        format="avro",
        schema="{schema}",
        id=["meter.customer", "meter.number"],
        time="at",
        fields={{
            "period": "period",
            "nswprice": "nsw.price",
            "nswdemand": "nsw.demand",
            "vicprice": "vic.price",
            "vicdemand": "vic.demand",
            "transfer": "transfer",
        }},
        contract={{name: "number" for name in {numbers}}},
    ),
    labels=Labels(
        sources=Source(
            topic="{settlements}",
            format="json",
            id=["of.customer", "of.reading"],
            value="outcome == 'UP'",
            time="settled_at",
        )
    ),
    partitions=3,
    # River leaves out nothing; between partitions this log jumps by days, and prices with it.
    validation=Validation(bounds="off"),
)
"""


class Row(NamedTuple):
    """One half hour. `features` as a model is to get them."""

    number: int
    features: dict[str, float]
    up: bool

    @property
    def customer(self) -> str:
        return f"customer-{self.number % CUSTOMERS}"

    @property
    def at(self) -> datetime:
        return BEGIN + self.number * HALF_AN_HOUR

    @property
    def event_id(self) -> str:
        return f"{self.customer}:{self.number}"

    def reading(self) -> bytes:
        told = self.features
        fields = {
            "meter": {"customer": self.customer, "number": self.number},
            "at": self.at,
            "period": Decimal(str(told["period"])),
            "nsw": {"price": told["nswprice"], "demand": told["nswdemand"]},
            "vic": {"price": told["vicprice"], "demand": told["vicdemand"]},
            "transfer": told["transfer"],
            "comment": None,
        }
        out = BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(READING, named_schemas={}), fields)
        return out.getvalue()

    def settlement(self, at: datetime, outcome: str | None) -> bytes:
        of = {"customer": self.customer, "reading": self.number}
        return json.dumps({"of": of, "outcome": outcome, "settled_at": at.isoformat()}).encode()


def rows(path: Path, most: int) -> list[Row]:
    with path.open(newline="") as file:
        return [
            Row(number, {name: float(row[name]) for name in NUMBERS}, row["class"] in ("1", "UP"))
            for number, row in enumerate(islice(csv.DictReader(file), most))
        ]


def settlements(data: list[Row]) -> Iterator[tuple[Row, datetime, str | None]]:
    """Yield every label within an hour of its event, in the order of those times; some are open at first."""
    rng = random.Random(4)
    due = [(row.at + rng.random() * timedelta(hours=1), row) for row in data]
    for at, row in sorted(due):
        if row.number % 10 == 0:
            yield row, at, None
        yield row, at, "UP" if row.up else "DOWN"


class OfOthers:
    """Two topics of others with Elec2 on them, and the stream that reads them."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, name: str) -> None:
        self.readings, self.settlements = f"{prefix}metering.readings", f"{prefix}billing.settlements"
        schema = folder / "reading.avsc"
        schema.write_text(json.dumps(READING))
        file = folder / f"{name}.py"
        names = {"readings": self.readings, "settlements": self.settlements, "schema": schema, "numbers": NUMBERS}
        file.write_text(FILE.format(**names))
        self.stream = Stream(str(file), bootstrap, prefix, folder / "home")
        self.cluster = Cluster(bootstrap)

    def send(self, data: list[Row]) -> None:
        with raw_admin(self.cluster) as admin:
            admin.create_topics([NewTopic(self.readings, 6, 1), NewTopic(self.settlements, 4, 1)])
        with closing(raw_producer(self.cluster, linger_ms=20)) as producer:
            for row in data:
                key = row.customer.encode()
                producer.send(self.readings, row.reading(), key, partition=hashed(key, 6))
            for row, at, outcome in settlements(data):
                region = f"region-{row.number % 11}".encode()
                producer.send(self.settlements, row.settlement(at, outcome), region, partition=hashed(region, 4))
            producer.flush(60)

    def run(self, seconds: float) -> str:
        words = ["run", self.stream.ref, "--predictors", "2", "--until-idle", "2s"]
        done = subprocess.run(
            [sys.executable, "-m", "millstream", *words],
            env=self.stream.environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        return done.stdout


def of_river(log: list[Example], wanted: list[str]) -> dict[str, float]:
    """The plain way: River's own evaluation over the examples, in the log's order."""
    fresh = [getattr(metrics, name)() for name in wanted]
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))
    examples = [(example.event.features, example.label.value) for example in log if example.label]
    evaluate.progressive_val_score(examples, model, metrics.base.Metrics(fresh))
    return {type(metric).__name__: metric.get() for metric in fresh}


def of_what_was_served(log: list[Example], wanted: list[str]) -> dict[str, float]:
    """River's metrics of the answers as they went out."""
    fresh = [getattr(metrics, name)() for name in wanted]
    for example in log:
        if example.label is None or example.outcome is None or example.outcome.prediction is None:
            continue
        for metric in fresh:
            share = (example.outcome.probabilities or {}).get("true", 0.0)
            metric.update(example.label.value, example.outcome.prediction if metric.requires_labels else share)
    return {type(metric).__name__: metric.get() for metric in fresh}


def insist_on_every_label(log: list[Example], data: list[Row]) -> None:
    """Every event is in the log once, with its features, its time and its label."""
    assert len(log) == len(data)
    assert {e.event.event_id: e.label.value for e in log if e.label} == {row.event_id: row.up for row in data}
    assert {e.event.event_id: e.event.features for e in log} == {row.event_id: row.features for row in data}
    times = {row.event_id: int(row.at.timestamp() * 1000) for row in data}
    assert {e.event.event_id: e.event.event_time for e in log} == times
    assert all(0 <= e.label.label_time - times[e.event.event_id] <= 3_600_000 for e in log if e.label)


def insist_on_rivers_metrics(log: list[Example], found: dict[str, Any]) -> None:
    """What a version says of itself is what River says of the same examples, in the log's order."""
    assert found["progressive"]["all"] == of_river(log, list(found["progressive"]["all"]))
    assert found["served"]["all"] == pytest.approx(of_what_was_served(log, list(found["served"]["all"])), rel=1e-12)


def test_the_beginning_of_elec2_is_joined_and_measured_as_by_river(
    bootstrap: str, prefix: str, tmp_path: Path, elec_path: Path
) -> None:
    data = rows(elec_path, 3_000)
    others = OfOthers(bootstrap, prefix, tmp_path, "elec2_of_others_begins")
    others.send(data)
    stream = load_stream(others.stream.ref).stream
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        loop.wait_until(lambda: loop.learned() == len(data), "all learned", 120)
        log = loop.examples()
        found = loop.store.manifest(loop.store.versions(stream.name)[-1]).metrics
    insist_on_every_label(log, data)
    insist_on_rivers_metrics(log, found)


@pytest.mark.full
def test_all_of_elec2_is_joined_and_measured_as_by_river(
    bootstrap: str, prefix: str, tmp_path: Path, elec_path: Path
) -> None:
    """By `millstream run`, which ends when all is taken in, joined and learned."""
    data = rows(elec_path, 50_000)
    assert len(data) == 45_312
    others = OfOthers(bootstrap, prefix, tmp_path, "elec2_of_others")
    others.send(data)
    others.run(1200)
    log = [read_example(r.value) for r in read_all(bootstrap, others.stream.names.topic("examples"))]
    insist_on_every_label(log, data)

    status = told(others.stream, "status", others.stream.ref)
    assert status["labels"]["joined"] == sum(status["labels"].values()) == len(data)
    assert status["labels_from"] == {
        others.settlements: {"mapped": len(data), "skipped": len(data[::10]), "refused": 0, "lag": 0}
    }
    assert status["dead_letters"] == 0
    store = open_store(others.stream.models, others.stream.home / "keys", sign=False)
    insist_on_rivers_metrics(log, store.manifest(store.versions("elec2-of-others")[-1]).metrics)
