"""One evaluation of a file, as `millstream evaluate` does it: `python -m benchmarks.evaluator STREAM FILE FIRST DELAY`.

Prints the rows per second after the row FIRST, and the memory (MB) at that row and at the end, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import psutil

from millstream.evaluation.evaluate import Delay
from millstream.evaluation.open_rows import FileRows, evaluate_on, named_models
from millstream.processes import gc_tuning


def main(stream: str, file: str, first: int, delay: str) -> dict[str, float]:
    """Return what was measured."""
    models = named_models([stream])
    looks: list[tuple[int, float, float]] = []
    process = psutil.Process()
    gc_tuning.rest()

    def show(done: int, total: int | None) -> None:
        if done >= first and (not looks or done == total):
            looks.append((done, time.perf_counter(), process.memory_info().rss / 2**20))

    evaluate_on(models, FileRows([each.stream for each in models], file), Delay.parse(delay), None, show)
    (begun, began, before), (ended, end, after) = looks[0], looks[-1]
    return {"rate": (ended - begun) / (end - began), "before": before, "after": after}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
