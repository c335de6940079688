"""Profiles of windows: time against decoding of the same records and against Evidently's reports, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import to_builtins

from benchmarks.figures import Figure, Spread, ratios
from benchmarks.peers import environment
from benchmarks.predictor_process import processor_seconds
from benchmarks.profile_process import WINDOW, profiled, rows_of
from benchmarks.rig import Broken, Rig
from benchmarks.throughput import Size
from schemas import codec
from schemas.events import Event, Features, Outcome, read_prediction

_ROWS: Final = 1_000_000
_MOST_ROWS: Final = 10_000_000


def profiles(rig: Rig, size: Size) -> list[Figure]:
    """Processor time against `read_prediction`, and against Evidently; peak of memory against Evidently's."""
    found = [_against_decoding(size)]
    python = environment.evidently()
    if python is None:
        print("Evidently is left out: `make peers` makes its environment", file=sys.stderr)
        return found
    rows = _ROWS if size.rounds > 1 else 20_000
    theirs: dict[str, list[float]] = _said(python, environment.program("evidently_report"), rows)
    [[seconds, peak]] = _said(Path(sys.executable), "-m", "benchmarks.profile_process", rows)
    version = environment.versions(python)["evidently"]
    absolute = {
        "ours, s": Spread((seconds,)),
        "Evidently's summary, s": Spread((theirs["summary"][0],)),
        "Evidently's drift report, s": Spread((theirs["drift"][0],)),
        "ours, MB": Spread((peak,)),
        "Evidently's summary, MB": Spread((theirs["summary"][1],)),
        "both reports, MB": Spread((theirs["drift"][1],)),
    }
    what = f"profiles of {rows:,} rows of 20 numbers with 190 pairs, against the summary of Evidently {version}"
    for name, unit, bound, value in (
        ("time", "processor time", 1, seconds / theirs["summary"][0]),
        ("memory", "memory of the process at most", 0.1, peak / theirs["summary"][1]),
    ):
        found.append(
            Figure(f"profiles-evidently-{name}", f"{what}: {unit}", Spread((value,)), "", "at most", bound, absolute)
        )
    return found


def _against_decoding(size: Size) -> Figure:
    rows = rows_of(np.random.default_rng(1))
    records = [_record(number, row) for number, row in enumerate(rows)]
    ours, decoding = [], []
    for _ in range(max(size.rounds, 3)):
        decoding.append(processor_seconds(lambda: [read_prediction(record) for record in records]))
        ours.append(processor_seconds(lambda: profiled(rows, 0)))
    return Figure(
        "profiles",
        "profiles of windows of 10,000 predictions with 20 numbers and 190 pairs: processor time against decoding them",
        ratios(ours, decoding),
        "",
        "at most",
        1.2,
        {
            "profiles, µs a row": Spread(tuple(each / WINDOW * 1e6 for each in ours)),
            "read_prediction, µs a row": Spread(tuple(each / WINDOW * 1e6 for each in decoding)),
        },
    )


def _record(number: int, features: Features) -> bytes:
    event = Event(f"event {number}", number, features)
    outcome = Outcome(True, {"True": 0.7, "False": 0.3}, "model", 1, 1000, number, "features", 0, number)
    return codec.PREDICTION.encode({"event": to_builtins(event), "outcome": to_builtins(outcome)})


def profiles_memory(rig: Rig, size: Size) -> list[Figure]:
    """Growth of a process that makes profiles, from 1 to 10 million rows."""
    first, last = (_ROWS, _MOST_ROWS) if size.rounds > 1 else (20_000, 100_000)
    looks: list[list[float]] = _said(Path(sys.executable), "-m", "benchmarks.profile_process", first, last)
    peaks = [peak for _, peak in looks]
    return [
        Figure(
            "profiles-memory",
            f"profiles of rows of 20 numbers: growth of the process from {first:,} to {last:,} rows",
            Spread((peaks[1] - peaks[0],)),
            "MB",
            "at most",
            5,
            {f"after {first:,}, MB": Spread((peaks[0],)), f"after {last:,}, MB": Spread((peaks[1],))},
        )
    ]


def _said(python: Path, *words: object) -> Any:
    done = subprocess.run([python, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"{' '.join(map(str, words))} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
