"""A stream with a calendar: what is learned, imported, traced and backfilled is what was served."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from broker.commands import Run
from broker.phishing_loop import serving
from raw_kafka import raw_admin
from whole_loop import WholeLoop, whole_loop

from millstream.cli.app import run as command
from millstream.config.settings import Settings
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of
from runtime.kafka_client.cluster import Cluster
from schemas.events import Event, Features, read_prediction

BERLIN = ZoneInfo("Europe/Berlin")
FILE = """
from river import linear_model, preprocessing
from millstream import Calendar, Source, Stream

stream = Stream(
    name="rides",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    id="id",
    time="at",
    calendar=Calendar("hour", "weekday", tz="Europe/Berlin"),
    features={features},
)
"""
SENT = 20


def used(event: Event) -> Features:
    when = datetime.fromtimestamp(event.event_time / 1000, BERLIN)
    return {"x": event.features["x"], "hour": when.hour, "weekday": when.weekday()}


def rows(file: Path) -> Path:
    """Write a row for each half hour around the two changes of the clock in 2026."""
    changes = ("2026-03-29T00:00:00", "2026-10-25T00:00:00")
    starts = [int(datetime.fromisoformat(each).replace(tzinfo=UTC).timestamp()) for each in changes]
    times = [start + 1800 * number for start in starts for number in range(6)]
    file.write_text("id,at,x,label\n" + "".join(f"h{at},{1000 * at},{at % 7},{at % 3 == 0}\n" for at in times))
    return file


def serve(loop: WholeLoop) -> None:
    loop.wait_until(lambda: len(loop.predictions()) == SENT, "all are answered")
    for number in range(SENT):
        loop.label(f"e{number}", number % 2 == 0)
    loop.wait_until(lambda: len(loop.examples()) == SENT, "all are joined")
    loop.wait_until(lambda: serving(loop) == f"1/{SENT}", "the newest version serves")


def test_examples_hold_what_was_served(
    run: Run, bootstrap: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rides.py"
    file.write_text(FILE.format(features="{'x': 'number'}"))
    loaded, models = load_stream(str(file)), Settings(tmp_path, bootstrap, prefix).models
    more: Any = {"definition": definition_of(loaded), "models": models}
    with whole_loop(loaded.stream, bootstrap, prefix, tmp_path, **more) as loop:
        for number in range(SENT):
            loop.event(f"e{number}", {"x": float(number), "undeclared": 1.0})
        serve(loop)
        examples = {example.event.event_id: example.event for example in loop.examples()}
        predictions = [each.event for each in loop.predictions()]
        assert all(event.features == used(event) for event in predictions)
        assert {event.event_id: event.features for event in predictions} == {
            event_id: event.features for event_id, event in examples.items()
        }
        code, told, errors = run("import", str(file), str(rows(tmp_path / "history.csv")))
        assert (code, told["imported"], told["refused"]) == (0, 12, 0), errors
        history = [each.event for each in loop.examples() if each.event.event_id.startswith("h")]
        assert [event.features["hour"] for event in history] == [1, 1, 3, 3, 4, 4, 2, 2, 2, 2, 3, 3]
        code, told, errors = run("backfill", str(file), "--as-of", "--into", f"{prefix}again")
        assert (code, told["written"]) == (0, SENT), errors
        again = [read_prediction(record.value).event for record in loop.records(f"{prefix}again")]
        assert {each.event_id: each.features for each in again} == {
            event.event_id: event.features for event in predictions
        }
    code, told, errors = run("trace", str(file), "e3")
    assert (code, told["again"]["equal"], told["features"]["features"]) == (0, True, {"x": 3.0, "undeclared": 1.0})
    assert told["predictions"][0]["features"] == used(examples["e3"])
    capsys.readouterr()
    assert command(["preview", str(file), "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["features"] for row in shown] == [examples[row["event_id"]].features for row in shown]


def test_events_of_an_external_topic_have_them_of_their_own_time(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    topic, file = f"{prefix}rides.sent", tmp_path / "rides_sent.py"
    with raw_admin(Cluster(bootstrap)) as client:
        client.create_topics({topic: {"num_partitions": 1}})
    file.write_text(FILE.format(features=f"Source(topic='{topic}', id='id', time='at', fields={{'x': 'x'}})"))
    stream = load_stream(str(file)).stream
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        for number, at in enumerate(("2026-03-29T00:59:59.999Z", "2026-03-29T01:00:00Z", "2026-03-29T22:00:00")):
            value = json.dumps({"id": f"e{number}", "x": number, "at": at})
            loop.producer.send(topic, value.encode())
        loop.wait_until(lambda: len(loop.predictions()) == 3, "all are answered")
        assert [each.event.features for each in loop.predictions()] == [
            {"x": 0, "hour": 1, "weekday": 6},
            {"x": 1, "hour": 3, "weekday": 6},
            {"x": 2, "hour": 0, "weekday": 0},
        ]


def test_history_without_times_is_not_imported(run: Run, bootstrap: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "rides_timeless.py"
    file.write_text(FILE.format(features="{'x': 'number'}").replace('    time="at",\n', ""))
    assert run("topics", "create", str(file))[0] == 0
    code, _, errors = run("import", str(file), str(rows(tmp_path / "history.csv")))
    assert code == 1
    assert "names no column with the time of an event (time=)" in errors
