"""Evidently's reports over rows of 20 numbers: `python evidently_report.py ROWS`.

Prints JSON: processor seconds of each report, and the MB that the process had at most by its end. The reference of the
drift report has a tenth of the rows. Making the data frames is not part of the time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset


def peak() -> float:
    """Return the MB that this process had at most. `getrusage` would say those of its parent if they were more."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(rows: int) -> None:
    """Print what was measured."""
    names = [f"f{place:02}" for place in range(20)]
    definition = DataDefinition(numerical_columns=names)
    draw = np.random.default_rng(1)
    now, reference = (pd.DataFrame(draw.normal(size=(size, 20)), columns=names) for size in (rows, rows // 10))
    found: dict[str, list[float]] = {}
    for name, preset in (("summary", DataSummaryPreset), ("drift", DataDriftPreset)):
        with_reference = Dataset.from_pandas(reference, definition) if name == "drift" else None
        began = time.process_time()
        Report([preset()]).run(Dataset.from_pandas(now, definition), with_reference)
        seconds = time.process_time() - began
        found[name] = [seconds, peak()]
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
