"""A backfill reads somebody else's topic as the predictor did, and answers with whole predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from broker.commands import Run
from broker.phishing_loop import serving
from raw_kafka import raw_admin
from whole_loop import WholeLoop, whole_loop

from millstream.config.settings import Settings
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of
from runtime.kafka_client.cluster import Cluster
from schemas.events import read_prediction

PARTITIONS, WAVE = 3, 30
FILE = """
from river import linear_model, preprocessing
from millstream import Predictions, Source, Stream

stream = Stream(
    name="shop",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    features=Source(topic="{topic}", id="payment.id", fields={{"amount": "payment.amount", "new": "payment.new"}}),
    predictions=Predictions(format="json"),
)
"""


def pay(loop: WholeLoop, topic: str, wave: int) -> None:
    """Send a wave of payments, each third message of which is none; then their labels."""
    numbers = range(wave * WAVE, (wave + 1) * WAVE)
    for number in numbers:
        payment = {"id": f"p{number}", "amount": number % 7, "new": number % 2 == 0}
        value = json.dumps({"payment": payment}) if number % 3 else "{"
        loop.producer.send(topic, value.encode(), f"c{number % 5}".encode(), partition=number % PARTITIONS)
    loop.wait_until(lambda: len(loop.predictions()) == (wave + 1) * WAVE, "all are answered")
    for number in numbers:
        if number % 3:
            loop.label(f"p{number}", number % 7 > 3)
    learned = (wave + 1) * (WAVE - WAVE // 3)
    loop.wait_until(lambda: serving(loop) == f"1/{learned}", "the newest version serves")


def said(loop: WholeLoop, topic: str) -> dict[Any, Any]:
    told: dict[Any, Any] = {}
    for record in loop.records(topic):
        found = read_prediction(record.value)
        outcome = found.outcome
        place = outcome.source_topic, outcome.source_partition, outcome.source_offset
        assert place not in told
        told[place] = found.event, outcome.prediction, outcome.probabilities, outcome.version, outcome.error, record.key
    return told


def test_as_of_over_messages_of_others_equals_what_was_served(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    topic, file = f"{prefix}shop.payments", tmp_path / "shop.py"
    with raw_admin(Cluster(bootstrap)) as client:
        client.create_topics({topic: {"num_partitions": PARTITIONS}})
    file.write_text(FILE.format(topic=topic))
    loaded, models = load_stream(str(file)), Settings(tmp_path, bootstrap, prefix).models
    more: Any = {"definition": definition_of(loaded), "models": models}
    with whole_loop(loaded.stream, bootstrap, prefix, tmp_path, **more) as loop:
        for wave in range(2):
            pay(loop, topic, wave)
        then = said(loop, loop.names.whole)
    assert len(then) == 2 * WAVE
    assert {each[3] for each in then.values() if each[4] is None} == {"1/0", f"1/{WAVE - WAVE // 3}"}
    code, told, errors = run("backfill", str(file), "--as-of", "--into", f"{prefix}again")
    assert (code, told["written"], told["unanswered"]) == (0, 2 * WAVE, 0), errors
    assert said(loop, f"{prefix}again") == then
    code, _, errors = run("backfill", str(file), "--into", topic)
    assert (code, "would read the answers as events" in errors) == (1, True), errors
