"""`python -m benchmarks [NAME ...]`: measure, print the table, and write it to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import (
    batch_predictor,
    batch_reading,
    batch_training,
    challengers,
    clients,
    cold_start,
    drift_figures,
    evaluations,
    frames,
    http_rates,
    http_times,
    idle,
    latency,
    memory,
    predictor_process,
    profiles,
    promotion,
    replays,
    shadow_process,
    shield,
    snapshots,
    throughput,
    watching,
)
from benchmarks.figures import Figure
from benchmarks.material import NoMaterial, rows
from benchmarks.rig import Broken, Rig, rig
from benchmarks.table import as_json, circumstances, markdown, put
from benchmarks.throughput import QUICK, Size

Benchmark = Callable[[Rig, Size], list[Figure]]
BENCHMARKS: Final[dict[str, Benchmark]] = {
    "predictor": throughput.predictor,
    "predictor-process": predictor_process.predictor_process,
    "batch-predictor": batch_predictor.batch_predictor,
    "batch-reading": batch_reading.batch_reading,
    "batch-quiet": batch_training.batch_quiet,
    "batch-cluster": batch_training.batch_cluster,
    "lean": throughput.lean,
    "fast-predictor": clients.fast_predictor,
    "client-latency": clients.client_latency,
    "publisher": clients.publisher,
    "joiner": throughput.joiner,
    "pending": throughput.pending,
    "learner": throughput.learner,
    "shield": shield.shield,
    "latency": latency.latency,
    "freshness": latency.freshness,
    "swap": latency.swap,
    "swap-large": latency.swap_large,
    "idle": idle.idle,
    "cold-start": cold_start.cold_start,
    "http-rate": http_rates.http_rate,
    "http-away": http_rates.http_away,
    "http-swap": http_times.http_swap,
    "http-published": http_times.http_published,
    "http-freshness": http_times.http_freshness,
    "http-workers": http_rates.http_workers,
    "memory": memory.memory,
    "frames": frames.frames,
    "snapshots": snapshots.snapshots,
    "restore": snapshots.restore,
    "replay": replays.replay,
    "backfill": replays.backfill,
    "replay-live": replays.replay_live,
    "evaluate": evaluations.evaluate,
    "evaluate-memory": evaluations.evaluate_memory,
    "promotion": promotion.promotion,
    "promote": challengers.promote,
    "challengers": challengers.challengers,
    "shadow": shadow_process.shadow,
    "false-alarms": drift_figures.false_alarms,
    "drift-delays": drift_figures.drift_delays,
    "monitor": watching.monitor,
    "monitor-rate": watching.monitor_rate,
    "profiles": profiles.profiles,
    "profiles-memory": profiles.profiles_memory,
}
_PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks to run: {', '.join(BENCHMARKS)} [all]")
    parser.add_argument("--quick", action="store_true", help="run everything small and once, without figures")
    parser.add_argument("--rounds", type=int, help="rounds of Millstream and the bare loop in turn [3]")
    parser.add_argument("--json", action="store_true", help="print JSON, every round unrounded")
    parsed = parser.parse_args(given)
    unknown = [name for name in parsed.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    return parsed


def main(given: Sequence[str]) -> int:
    """Return 0 where every figure is as required, 1 where one is not, or could not be measured."""
    arguments = _arguments(given)
    # The broker is a process of its own: it must not outlive this one, however it is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    size = QUICK if arguments.quick else Size()
    if arguments.rounds:
        size = replace(size, rounds=arguments.rounds)
    names = arguments.names or list(BENCHMARKS)
    try:
        rows()
        with rig() as there:
            figures = [figure for name in names for figure in _measured(name, there, size)]
    except (Broken, NoMaterial) as error:
        print(error, file=sys.stderr)
        return 1
    made = circumstances(" ".join(["python -m benchmarks", *given]))
    table = markdown(figures, made)
    print(json.dumps(as_json(figures, made), indent=2) if arguments.json else table)
    if not arguments.quick:
        put(_PAGE, table)
        print(f"the table is in {_PAGE.name}", file=sys.stderr)
    return 0 if all(figure.met for figure in figures) else 1


def _measured(name: str, there: Rig, size: Size) -> list[Figure]:
    began = time.monotonic()
    figures = BENCHMARKS[name](there, size)
    for each in figures:
        verdict = "met" if each.met else "not met"
        print(f"{each.name}: {each.measured.median:.3g} {each.unit}, {verdict}", file=sys.stderr)
    print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
