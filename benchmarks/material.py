"""Elec2 as events, predictions, labels and examples, encoded as they are on the topics."""

from __future__ import annotations

import csv
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from river import linear_model, preprocessing, tree

from schemas import codec
from schemas.events import Event, Example, Features, Joined, Label, Lane, Outcome

FILE: Final = "MILLSTREAM_ELEC"
_DEFAULT_FILE: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "elec.csv"

MODELS: Final[dict[str, Callable[[], Any]]] = {
    "lr": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "hat": lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1),
}


class NoMaterial(Exception):  # noqa: N818
    """There is no elec.csv where it was looked for."""


class Row(NamedTuple):
    """One row of Elec2: six numbers, and whether the price goes up."""

    features: Features
    label: bool


def elec_file() -> Path:
    """Return the path of Elec2's CSV."""
    return Path(os.environ.get(FILE) or _DEFAULT_FILE)


@cache
def rows() -> tuple[Row, ...]:
    """Return the 45,312 rows of Elec2. NoMaterial where the file is not there."""
    path = elec_file()
    try:
        with path.open(newline="") as file:
            return tuple(
                Row({name: float(value) for name, value in row.items() if name != "class"}, row["class"] in ("1", "UP"))
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, ValueError) as error:
        raise NoMaterial(
            f"no Elec2 at {path} ({error}): name a CSV of it, label column 'class', with {FILE}"
        ) from error


def cycle(count: int, start: int = 0) -> Iterator[tuple[int, Row]]:
    """Yield `count` rows with their numbers, over and over where Elec2 is too short."""
    every = rows()
    for number in range(start, start + count):
        yield number, every[number % len(every)]


def event_id(number: int) -> str:
    """Return an id that sorts like a random one: neighbours in the stream are none in the joiner's store."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8).hexdigest()


def event(number: int, row: Row) -> Event:
    """Return the feature event of a row."""
    return Event(event_id(number), _now_ms(), row.features)


def outcome(number: int) -> Outcome:
    """Return an answer such as a predictor gives for Elec2."""
    share = 0.25 + (number % 100) / 200
    said = share > 0.5
    return Outcome(
        said, {"false": 1 - share, "true": share}, "elec", 1, 1000, _now_ms(), "elec.features", number % 4, number
    )


def prediction(number: int, row: Row) -> bytes:
    """Return the record on predictions."""
    fields = msgspec.structs.asdict
    return codec.PREDICTION.encode({"event": fields(event(number, row)), "outcome": fields(outcome(number))})


def label(number: int, row: Row) -> bytes:
    """Return the record on labels."""
    return Label(event_id(number), row.label, _now_ms()).encode()


def examples(count: int, start: int = 0) -> Iterator[bytes]:
    """Yield the records of an examples log, one lane in its order, labels 50 events after their features."""
    for number, row in cycle(count, start):
        joined = Joined(0, number, 1000 + number, number, 1050 + number)
        truth = Label(event_id(number), row.label, _now_ms())
        yield Example(event(number, row), outcome(number), truth, Lane("0", "benchmark", number), joined).encode()


def pairs(count: int) -> list[tuple[Features, bool]]:
    """Return the same rows for an evaluation in memory."""
    return [(row.features, row.label) for _, row in cycle(count)]


def outcome_bytes() -> int:
    """Return by how much a prediction is longer than its event."""
    row = rows()[0]
    return len(prediction(0, row)) - len(event(0, row).encode())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
