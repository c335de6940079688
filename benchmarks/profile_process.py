"""A process that makes the profiles of windows of 10,000 rows of 20 numbers, and merges them: `... ROWS [ROWS]`.

Prints JSON: for each number of rows, how many processor seconds that took, and the MB that the process had at most by
then. Making the rows is not part of the time, but of the memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from consumers.monitor.profiles import WindowProfiles, merge
from schemas.events import Features
from schemas.profiles import DAY_MS, HOUR_MS, Window

WINDOW = 10_000
_NAMES = [f"f{place:02}" for place in range(20)]


def rows_of(draw: np.random.Generator) -> list[Features]:
    """Return the rows of one window."""
    return [dict(zip(_NAMES, row, strict=True)) for row in draw.normal(size=(WINDOW, len(_NAMES))).tolist()]


def profiled(rows: list[Features], offset: int) -> Window:
    """Return the window of rows, with all 190 pairs."""
    profiles = WindowProfiles()
    for at in range(0, len(rows), 500):
        profiles.add_features(rows[at : at + 500])
    found, pairs, left_out = profiles.finish(len(rows))
    end = offset + len(rows)
    return Window("predictions", "t", 0, offset, end, 0, 1, 0, 1, len(rows), {}, found, left_out, pairs, [])


def peak() -> float:
    """Return the MB that this process had at most. `getrusage` would say those of its parent if they were more."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(looks: list[int]) -> None:
    """Print what was measured."""
    draw = np.random.default_rng(1)
    seconds, done = 0.0, 0
    found: list[list[float]] = []
    hour: list[Window] = []
    day: Window | None = None
    for look in looks:
        while done < look:
            rows = rows_of(draw)
            began = time.process_time()
            hour.append(profiled(rows, done))
            done += WINDOW
            if len(hour) == 12 or done >= look:
                merged = merge(hour, HOUR_MS)
                day = merged if day is None else merge([day, merged], DAY_MS)
                hour = []
            seconds += time.process_time() - began
        found.append([seconds, peak()])
    assert day is not None
    assert day.events == done
    print(json.dumps(found))


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
