"""Data frames of an examples log: time against fastavro alone, memory against the frame itself."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import material
from benchmarks.figures import Figure, Spread, ratios
from benchmarks.rig import Broken, Rig
from benchmarks.throughput import Size


def frames(rig: Rig, size: Size) -> list[Figure]:
    """Seconds and memory of `to_pandas` over `size.pending` examples."""
    names = rig.names("frames")
    rig.load(names.topic("examples"), ((0, None, value) for value in material.examples(size.pending)))
    given = rig.cluster.bootstrap, names.prefix
    ours, bare = [], []
    for _ in range(size.rounds):
        ours.append(_read("ours", size.pending, *given))
        bare.append(_read("bare", size.pending, *given))
    grown, whole = _process("memory", *given)
    return [
        Figure(
            "frames",
            f"to_pandas of {size.pending:,} examples: time against poll and fastavro alone, into a list",
            ratios(ours, bare),
            "",
            "at most",
            2,
            {"ours, s": Spread(tuple(ours)), "bare, s": Spread(tuple(bare))},
        ),
        Figure(
            "frames-memory",
            f"to_pandas of {size.pending:,} examples: growth of the process at most, against the frame",
            Spread((grown / whole,)),
            "",
            "at most",
            2,
            {"growth, MB": Spread((grown,)), "frame, MB": Spread((whole,))},
        ),
    ]


def _read(way: str, count: int, bootstrap: str, prefix: str) -> float:
    seconds, rows = _process(way, bootstrap, prefix)
    if rows != count:
        raise Broken(f"{way} read {rows:,.0f} examples of {count:,}")
    return seconds


def _process(way: str, bootstrap: str, prefix: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.frame_process", way, bootstrap, prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"benchmarks.frame_process {way} failed: {done.stderr[-2000:]}")
    first, second = done.stdout.split()
    return float(first), float(second)
