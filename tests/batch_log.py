"""Records of an examples log for trainings: events that are predicted, answered, and labelled after a delay."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from consumers.trainer.training_messages import TrainingResult
from millstream import BatchModel, Stream
from millstream.stream.stream import Stream as Declared
from millstream.training.collecting import Collector
from millstream.training.reading import collected
from millstream.training.training import Task, train
from runtime.kafka_client.records import PlainRecord
from schemas.events import Event, Example, Joined, Label, Lane, Outcome, Scalar

BEGIN_MS: Final = 1_700_000_000_000
STEP_MS: Final = 1000


@dataclass(frozen=True)
class Row:
    """An event with its label, and what was served for it."""

    features: dict[str, Any]
    label: Scalar
    predicted_ms: int
    labelled_ms: int
    served: Scalar | None = False
    shares: dict[str, float] | None = None
    weight: float = 1.0


def records(rows: Iterable[Row]) -> list[PlainRecord]:
    """Return the log of rows, in the order of their labels."""
    ordered = sorted(enumerate(rows), key=lambda pair: (pair[1].labelled_ms, pair[0]))
    return [record(number, place, row) for place, (number, row) in enumerate(ordered)]


def record(number: int, place: int, row: Row, kind: str = "label") -> PlainRecord:
    """Return a record of an example, or of its correction."""
    event = Event(f"e{number}", row.predicted_ms, row.features)
    outcome = Outcome(row.served, row.shares, "mine", 1, place, row.predicted_ms, "mine.features", 0, number)
    label = Label(event.event_id, row.label, row.labelled_ms, row.weight, kind=kind)  # type: ignore[arg-type]
    joined = Joined(0, number, row.predicted_ms, place, row.labelled_ms)
    example = Example(event, outcome, label, Lane("0", "epoch", place), joined)
    return PlainRecord("mine.examples", 0, place, row.labelled_ms, None, example.encode())


def imported(number: int, place: int, features: dict[str, Any], label: Scalar, at_ms: int) -> PlainRecord:
    """Return a record of an example that was uploaded."""
    event = Event(f"u{number}", at_ms, features)
    said = Label(event.event_id, label, at_ms, source="import")
    example = Example(event, None, said, Lane("import", "epoch", number), None)
    return PlainRecord("mine.examples", 0, place, at_ms, None, example.encode())


def simple_rows(count: int, *, delay_ms: int = 5000, seed: int = 1) -> list[Row]:
    """Return rows whose label is whether `x` is above `y`, with a tenth of them wrong; what was served is `False`."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        features: dict[str, Any] = {"x": chance.random(), "y": chance.random()}
        label = (features["x"] > features["y"]) != (chance.random() < 0.1)
        at = BEGIN_MS + number * STEP_MS
        found.append(Row(features, label, at, at + delay_ms, False, {"true": 0.3, "false": 0.7}))
    return found


def stream_with(
    make: Callable[[], Any], *, task: Literal["binary", "multiclass", "regression"] = "binary", **more: Any
) -> Declared:
    """Return a stream whose model is a batch model; `stream` has parameters of the stream."""
    from river import dummy, linear_model, stats

    own: dict[str, Callable[[], Any]] = {
        "binary": linear_model.LogisticRegression,
        "multiclass": dummy.NoChangeClassifier,
        "regression": lambda: dummy.StatisticRegressor(stats.Mean()),
    }
    given = more.pop("stream", {})
    whole = Stream(name="mine", task=task, model=own[task], batch={"tree": BatchModel(make, **more)}, **given)
    return whole.of_model("tree")


def collected_from(stream: Declared, log: Sequence[PlainRecord]) -> Collector:
    """Return the examples of a log in memory."""
    assert isinstance(stream.model, BatchModel)
    pieces = [log[begin : begin + 500] for begin in range(0, len(log), 500)]
    return collected(stream, stream.model, pieces, len(log), None, _quiet)


def trained(stream: Declared, log: Sequence[PlainRecord], folder: Path, **task: Any) -> TrainingResult:
    """Return the result of a training on a log in memory."""
    return train(Task(stream, folder, **task), collected_from(stream, log), None, _quiet)


def _quiet(done: int, of: int, text: str) -> None:
    """Show nothing."""
