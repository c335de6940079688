"""From a CSV that nobody has prepared to served predictions that beat their baseline, with no edit by hand."""

from __future__ import annotations

import csv
import json
import math
import random
import resource
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from system.commands import millstream, running, typed, until_learned
from system.oracle import Stream

ROWS = 700
SECONDS = 10.0  # of processor time for one command
TOPICS = {
    "billing": "invoice refund charge card",
    "login": "password reset account locked",
    "post": "parcel late address",
}
FILLING = "please help my the hello now thanks".split()  # noqa: SIM905 - shorter so
Cells = list[object]


class Case(NamedTuple):
    """A file, what `init` must say of it, and the metric by which the stream must beat a baseline."""

    name: str
    head: list[str]
    row: Callable[[random.Random, datetime, int], Cells]
    said: list[str]
    metric: str
    baseline: str
    delimiter: str = ","


def comma(value: float) -> str:
    """Return a number as ``1.234,50``."""
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def flat(rng: random.Random, when: datetime, number: int) -> Cells:
    area, rooms, part = rng.uniform(20, 160), rng.randint(1, 6), rng.choice(["Mitte", "Nord", "Süd"])
    rent = 300 + 14 * area + 60 * rooms + {"Mitte": 400, "Nord": -100, "Süd": 50}[part] + rng.gauss(0, 60)
    return [when.strftime("%d.%m.%Y %H:%M"), comma(area), rooms, part, "DE", comma(rent)]


def ticket(rng: random.Random, when: datetime, number: int) -> Cells:
    team = rng.choices(list(TOPICS), [5, 3, 2])[0]
    words = [*rng.choices(TOPICS[team].split(), k=3), *rng.choices(FILLING, k=4)]
    rng.shuffle(words)
    waited = rng.choice(["", "NA", f"{rng.expovariate(1 / 30):.1f}"])
    return [when.isoformat(), " ".join(words), rng.choice(["low", "high", ""]), waited, team]


def payment(rng: random.Random, when: datetime, number: int) -> Cells:
    amount, hour = rng.lognormvariate(3, 1), rng.randrange(24)
    chance = 1 / (1 + math.exp(5.5 - 0.04 * min(amount, 150) - (2.5 if hour < 6 else 0)))
    says = "yes" if rng.random() < chance else "no"
    who = f"t-{number:05}-{rng.getrandbits(32):08x}"
    return [who, f"{when.isoformat()}Z", rng.randrange(10**6, 10**7), f"{amount:.2f}", hour, says]


CASES = [
    Case(
        "rent",
        ["Datum", "Fläche", "Zimmer", "Bezirk", "Land", "Miete"],
        flat,
        [
            "label: Miete (last column",
            "task: regression",
            "time: Datum",
            "Fläche: numbers with a decimal comma",
            "one value, 'DE'",
        ],
        "MAE",
        "running_mean",
        ";",
    ),
    Case(
        "tickets",
        ["created_at", "subject", "priority", "waited", "team"],
        ticket,
        ["label: team (last column with 3 values: billing ", "task: multiclass", "id: none", "time: created_at"],
        "Accuracy",
        "frequencies",
    ),
    Case(
        "payments",
        ["transaction_id", "timestamp", "customer_id", "amount", "hour", "is_fraud"],
        payment,
        ["label: is_fraud (named like a label with 2 values: no ", "id: transaction_id", "customer_id: left out"],
        "ROCAUC",
        "frequencies",
    ),
]


def write(case: Case, folder: Path) -> Path:
    rng, when = random.Random(7), datetime(2026, 1, 3)
    path = folder / f"{case.name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=case.delimiter)
        writer.writerow(case.head)
        for number in range(ROWS):
            when += timedelta(minutes=rng.randrange(1, 30))
            writer.writerow(case.row(rng, when, number))
    return path


class Clock:
    """Processor time of the commands that have ended since the last look."""

    def __init__(self) -> None:
        self._at = self._now()

    def _now(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def look(self) -> None:
        before, self._at = self._at, self._now()
        assert self._at - before < SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


def seconds_of(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time of a process and its children so far."""
    first = psutil.Process(process.pid)
    return sum(sum(each.cpu_times()[:2]) for each in (first, *first.children(recursive=True)))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.full] * (case is not CASES[0])) for case in CASES],
)
def test_a_new_csv_is_served_better_than_its_baseline(
    case: Case, bootstrap: str, prefix: str, tmp_path: Path, clock: Clock
) -> None:
    data = write(case, tmp_path)
    stream = Stream(str(tmp_path / f"{case.name}.py"), bootstrap, prefix, tmp_path / "home")
    said = typed(stream, "init", case.name, "--from", str(data), folder=tmp_path)
    clock.look()
    for each in case.said:
        assert each in said
    assert "note: the model: " in said  # it beats its baseline
    assert f"{case.name}: fit to run" in typed(stream, "check", stream.ref, "--from", str(data))
    clock.look()
    with running(stream, tmp_path / "run.log") as process:
        assert seconds_of(process) < SECONDS
        report = json.loads(
            typed(stream, "publish", stream.ref, str(data), "--rate", "120", "--label-delay", "20", "--json")
        )
        clock.look()
        assert report["acknowledged"] == report["labels_acknowledged"] == ROWS
        first = report["first_answers"]
        assert (first["predictors"], first["events"]) == (1, 100)
        assert first["answered"] + first["errors"] == 100
        shown = report["served_quality"]
        assert (shown["labels"], shown["no_learner"]) == (ROWS, False)
        assert set(shown["quality"]["metrics"][0]["baselines"]) == {"last_label", case.baseline}
        until_learned(stream, ROWS)
        metrics = json.loads(typed(stream, "models", "list", stream.ref, "--json"))[-1]["metrics"]
        clock.look()
        assert f"{case.name} on " in typed(stream, "status", stream.ref)
        clock.look()
    served, baseline = (metrics[source]["all"][case.metric] for source in ("served", case.baseline))
    assert served < baseline if case.metric == "MAE" else served > baseline


def test_publish_says_that_no_predictor_runs(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    case = CASES[0]
    data = write(case, tmp_path)
    stream = Stream(str(tmp_path / f"{case.name}.py"), bootstrap, prefix, tmp_path / "home")
    millstream(stream, "init", case.name, "--from", str(data), folder=tmp_path)
    millstream(stream, "topics", "create", stream.ref)
    said = millstream(stream, "publish", stream.ref, str(data), "--limit", "20")
    assert said.splitlines()[-1] == "answers: none yet, as no predictor runs; `millstream run` starts one"
