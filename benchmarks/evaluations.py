"""How fast `millstream evaluate` reads, learns and measures a file, against River's evaluation in memory."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Spread, ratios
from benchmarks.material import cycle
from benchmarks.replays import STREAM
from benchmarks.rig import Rig
from benchmarks.throughput import Size

_LONGEST_S: Final = 300.0
_DELAY: Final = 50
_WARM_UP: Final = 8  # an eighth of the rows


def evaluate(rig: Rig, size: Size) -> list[Figure]:
    """Rows/s with and without a delay of the labels."""
    stream, file = _stream(rig), _rows(rig, size.examples)
    figures = []
    for delay, title, bound in ((0, "labels at once", 0.8), (_DELAY, f"labels {_DELAY} events late", 0.7)):
        ours, bare = [], []
        first = size.examples // _WARM_UP
        for _ in range(size.rounds):
            ours.append(_evaluated(rig, stream, file, first, delay)["rate"])
            late = (str(delay),) if delay else ()
            said = rig.python("benchmarks.bare_learner", "lr", str(size.examples), str(first), *late).wait(_LONGEST_S)
            bare.append(float(said.split()[0]))
        absolute = {"ours, rows/s": Spread(tuple(ours)), "progressive_val_score, rows/s": Spread(tuple(bare))}
        what = (
            f"evaluate, logistic regression, {title}: rows/s of a CSV file, with baselines and intervals, against "
            "progressive_val_score with the same metrics in memory"
        )
        name = f"evaluate-{'late' if delay else 'once'}"
        figures.append(Figure(name, what, ratios(ours, bare), "", "at least", bound, absolute))
    return figures


def evaluate_memory(rig: Rig, size: Size) -> list[Figure]:
    """Growth between a first and a last row, with labels that come late."""
    said = _evaluated(rig, _stream(rig), _rows(rig, size.last), size.first, _DELAY)
    absolute = {
        f"after {size.first:,}, MB": Spread((said["before"],)),
        f"after {size.last:,}, MB": Spread((said["after"],)),
    }
    what = f"memory of evaluate (LR): growth from {size.first:,} to {size.last:,} rows"
    return [Figure("evaluate-memory", what, Spread((said["after"] - said["before"],)), "MB", "at most", 5, absolute)]


def _evaluated(rig: Rig, stream: Path, file: Path, first: int, delay: int) -> Any:
    arguments = ("benchmarks.evaluator", str(stream), str(file), str(first), str(delay))
    return json.loads(rig.python(*arguments).wait(_LONGEST_S))


def _stream(rig: Rig) -> Path:
    file = rig.folder / "elec_stream.py"
    file.write_text(STREAM)
    return file


def _rows(rig: Rig, count: int) -> Path:
    """Write so many rows of Elec2, over and over where it is too short."""
    path = rig.folder / f"elec-{count}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for number, row in cycle(count):
            if number == 0:
                writer.writerow([*row.features, "class"])
            writer.writerow([*row.features.values(), int(row.label)])
    return path
