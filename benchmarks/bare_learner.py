"""River's own evaluation over the same rows in memory: `python -m benchmarks.bare_learner MODEL COUNT FIRST [DELAY]`.

Prints the events per second between the rows FIRST and COUNT; labels come DELAY events late.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from river import evaluate, metrics

from benchmarks.material import MODELS, pairs
from consumers.model.evaluation import default_metrics


def main(model: str, count: int, first: int, delay: int | None = None) -> float:
    """Return events/s."""
    given = pairs(count)
    times: list[float] = []

    def rows() -> Iterator[tuple[Any, bool]]:
        for number, (features, label) in enumerate(given):
            if number == first:
                times.append(time.perf_counter())
            yield features, label
        times.append(time.perf_counter())

    evaluate.progressive_val_score(
        rows(), MODELS[model](), metrics.base.Metrics(default_metrics("binary")), delay=delay
    )
    return (count - first) / (times[1] - times[0])


if __name__ == "__main__":
    print(main(sys.argv[1], *map(int, sys.argv[2:])))
