"""River's own evaluation over the same rows in memory: `python -m benchmarks.bare_learner MODEL COUNT FIRST [DELAY]`.

Prints the events by second and by processor second between the rows FIRST and COUNT; labels come DELAY events late.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from river import evaluate, metrics

from benchmarks.material import MODELS, pairs
from consumers.model.evaluation import default_metrics


def main(model: str, count: int, first: int, delay: int | None = None) -> tuple[float, float]:
    """Return events by second and by processor second."""
    given = pairs(count)
    times: list[tuple[float, float]] = []

    def rows() -> Iterator[tuple[Any, bool]]:
        for number, (features, label) in enumerate(given):
            if number == first:
                times.append((time.perf_counter(), time.process_time()))
            yield features, label
        times.append((time.perf_counter(), time.process_time()))

    evaluate.progressive_val_score(
        rows(), MODELS[model](), metrics.base.Metrics(default_metrics("binary")), delay=delay
    )
    (began, began_cpu), (ended, ended_cpu) = times
    return (count - first) / (ended - began), (count - first) / (ended_cpu - began_cpu)


if __name__ == "__main__":
    print(*main(sys.argv[1], *map(int, sys.argv[2:])))
